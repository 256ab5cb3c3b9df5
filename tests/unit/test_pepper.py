"""The peppers: where they come from, what they do, and that nothing shows them (spec 3.2)."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.authn import Pepper, PepperBook, load_peppers
from extauthz.errors import ConfigError

OLD, NEW, THIRD = "old-" + "o" * 40, "new-" + "n" * 40, "third-" + "t" * 40


def private_file(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def fingerprints(*values: str) -> tuple[str, ...]:
    return tuple(Pepper(value).fingerprint for value in values)


def test_outputs_that_are_stored_never_change() -> None:
    pepper = Pepper("0123456789abcdef0123456789abcdef")
    assert pepper.fingerprint == "bb910cf1112b"
    assert pepper.mac("a" * 16) == b"y7l43gi3"
    assert pepper.hash_secret(b"a" * 52).hex() == "2b35a12caaea950ef3029b42786be83129e34703c68a3310269de704a1fccc18"


def test_a_fingerprint_names_a_pepper_and_differs_from_the_next_one() -> None:
    assert Pepper(OLD).fingerprint == Pepper(OLD).fingerprint
    assert Pepper(OLD).fingerprint != Pepper(NEW).fingerprint
    assert len(Pepper(OLD).fingerprint) == 12


def test_the_three_uses_are_told_apart() -> None:
    pepper = Pepper(OLD)
    text = "a" * 16
    hashed = pepper.hash_secret(text.encode())
    other = Pepper(NEW)
    assert pepper.mac(text) not in {other.mac(text), pepper.mac("b" * 16)}
    assert hashed not in {other.hash_secret(text.encode()), pepper.hash_secret(b"b" * 16)}
    assert not hashed.hex().startswith(pepper.fingerprint)


def test_no_repr_shows_a_pepper() -> None:
    book = PepperBook([OLD])
    for shown in (repr(book), repr(book.current), str(book.current), repr(vars(book))):
        assert "ooo" not in shown


def test_newest_first() -> None:
    book = PepperBook([NEW, OLD])
    assert book.current.fingerprint == Pepper(NEW).fingerprint
    assert book.fingerprints == fingerprints(NEW, OLD)
    found = book.find(Pepper(OLD).fingerprint)
    assert found is not None
    assert found.mac("a" * 16) == Pepper(OLD).mac("a" * 16)
    assert book.find(Pepper(THIRD).fingerprint) is None


def test_a_mac_is_tried_under_every_pepper_listed() -> None:
    book, key_id = PepperBook([NEW, OLD]), "abcdefghijklmnop"
    for value in (NEW, OLD):
        signer = book.signer(key_id, Pepper(value).mac(key_id))
        assert signer is not None
        assert signer.fingerprint == Pepper(value).fingerprint
    assert book.signer(key_id, Pepper(THIRD).mac(key_id)) is None
    assert book.signer("b" * 16, Pepper(OLD).mac(key_id)) is None


@given(st.binary(max_size=12))
def test_an_invented_mac_is_nobodys(mac: bytes) -> None:
    real = Pepper(OLD).mac("a" * 16)
    assert (PepperBook([OLD]).signer("a" * 16, mac) is not None) == (mac == real)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("short", "value 1 of 1 has 5 characters, at least 32"),
        ("x" * 31, "value 1 of 1 has 31 characters"),
        (f"{OLD},short-secret", "value 2 of 2 has 12 characters"),
        (f"{OLD}, ,{NEW}", "value 2 of 3 has 0 characters"),
        (f"{OLD},", "value 2 of 2 has 0 characters"),
        (f"{OLD},{OLD}", "a value is there twice"),
    ],
)
def test_a_bad_value_is_an_error_that_names_field_and_remedy_and_no_secret(
    text: str, complaint: str, tmp_path: Path
) -> None:
    file = private_file(tmp_path / "p", text)
    for name, value in (("EXTAUTHZ_PEPPER", text), ("providers.credentials.pepper_file", None)):
        with pytest.raises(ConfigError) as caught:
            load_peppers(env_value=value, pepper_file=file)
        message = str(caught.value)
        assert complaint in message
        assert name in message
        assert not any(secret in message for secret in ("short", "xxx", "ooo"))


def test_a_book_needs_a_pepper() -> None:
    with pytest.raises(ConfigError, match="is empty"):
        PepperBook([])


def test_exactly_32_characters_will_do() -> None:
    assert load_peppers(env_value="x" * 32).book.fingerprints == fingerprints("x" * 32)


def test_the_environment_lists_them_newest_first_and_comes_before_the_file(tmp_path: Path) -> None:
    file = private_file(tmp_path / "p", THIRD)
    loaded = load_peppers(env_value=f" {NEW} , {OLD} ", pepper_file=file, sqlite_file=tmp_path / "x.db", in_memory=True)
    assert loaded.book.fingerprints == fingerprints(NEW, OLD)
    assert loaded.warnings == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p"]


@pytest.mark.parametrize("text", [f"{NEW},{OLD}", f"{NEW},{OLD}\n", f"{NEW}\n{OLD}\n", f"\ufeff{NEW}\r\n{OLD}\r\n"])
def test_a_file_lists_them_newest_first(text: str, tmp_path: Path) -> None:
    loaded = load_peppers(env_value=None, pepper_file=private_file(tmp_path / "p", text), sqlite_file=tmp_path / "x.db")
    assert loaded.book.fingerprints == fingerprints(NEW, OLD)
    assert loaded.warnings == ()


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_file_that_everybody_can_read_or_change_is_a_warning(mode: int, tmp_path: Path) -> None:
    file = private_file(tmp_path / "p", OLD, mode)
    (warning,) = load_peppers(env_value=None, pepper_file=file).warnings
    assert "providers.credentials.pepper_file" in warning
    assert "chmod 600" in warning
    assert f"{mode:04o}" in warning
    assert "ooo" not in warning


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_file_of_its_owner_or_group_is_no_warning(mode: int, tmp_path: Path) -> None:
    assert load_peppers(env_value=None, pepper_file=private_file(tmp_path / "p", OLD, mode)).warnings == ()


def test_a_file_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe" * 40)
    large = private_file(tmp_path / "large", "x" * 70_000)
    for path, complaint in (
        (tmp_path / "missing", "cannot be read"),
        (tmp_path, "cannot be read"),
        (binary, "is not a text"),
        (large, "is larger than"),
    ):
        with pytest.raises(ConfigError, match=complaint) as caught:
            load_peppers(env_value=None, pepper_file=path, sqlite_file=tmp_path / "x.db", in_memory=True)
        assert "providers.credentials.pepper_file" in str(caught.value)
        assert str(path) in str(caught.value)


def test_beside_a_sqlite_file_one_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    database = tmp_path / "extauthz.db"
    first = load_peppers(env_value=None, sqlite_file=database)
    (made,) = tmp_path.iterdir()
    assert made.name == "extauthz.db.pepper"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert len(made.read_text().strip()) == 64
    assert first.warnings == ()
    database.touch()
    again = load_peppers(env_value=None, sqlite_file=database)
    assert again.book.fingerprints == first.book.fingerprints
    assert again.warnings == ()


def test_every_deployment_gets_its_own(tmp_path: Path) -> None:
    one = load_peppers(env_value=None, sqlite_file=tmp_path / "one.db")
    two = load_peppers(env_value=None, sqlite_file=tmp_path / "two.db")
    assert one.book.fingerprints != two.book.fingerprints


def test_a_mask_of_the_process_does_not_open_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_peppers(env_value=None, sqlite_file=tmp_path / "x.db")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.db.pepper").stat().st_mode) == 0o600


def test_processes_that_start_at_once_get_the_same_one(tmp_path: Path) -> None:
    def load(_: int) -> tuple[str, ...]:
        return load_peppers(env_value=None, sqlite_file=tmp_path / "x.db").book.fingerprints

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(load, range(32)))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.db.pepper"]


def test_a_pepper_lost_from_beside_a_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"keys")
    (warning,) = load_peppers(env_value=None, sqlite_file=tmp_path / "x.db").warnings
    assert "do not verify" in warning


def test_a_folder_that_cannot_take_the_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be made: No such file or directory; .*EXTAUTHZ_PEPPER"):
        load_peppers(env_value=None, sqlite_file=tmp_path / "missing" / "x.db")


def test_in_memory_every_process_has_its_own() -> None:
    one, two = (load_peppers(env_value=None, in_memory=True) for _ in range(2))
    assert one.book.fingerprints != two.book.fingerprints
    assert one.warnings == ()


def test_a_shared_store_must_be_given_one() -> None:
    with pytest.raises(ConfigError, match="EXTAUTHZ_PEPPER") as caught:
        load_peppers(env_value=None)
    assert "providers.credentials.pepper_file" in str(caught.value)
