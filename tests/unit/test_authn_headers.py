"""Which headers carry an API key, and which are malformed or somebody else's (spec 3.2, bad inputs of a Check)."""

from collections.abc import Mapping

import pytest

from extauthz.authn import ApiKeyMint, ApiKeys, KeyUses, PepperBook, Refusals
from extauthz.errors import InvalidCredential
from extauthz.model.deadline import Deadline
from extauthz.model.identity import ApiKey, AuthMethod
from extauthz.model.request import CheckRequest
from extauthz.ports import CredentialMethod, Presented
from extauthz.testing.clock import FakeClock, FakeWallClock
from extauthz.testing.lookup import FakeLookup

BOOK = PepperBook(["p" * 32])
KEY, OTHER = (ApiKeyMint(BOOK).mint(tenant, frozenset(), None, 0.0)[1] for tenant in ("acme", "other"))


@pytest.fixture
def lookup() -> FakeLookup[str, ApiKey | None]:
    return FakeLookup(None)


@pytest.fixture
def keys(lookup: FakeLookup[str, ApiKey | None]) -> ApiKeys:
    refusals, uses = Refusals(clock=FakeClock()), KeyUses(no_store)
    return ApiKeys(peppers=BOOK, lookup=lookup, refusals=refusals, uses=uses, wall=FakeWallClock())


async def no_store(_uses: object) -> None:
    pytest.fail("nothing here is ever used")


def present(keys: ApiKeys, headers: Mapping[str, str]) -> list[tuple[str, str, bool]]:
    found = keys.present(CheckRequest(method="GET", path="/", headers=headers))
    return [(one.header, one.credential, one.malformed) for one in found]


def test_it_is_a_credential_method(keys: ApiKeys) -> None:
    method: CredentialMethod = keys
    assert method.name is AuthMethod.API_KEY


def test_a_key_in_either_header_is_presented(keys: ApiKeys) -> None:
    assert present(keys, {"x-api-key": KEY}) == [("x-api-key", KEY, False)]
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert present(keys, {"authorization": f"{scheme} {KEY}"}) == [("authorization", KEY, False)]


def test_keys_in_both_headers_are_both_presented(keys: ApiKeys) -> None:
    found = present(keys, {"x-api-key": KEY, "authorization": f"Bearer {OTHER}"})
    assert found == [("x-api-key", KEY, False), ("authorization", OTHER, False)]
    found = present(keys, {"x-api-key": "", "authorization": f"Bearer {OTHER}"})
    assert found == [("x-api-key", "", True), ("authorization", OTHER, False)]


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "nonsense", "exak_", "{0},{0}", "{0}, {0}", "{0} {0}", " {0}", "{0} ", "{0}=", "Bearer {0}", "!{0}"),
        *("exak_!!!!", "\u00e9", "!", "{0}!", "' OR 1=1 --", "{0}'; DROP TABLE api_keys; --", "{0}\x00", "{0}\n"),
    ],
)
async def test_whatever_else_stands_in_x_api_key_is_presented_and_never_verifies(
    keys: ApiKeys, lookup: FakeLookup[str, ApiKey | None], value: str
) -> None:
    text = value.format(KEY)
    assert present(keys, {"x-api-key": text}) == [("x-api-key", text, True)]
    malformed = Presented(header="x-api-key", credential=text, malformed=True)
    with pytest.raises(InvalidCredential, match="malformed"):
        keys.verify_now(malformed)
    with pytest.raises(InvalidCredential, match="malformed"):
        await keys.verify(malformed, Deadline.after(1.0, FakeClock()))
    assert lookup.queries == []


@pytest.mark.parametrize(
    "value",
    [
        "Bearer  {0}",
        "Bearer {0} ",
        " Bearer {0}",
        "Bearer\t{0}",
        "Bearer {0},Bearer {0}",
        "Bearer {0}, Bearer {0}",
        "Basic dXNlcjpwYXNz,Bearer {0}",
        "Bearer {0},Basic dXNlcjpwYXNz",
        "Bearer eyJhbGciOi.eyJzdWIi.c2ln,Bearer {0}",
        "Bearer {0} trailing",
        "Bearer {0}x",
        "Bearer {0}!",
        "Bearer exak_",
        "Bearer exak_short",
        "Bearer exak_' OR '1'='1",
        "Bearer exak_\u00e9",
        "{0}",
        "Token {0}",
        "Basic {0}",
        "Bearer{0}",
        "Bearer,{0}",
    ],
)
def test_an_authorization_with_our_prefix_that_is_not_exactly_ours_is_malformed(keys: ApiKeys, value: str) -> None:
    text = value.format(KEY)
    assert present(keys, {"authorization": text}) == [("authorization", text, True)]


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "Bearer", "Bearer ", "bearer", "Basic dXNlcjpwYXNz", "Bearer sometoken", "Bearer a,Bearer b"),
        *(
            "Digest username=x",
            "Negotiate abc==",
            "Bearer eyJhbGciOi.eyJzdWIi.c2ln",
            "Bearer eyJh.b.aexak_b",
            "!",
            "\u00e9",
        ),
        *("Bearer EXAK_abc", "Bearer exak", "AWS4-HMAC-SHA256 Credential=a/b, Signature=c"),
    ],
)
def test_an_authorization_that_is_not_of_our_form_is_ignored(keys: ApiKeys, value: str) -> None:
    assert present(keys, {"authorization": value}) == []


def test_nothing_presented(keys: ApiKeys) -> None:
    assert present(keys, {}) == []
    assert present(keys, {"x-api-keys": "a", "x-tenant-id": "acme", "cookie": "exak_"}) == []


def test_no_repr_shows_a_credential(keys: ApiKeys) -> None:
    (found,) = keys.present(CheckRequest(method="GET", path="/", headers={"x-api-key": KEY}))
    assert KEY[30:] not in repr(found)
