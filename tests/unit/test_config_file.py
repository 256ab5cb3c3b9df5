"""Files that are wrong: each fault with file, line, key and what is allowed, all of them at once."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.config import InvalidConfig, load
from extauthz.config.content import MAX_BYTES
from extauthz.config.document import read_text
from extauthz.errors import ConfigError


def faults(file: Path, text: str | bytes) -> list[str]:
    """The lines of the error that loading `text` raises."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert isinstance(caught.value, InvalidConfig)
    lines = str(caught.value).split("\n")[1:]
    assert len(lines) == len(caught.value.problems)
    return [line.strip() for line in lines]


@pytest.fixture(name="file")
def config_file(tmp_path: Path) -> Path:
    return tmp_path / "extauthz.yaml"


# The file itself


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"nowhere\.yaml: there is no such file"):
        load(tmp_path / "nowhere.yaml")


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="is a directory; name the file in it"):
        load(tmp_path)


def test_a_pipe_is_refused_instead_of_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(InvalidConfig, match=r"extauthz\.yaml: is no regular file"):
        load(file)


def test_a_name_that_is_too_long_for_a_file() -> None:
    with pytest.raises(InvalidConfig, match="cannot be read: file name too long"):
        load("x" * 5000)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("server: [", 1, "is not valid YAML"),
        ("server:\n\tlisten: x\n", 2, "indent with spaces, not with tabs"),
        ("a: b: c\n", 1, "must stand in quotes"),
        ("admin: {}\n---\na: 1\n", 2, "more than one document"),
        ("providers:\n  protection: {url: memory:}\n", 2, "must stand in quotes"),
        ("providers:\n  protection:\n    url: memory:\n    timeout: 1s\n", 3, "must stand in quotes"),
        ("server: *nobody\n", 1, "undefined alias"),
        ("server:\n  listen: '\x01'\n", 2, "control character"),
        (b"server:\n  listen: \xff\n", 2, "is not UTF-8 text"),
        ("- 1\n", 1, "must hold keys"),
        ("[]\n", 1, "must hold keys"),
        ("false\n", 1, "must hold keys"),
        ("just a word\n", 1, "must hold keys"),
    ],
)
def test_what_is_no_yaml_mapping(file: Path, text: str | bytes, line: int, said: str) -> None:
    (only,) = faults(file, text)
    assert only.startswith(f"{file}:{line}: ")
    assert said in only


@pytest.mark.parametrize(
    "text",
    ["", "\n", "# nothing\n", "server:\nplans:\nroutes:\nadmin:\n  hosts:\n", "providers:\n  lifecycle:\n    cache:\n"],
)
def test_empty_files_and_sections_mean_the_defaults(file: Path, text: str) -> None:
    file.write_text(text)
    assert load(file).config == load().config


def test_byte_order_mark_and_crlf_do_no_harm(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfserver:\r\n  budget: 2s\r\n  margin: 5ms\r\n")
    assert load(file).config.server.budget == 2
    assert faults(file, b"\xef\xbb\xbfserver:\r\n  budgt: 2s\r\n")[0].startswith(f"{file}:2: server.budgt: ")


def test_a_key_twice(file: Path) -> None:
    assert faults(file, "server:\n  budget: 1s\n  drain: 1s\n  budget: 2s\n") == [
        f"{file}:4: server.budget: this key is here twice"
    ]


def test_an_alias_bomb_ends_at_once(file: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 12):
        bomb += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    assert "aliases of aliases" in faults(file, bomb)[0]


@pytest.mark.parametrize(
    "text",
    ["a: &a [*a]\n", "a: &a\n  <<: *a\n", "a: &a {<<: [*a, *a]}\n", "[" * 100_000, "a: " + "[" * 100 + "]" * 100],
)
def test_what_is_nested_too_deep(file: Path, text: str) -> None:
    assert "nested too deep" in faults(file, text)[0]


def test_a_file_that_is_far_too_large(file: Path) -> None:
    assert "larger than 1 MiB" in faults(file, b"#" * (MAX_BYTES + 1))[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: !!python/object:os.system {}\n", "server: this YAML tag is not supported"),
        ("server: {listen: !!binary aGk=}\n", "server.listen: this YAML tag is not supported"),
        ("server: {listen: !secret x}\n", "server.listen: this YAML tag is not supported"),
        ("server: {workers: !!int x}\n", "is not what its YAML tag says"),
        ("? [a]\n: 1\n", "a key must be a word"),
        ("<<: 1\n", "<< takes a mapping"),
    ],
)
def test_yaml_that_has_no_meaning_here(file: Path, text: str, said: str) -> None:
    found = faults(file, text)
    assert any(said in line for line in found), found


