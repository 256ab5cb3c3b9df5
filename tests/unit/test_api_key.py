"""The form of API keys, making them, and comparing them with their records (spec 3.2)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.authn import ApiKeyMint, Pepper, PepperBook
from extauthz.authn.key_format import (
    KeyParts,
    base32,
    bearer_key,
    is_key,
    is_near_miss,
    join_key,
    key_id_of,
    split_key,
)
from extauthz.authn.refusals import KeyFault
from extauthz.authn.verifier import Verified, fault_now, verify_secret
from extauthz.model.identity import ApiKey, AuthMethod, Principal

OLD, NEW = "old-" + "o" * 40, "new-" + "n" * 40
BOOK = PepperBook([OLD])
NOW = 1_767_268_800.0
KEY = "exak_" + "abcdefgh234567ij" + "klmnopqr" + "_" + "s" * 51 + "q"
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def mint(book: PepperBook = BOOK, *, tenant_id: str = "acme", expires_at: float | None = None) -> tuple[ApiKey, str]:
    return ApiKeyMint(book).mint(tenant_id, frozenset({"read"}), expires_at, NOW)


def compare(text: str, record: ApiKey | None, book: PepperBook = BOOK) -> Verified | KeyFault:
    parts = split_key(text)
    signer = book.signer(parts.key_id, parts.mac)
    assert signer is not None
    return verify_secret(parts, signer, record, book)


# The form


def test_a_key_in_its_parts() -> None:
    assert is_key(KEY)
    assert len(KEY) == 82
    assert key_id_of(KEY) == "abcdefgh234567ij"
    assert split_key(KEY) == KeyParts("abcdefgh234567ij", b"klmnopqr", b"s" * 51 + b"q")
    assert join_key(split_key(KEY)) == KEY


@pytest.mark.parametrize("last", ALPHABET)
def test_the_last_character_carries_one_bit_so_that_every_secret_has_one_spelling(last: str) -> None:
    assert is_key(KEY[:-1] + last) == (last in "aq")


@given(st.binary(min_size=32, max_size=32))
def test_every_secret_that_can_be_drawn_has_the_form(secret: bytes) -> None:
    text = base32(secret).decode()
    assert len(text) == 52
    assert is_key(KEY[:-52] + text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "exak_",
        "key",
        KEY.upper(),
        KEY.replace("exak_", "EXAK_"),
        KEY.replace("exak_", "exbk_"),
        KEY + "a",
        KEY[:-1],
        KEY + "\n",
        " " + KEY,
        KEY + " ",
        KEY + "," + KEY,
        KEY.replace("_s", "-s"),
        KEY.replace("a", "1", 2),
        KEY.replace("b", "0"),
        KEY.replace("b", "8"),
        KEY.replace("b", "!"),
        KEY.replace("b", "\u00e9"),
        KEY.replace("b", "\u0431"),
        KEY.replace("2", "\u0662"),
        KEY.replace("b", "\x00"),
        KEY + "=",
        "exak_' OR '1'='1",
        "'; DROP TABLE api_keys; --",
        pytest.param("x" * 1_000_000, id="a megabyte"),
    ],
)
def test_anything_else_is_no_key(text: str) -> None:
    assert not is_key(text)
    assert bearer_key("Bearer " + text) is None


@given(st.integers(0, 81), st.characters())
def test_a_key_with_another_character_is_a_key_only_if_the_alphabet_has_it(at: int, char: str) -> None:
    text = KEY[:at] + char + KEY[at + 1 :]
    fixed = at in {0, 1, 2, 3, 4, 29}
    assert is_key(text) == (text == KEY if fixed else char in ("aq" if at == 81 else ALPHABET))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    assert bearer_key(f"{scheme} {KEY}") == KEY
    assert bearer_key(f"{scheme}  {KEY}") is None


@given(st.text(max_size=30).map(lambda text: text + "exak_"), st.text(max_size=30))
def test_whatever_holds_our_prefix_is_ours_or_one_foreign_token(before: str, after: str) -> None:
    value = before + after
    words = value.split(" ")
    one_foreign_token = len([word for word in words if word]) == 2 and not words[-1].startswith("exak_")
    assert is_near_miss(value) or one_foreign_token


def test_long_values_are_looked_at_in_one_pass() -> None:
    for value in ("Basic " + "a" * 100_000 + "!exak_", "A" + " " * 100_000 + "exak_", "A a" + "=" * 100_000 + "exak_"):
        assert is_near_miss(value)
    assert not is_near_miss("Bearer " + "aexak_" * 20_000)


# Making


def test_a_minted_key_verifies_against_its_record_and_stands_for_its_tenant() -> None:
    record, text = mint(expires_at=NOW + 60)
    assert is_key(text)
    outcome = compare(text, record)
    assert isinstance(outcome, Verified)
    assert outcome.record is record
    assert outcome.renewed is None
    assert outcome.principal == Principal(
        tenant_id="acme",
        method=AuthMethod.API_KEY,
        subject=record.key_id,
        scopes=frozenset({"read"}),
        expires_at=NOW + 60,
    )


def test_the_record_holds_no_secret_but_its_hash() -> None:
    record, text = mint()
    secret = text.rpartition("_")[2]
    assert secret not in repr(record)
    assert secret.encode() not in record.secret_hash
    assert record.secret_hash == Pepper(OLD).hash_secret(secret.encode())
    assert (record.key_id, record.created_at, record.expires_at) == (text[5:21], NOW, None)
    assert (record.last_used_at, record.revoked_at) == (None, None)
    assert record.mac_pepper == record.hash_pepper == Pepper(OLD).fingerprint


def test_new_keys_are_made_under_the_newest_pepper() -> None:
    record, _ = mint(PepperBook([NEW, OLD]))
    assert record.mac_pepper == record.hash_pepper == Pepper(NEW).fingerprint


def test_keys_are_all_different_and_drawn_from_the_source_of_randomness() -> None:
    assert len({mint()[1] for _ in range(200)}) == 200
    asked: list[int] = []

    def draw(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    _, text = ApiKeyMint(BOOK, random=draw).mint("acme", frozenset(), None, NOW)
    assert asked == [10, 32]
    assert text.startswith("exak_aaaqeayeaudaocaj")


# Comparing


def test_a_wrong_secret_an_unknown_id_and_another_keys_secret_do_not_verify() -> None:
    record, text = mint()
    _, other = mint()
    assert compare(text[:-1] + ("a" if text[-1] == "q" else "q"), record) is KeyFault.WRONG_SECRET
    assert compare(text[:30] + other[30:], record) is KeyFault.WRONG_SECRET
    assert compare(text, None) is KeyFault.UNKNOWN
    assert compare(text, replace(record, secret_hash=b"")) is KeyFault.WRONG_SECRET


def test_taking_a_pepper_out_ends_the_keys_issued_under_it() -> None:
    record, text = mint()
    parts = split_key(text)
    assert PepperBook([NEW]).signer(parts.key_id, parts.mac) is None
    renewed = replace(record, hash_pepper=Pepper(NEW).fingerprint, secret_hash=Pepper(NEW).hash_secret(parts.secret))
    assert isinstance(compare(text, renewed, PepperBook([NEW, OLD])), Verified)
    assert PepperBook([NEW]).signer(parts.key_id, parts.mac) is None


def test_a_hash_under_a_pepper_that_was_taken_out_does_not_verify() -> None:
    record, text = mint()
    renewed = replace(record, hash_pepper=Pepper(NEW).fingerprint)
    assert compare(text, renewed, BOOK) is KeyFault.PEPPER_REMOVED
    assert compare(text, replace(record, mac_pepper=Pepper(NEW).fingerprint), BOOK) is KeyFault.PEPPER_REMOVED


def test_a_hash_under_an_older_pepper_is_renewed() -> None:
    record, text = mint()
    outcome = compare(text, record, PepperBook([NEW, OLD]))
    assert isinstance(outcome, Verified)
    assert outcome.renewed == (Pepper(NEW).hash_secret(text[30:].encode()), Pepper(NEW).fingerprint)
    renewed = replace(record, secret_hash=outcome.renewed[0], hash_pepper=outcome.renewed[1])
    again = compare(text, renewed, PepperBook([NEW, OLD]))
    assert isinstance(again, Verified)
    assert again.renewed is None


@pytest.mark.parametrize("tenant_id", ["", "a\r\nx-tenant-id: b", "_other", "caf\u00e9", "a" * 129])
def test_a_record_whose_tenant_is_no_id_does_not_verify(tenant_id: str) -> None:
    record, text = mint()
    assert compare(text, replace(record, tenant_id=tenant_id)) is KeyFault.BAD_RECORD


def test_a_key_of_the_system_tenant_with_scope_operator_is_an_operators() -> None:
    record, text = ApiKeyMint(BOOK).mint("_system", frozenset({"operator"}), None, NOW)
    outcome = compare(text, record)
    assert isinstance(outcome, Verified)
    assert outcome.principal.is_operator


@pytest.mark.parametrize(
    ("expires_in", "fault"),
    [(None, None), (1.0, None), (0.001, None), (0.0, KeyFault.EXPIRED), (-1.0, KeyFault.EXPIRED)],
)
def test_a_key_has_expired_in_the_very_second(expires_in: float | None, fault: KeyFault | None) -> None:
    record, _ = mint(expires_at=None if expires_in is None else NOW + expires_in)
    assert fault_now(record, NOW) is fault


def test_a_revoked_key_is_revoked_whenever_that_was() -> None:
    record, _ = mint(expires_at=NOW - 1)
    for moment in (NOW - 9, NOW, NOW + 9):
        assert fault_now(replace(record, revoked_at=moment), NOW) is KeyFault.REVOKED
