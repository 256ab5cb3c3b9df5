"""The path rule of spec 3.1."""

import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from extauthz.routing import BadPath, Path, normalise

HEX = "0123456789abcdefABCDEF"

PIECES = [
    *("/", "//", ".", "..", ";", "%2e", "%2E", "%2f", "%2F", "%5c", "%5C", "%00", "%3b", "%3B", "%23", "%3f", "%25"),
    *("%", "2e", "5C", "%2", "%e", "\\", "a", "health", "x=1", "é", "%c3%a9", "%ff", "#", "?", "\n", "\t", "\x7f"),
    *(
        "\x85",
        "%0a",
        "%c2%85",
        "%7F",
        "~",
        " ",
        "+",
        "-",
        "!",
        "\u2028",
        "\ud800",
        "%ed%a0%80",
        "\N{FULLWIDTH FULL STOP}",
    ),
]

raw_paths = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: "/" + "".join(pieces)),
    st.text(max_size=40).map(lambda text: "/" + text),
)


def has_control(text: str) -> bool:
    return any(unicodedata.category(char) in {"Cc", "Cs"} for char in text)


def has_escape(text: str) -> bool:
    return any(
        char == "%" and len(text) > at + 2 and text[at + 1] in HEX and text[at + 2] in HEX
        for at, char in enumerate(text)
    )


def model(raw: str) -> str | None:
    """The rule, one sentence at a time, without a thought for speed. None is a refusal."""
    path = raw.partition("?")[0].partition("#")[0]
    refused_anywhere = ("%2f", "%5c", "%00", "\\")
    if not path.startswith("/") or has_control(path) or any(piece in path.lower() for piece in refused_anywhere):
        return None
    decoded = unquote(path)
    for segment in decoded.split("/"):
        if segment.split(";")[0] in {".", ".."} or has_escape(segment) or has_control(segment):
            return None
    while "//" in decoded:
        decoded = decoded.replace("//", "/")
    return decoded


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/health",
        "/api/v1/runs",
        "/api/v1/runs/",
        "/a.b/c..d/e.",
        "/.well-known/jwks.json",
        "/...",
        "/a/..b/.c",
        "/a;x=1/b",
        "/a/;x=1",
        "/caf\u00e9",
        "/100%",
        "/a%zz",
        "/a b",
        "/~user/(1)/@me/a:b,c!$&'*+=-_",
    ],
)
def test_a_path_in_normal_form_stays_as_it_is(path: str) -> None:
    assert normalise(path) == Path(path, changed=False)


@pytest.mark.parametrize(
    ("raw", "normalised"),
    [
        ("//health", "/health"),
        ("/api//v1///runs", "/api/v1/runs"),
        ("/api/v1/runs//", "/api/v1/runs/"),
        ("/%68ealth", "/health"),
        ("/caf%C3%A9", "/caf\u00e9"),
        ("/a%20b", "/a b"),
        ("/a%3bx=1", "/a;x=1"),
        ("/a%3Fb", "/a?b"),
        ("/a%23b", "/a#b"),
        ("/100%25", "/100%"),
        ("/a%25zz", "/a%zz"),
        ("/%ff", "/\ufffd"),
        ("/..%c0%ae", "/..\ufffd\ufffd"),
    ],
)
def test_an_accepted_path_is_decoded_once_and_its_slashes_are_folded(raw: str, normalised: str) -> None:
    assert normalise(raw) == Path(normalised, changed=True)


@pytest.mark.parametrize("query", ["?", "?a=b", "?next=/../x", "?a=%2f%00\\", "?a?b", "?a#b", "?\n"])
def test_the_query_is_cut_and_is_no_change(query: str) -> None:
    assert normalise("/health" + query) == Path("/health", changed=False)


@pytest.mark.parametrize("fragment", ["#", "#frag", "#/../api/v1/runs", "#a?b", "#%2f"])
def test_a_fragment_is_cut_and_is_a_change(fragment: str) -> None:
    assert normalise("/health" + fragment) == Path("/health", changed=True)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "health",
        "*",
        "?a",
        "#",
        "http://evil.example/health",
        "%2fhealth",
        "/api%2fv1%2fruns",
        "/api%2Fv1",
        "/a%5cb",
        "/a%5Cb",
        "/a\\b",
        "/a%00",
        "/a\x00b",
        "/a\nb",
        "/a\tb",
        "/a\x7fb",
        "/a\x85b",
        "/a%0d%0ab",
        "/a%7fb",
        "/a%C2%85b",
        "/a\ud800b",
    ],
)
def test_what_two_servers_could_read_in_two_ways_is_refused(raw: str) -> None:
    with pytest.raises(BadPath):
        normalise(raw)


@pytest.mark.parametrize("place", ["/{}", "/{}/", "/a/{}", "/a/{}/b", "//{}//b", "/health/{}/api/v1/runs?x", "/{}#a"])
@pytest.mark.parametrize(
    "segment",
    [
        ".",
        "..",
        "%2e",
        "%2E%2e",
        ".%2e",
        ".;",
        "..;x=1",
        "..%3b",
        "..%3Bx",
        "%2e%2e;x",
        "%252e",
        "%252f",
        "%25%32%65",
        "%%32e",
        "%2%65",
        "a%2541",
        "a;%2541",
    ],
)
def test_a_dot_segment_or_a_double_escape_is_refused_wherever_it_stands(place: str, segment: str) -> None:
    with pytest.raises(BadPath):
        normalise(place.format(segment))


def test_the_error_repeats_nothing_of_the_path() -> None:
    with pytest.raises(BadPath) as caught:
        normalise("/secret-token/../x")
    assert "secret" not in str(caught.value)


@given(raw_paths)
@example("/a/%2e%2e")
@example("/a;%2541")
def test_it_agrees_with_the_plain_model(raw: str) -> None:
    expected = model(raw)
    try:
        path = normalise(raw)
    except BadPath:
        assert expected is None
    else:
        assert path.normalised == expected
        assert path.changed == (path.normalised != raw.partition("?")[0])


@given(raw_paths)
def test_no_accepted_path_holds_anything_that_could_be_read_twice(raw: str) -> None:
    assume(model(raw) is not None)
    path = normalise(raw).normalised
    assert path.startswith("/")
    assert "//" not in path
    assert "\\" not in path
    assert not has_control(path)
    assert not has_escape(path)
    assert all(segment.split(";")[0] not in {".", ".."} for segment in path.split("/"))


@given(raw_paths)
def test_a_normalised_path_is_its_own_normal_form(raw: str) -> None:
    assume(model(raw) is not None)
    path = normalise(raw).normalised
    assume("?" not in path and "#" not in path)
    assert normalise(path) == Path(path, changed=False)


@pytest.mark.parametrize(
    ("piece", "changed"),
    [
        ("/a", False),
        ("a", False),
        ("//", True),
        ("/%61", True),
        ("/.a", False),
        ("/a;", False),
        ("%61", True),
        ("é", False),
    ],
)
def test_a_path_of_50_kib_is_accepted_whole(piece: str, changed: bool) -> None:  # noqa: FBT001 - a column of the table
    raw = "/x" + piece * (51_200 // len(piece))
    assert normalise(raw).normalised == model(raw)
    assert normalise(raw).changed == changed


def test_a_path_of_50_kib_is_refused_for_its_last_segment() -> None:
    with pytest.raises(BadPath):
        normalise("/a" * 25_600 + "/..")