def test_anchors_and_merges_work(file: Path) -> None:
    file.write_text(
        "providers:\n"
        "  lifecycle: {breaker: &b {failures: 9, window: 1m, reset: 5s}}\n"
        "  billing: {breaker: {<<: *b, reset: 7s}}\n"
        "  credentials: {breaker: {<<: [*b, {failures: 1}]}}\n"
    )
    providers = load(file).config.providers
    assert (providers.billing.breaker.failures, providers.billing.breaker.reset) == (9, 7)
    assert (providers.credentials.breaker.failures, providers.credentials.breaker.reset) == (9, 5)


def test_part_of_a_section_leaves_the_rest_as_it_was(file: Path) -> None:
    file.write_text("providers: {billing: {breaker: {failures: 9}}}")
    breaker = load(file).config.providers.billing.breaker
    assert (breaker.failures, breaker.window, breaker.reset) == (9, 30, 60)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"%@`#,? \n\t<\\0\x01é"), max_size=60))
def test_no_text_makes_the_reader_fall_over(text: str) -> None:
    document = read_text(text, "f")
    assert all(problem.text and problem.origin is not None for problem in document.problems)
    assert set(document.origins) >= ({()} if document.value is not None else set())


# Words and numbers


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "y", "n", "No", "OFF"])
def test_yes_and_no_are_words(file: Path, word: str) -> None:
    file.write_text(f"plans: {{{word}: {{name: {word}, tier: FREE}}}}\ndefault_plan: {word}\n")
    plan = load(file).config.plan_book().default
    assert (plan.plan_id, plan.name) == (word, word)


def test_off_is_a_mode(file: Path) -> None:
    file.write_text("gates: {billing: {mode: off}}")
    assert load(file).config.gates.billing.mode == "off"


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", '"true"', "1"])
def test_a_word_is_no_truth_value(file: Path, word: str) -> None:
    found = faults(file, f"gates: {{protection: {{draft_headers: {word}}}}}")
    assert found[0].startswith(f"{file}:1: gates.protection.draft_headers: must be true or false")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("-1s", "must be a time with its unit"),
        ("5", "must be a time with its unit"),
        ("0.5", "must be a time with its unit"),
        (".nan", "must be a time with its unit"),
        (".inf", "must be a time with its unit"),
        ("true", "must be a time with its unit"),
        ("[1s]", "must be a time with its unit"),
        ("", "must be a time with its unit"),
        ("0s", "must be more than zero"),
        ("0ms", "must be more than zero"),
    ],
)
def test_a_number_where_a_time_is_due(file: Path, value: str, said: str) -> None:
    (only,) = faults(file, f"providers:\n  lifecycle:\n    timeout: {value}\n")
    assert only.startswith(f"{file}:3: providers.lifecycle.timeout: {said}")


def test_zero_is_a_time_where_it_means_something(file: Path) -> None:
    file.write_text("server: {margin: 0s, drain: 0s}\nproviders: {lifecycle: {cache: {max_stale: 0s}}}")
    config = load(file).config
    assert (config.server.margin, config.server.drain, config.providers.lifecycle.cache.max_stale) == (0, 0, 0)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("server.workers", "0", "must be at least 1, not 0"),
        ("server.workers", "1.0", "must be a whole number, not 1.0"),
        ("server.workers", '"1"', "must be a whole number, not '1'"),
        ("server.workers", "true", "must be a whole number, not true"),
        ("server.workers", "9" * 5000, "must be a whole number"),
        ("server.max_checks", "-1", "must be at least 1, not -1"),
        ("server.listen", "9191", "must be host:port"),
        ("server.listen", "", "must be host:port"),
        ("admin.listen", "unix:/run/x", "a unix socket is for the gRPC port only"),
        ("admin.hosts", "a.example", "must be a list, such as [a, b], not 'a.example'"),
        ("admin.hosts", "[1]", "must be a text; put it in quotes, not 1"),
        ("server.frontend", "grpc", "must be one of grpcio, envoy; did you mean grpcio?"),
        ("providers.events.max_size", "1000", "must be a size with its unit"),
        ("providers.events.max_size", "0B", "must be at least 1"),
        ("providers.events.allow_sample_rate", "2", "must be a number from 0 to 1"),
        ("providers.events.allow_sample_rate", ".nan", "must be a number from 0 to 1"),
        ("providers.events.allow_sample_rate", "often", "must be a number from 0 to 1"),
        ("gates.auth.methods", "[apikey]", "must be one of api_key, jwt, peer, envoy_jwt; did you mean api_key?"),
        ("gates.protection.actions", "reject", "must hold keys"),
        ("gates", "[]", "must hold keys"),
        ("plans", "[]", "must hold keys"),
        ("routes", "{}", "must be a list"),
    ],
)
def test_a_value_of_the_wrong_kind(file: Path, path: str, value: str, said: str) -> None:
    *above, key = path.split(".")
    text = (
        "".join(f"{'  ' * depth}{step}:\n" for depth, step in enumerate(above)) + f"{'  ' * len(above)}{key}: {value}\n"
    )
    (only,) = faults(file, text)
    assert only.startswith(f"{file}:{len(above) + 1}: {path}")
    assert said in only


def test_a_share_of_events_is_a_number(file: Path) -> None:
    file.write_text("providers: {events: {allow_sample_rate: 0.25}}")
    assert load(file).config.providers.events.allow_sample_rate == 0.25


# Keys


def test_an_unknown_key_says_what_was_meant_and_what_there_is(file: Path) -> None:
    assert faults(file, "server:\n  budgt: 1s\n") == [
        (
            f"{file}:2: server.budgt: unknown key; did you mean budget? allowed here: listen, frontend, workers, budget, margin,"
            " drain, max_checks, max_connection_age, reflection"
        )
    ]
    assert "did you mean providers?" in faults(file, "provider: {}\n")[0]
    assert "did you mean" not in faults(file, "xyz: {}\n")[0]
    assert "server.nope: unknown key" in faults(file, "server: {nope: }")[0]
    (in_list,) = faults(file, "routes: [{exact: /a, class: sdk, scope: [x]}]")
    assert (
        "routes[0].scope: unknown key; did you mean scopes? allowed here: exact, prefix, regex, class, cost" in in_list
    )


def test_all_faults_are_told_at_once_in_the_order_of_the_file(file: Path) -> None:
    found = faults(
        file,
        "server:\n  listen: 9191\n  workers: 2\n  margin: 2s\n"
        "providers:\n  credentials: {timeout: 5}\n  protection: {url: 'sqlite:///x'}\n"
        "gates:\n  auth: {mode: off}\n  biling: {}\n  protection: {}\n  protection: {}\n"
        "routes:\n  - {prefix: /a, class: pubic}\n  - {exact: /b}\n"
        "plans:\n  gold: {name: 7, tier: GOLD}\n"
        "default_plan: glod\n",
    )
    places = [line.removeprefix(f"{file}:").split(": ")[:2] for line in found]
    assert places == [
        ["2", "server.listen"],
        ["3", "server.workers"],
        ["4", "server.margin"],
        ["6", "providers.credentials.timeout"],
        ["7", "providers.protection.url"],
        ["9", "gates.auth.mode"],
        ["10", "gates.biling"],
        ["12", "gates.protection"],
        ["14", "routes[0].class"],
        ["15", "routes[1].class"],
        ["17", "plans.gold.name"],
        ["17", "plans.gold.tier"],
        ["18", "default_plan"],
    ]
    assert found[-1].endswith("'glod' is not in plans (gold). did you mean gold?")


# A file that others can read


def test_a_token_file_that_everybody_can_read_is_warned_about(file: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    file.write_text(f"admin: {{token_file: {token}}}\nproviders: {{credentials: {{pepper_file: {token}}}}}\n")
    token.chmod(0o644)
    loaded = load(file)
    assert [str(warning) for warning in loaded.warnings] == [
        f"{file}:1: admin.token_file: everybody on this machine can read {token}; chmod 600 {token}"
    ]
    assert "everybody on this machine" in str(loaded.advice[0])
    token.chmod(0o600)
    assert load(file).warnings == ()


def test_a_token_file_that_is_not_there_is_warned_about(file: Path, tmp_path: Path) -> None:
    file.write_text(f"admin: {{token_file: {tmp_path / 'none'}}}")
    assert "cannot be read now: no such file or directory" in str(load(file).warnings[0])
    file.write_text(f"admin: {{token_file: {tmp_path}}}")
    assert "is no file" in str(load(file).warnings[0])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(file: Path) -> None:
    file.write_text("")
    file.chmod(0)
    with pytest.raises(InvalidConfig, match="cannot be read: permission denied"):
        load(file)
