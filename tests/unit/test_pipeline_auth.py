"""The auth gateway (spec 3.2): fail-closed, every presented credential counts."""

import pytest

from extauthz.errors import InvalidCredential
from extauthz.model.decision import FallbackReason, Gate, Reason
from extauthz.model.identity import OPERATOR_SCOPE, SYSTEM_TENANT, AuthMethod
from extauthz.model.request import Route, RouteClass
from extauthz.ports import Unavailable
from extauthz.routing import RouteKind, RouteRule
from extauthz.testing.builders import KEY, OPERATOR_KEY, TENANT, make_principal, make_request
from extauthz.testing.clock import FakeClock
from extauthz.testing.fakes import FakeMethod
from extauthz.testing.stage import Stage, report_of

JWT_OF_ACME = make_principal(method=AuthMethod.JWT, subject="user-7")
JWT_OF_GLOBEX = make_principal("globex", method=AuthMethod.JWT, subject="user-8")
OUT = Unavailable(FallbackReason.TIMEOUT, retry_after_ms=15_000)
GUARDED = RouteRule(
    kind=RouteKind.PREFIX,
    pattern="/api/v1/things",
    route=Route(route_class=RouteClass.STANDARD, scopes=frozenset({"things:read", "things:list"})),
)


def jwt() -> FakeMethod:
    return FakeMethod(
        {"acme.jwt": JWT_OF_ACME, "globex.jwt": JWT_OF_GLOBEX}, name=AuthMethod.JWT, header="authorization"
    )


async def test_nothing_presented_is_missing_credentials() -> None:
    decision = await Stage(FakeClock()).decide(make_request(key=None))
    assert decision.denial is not None
    assert (decision.gate, decision.reason) == (Gate.AUTH, Reason.MISSING_CREDENTIALS)
    assert not decision.denial.credential_presented
    assert (decision.denial.method, decision.facts.principal) == (None, None)


@pytest.mark.parametrize("cached", [True, False])
async def test_a_verified_credential_is_the_principal(cached: bool) -> None:  # noqa: FBT001 - both ways to learn it
    stage = Stage(FakeClock())
    stage.key.cached = cached
    decision = await stage.decide(make_request())
    assert decision.allowed
    assert decision.facts.principal == make_principal()
    assert stage.key.verified == ([] if cached else [KEY])
    assert decision.strip == ("x-api-key",)
    assert report_of(decision, Gate.AUTH).verdict == "allow"


@pytest.mark.parametrize("cached", [True, False])
async def test_an_unknown_credential_is_invalid_and_only_the_note_says_how(cached: bool) -> None:  # noqa: FBT001 - both ways to learn it
    stage = Stage(FakeClock())
    stage.key.cached = cached
    stage.key.known["revoked"] = InvalidCredential("revoked")
    decision = await stage.decide(make_request(key="revoked"))
    assert decision.denial is not None
    assert (decision.gate, decision.reason) == (Gate.AUTH, Reason.INVALID_CREDENTIALS)
    assert decision.denial.credential_presented
    assert (decision.denial.note, decision.denial.method) == ("revoked", AuthMethod.API_KEY)
    assert decision.denial.retry_after_ms is None


async def test_a_malformed_credential_is_invalid_whatever_its_method_makes_of_it() -> None:
    class Gullible(FakeMethod):
        def verify_now(self, presented: object) -> None:
            raise AssertionError(presented)

    method = Gullible({KEY: make_principal()})
    method.malformed.add(KEY)
    decision = await Stage(FakeClock(), methods=(method,)).decide(make_request())
    assert decision.reason is Reason.INVALID_CREDENTIALS
    assert method.verified == []


async def test_the_credential_store_failing_is_a_503_never_an_allow() -> None:
    stage = Stage(FakeClock())
    stage.key.known[KEY] = OUT
    decision = await stage.decide(make_request())
    assert decision.denial is not None
    assert (decision.gate, decision.reason) == (Gate.AUTH, Reason.PROVIDER_UNAVAILABLE)
    assert (decision.denial.retry_after_ms, decision.denial.note) == (15_000, "timeout")
    assert decision.degraded == ()
    made = report_of(decision, Gate.AUTH)
    assert (made.verdict, made.fallback) == ("deny", FallbackReason.TIMEOUT)
    assert not stage.lifecycle.peeked


async def test_without_a_word_from_the_store_to_try_again_is_a_second() -> None:
    stage = Stage(FakeClock())
    stage.key.known[KEY] = Unavailable(FallbackReason.BUDGET)
    decision = await stage.decide(make_request())
    assert decision.denial is not None
    assert decision.denial.retry_after_ms == 1000


async def test_malformed_or_forged_stays_invalid_while_the_store_is_down() -> None:
    key = FakeMethod({KEY: OUT})
    bearer = FakeMethod({}, name=AuthMethod.JWT, header="authorization")
    decision = await Stage(FakeClock(), methods=(key, bearer)).decide(make_request(headers={"authorization": "forged"}))
    assert decision.reason is Reason.INVALID_CREDENTIALS
    assert key.verified == []  # nothing was looked up for a request that cannot pass


async def test_a_credential_refused_by_its_store_counts_more_than_another_stores_outage() -> None:
    key = FakeMethod({KEY: OUT})
    bearer = FakeMethod({}, name=AuthMethod.JWT, header="authorization", cached=False)
    decision = await Stage(FakeClock(), methods=(key, bearer)).decide(
        make_request(headers={"authorization": "revoked"})
    )
    assert decision.reason is Reason.INVALID_CREDENTIALS
    assert decision.denial is not None
    assert decision.denial.method is AuthMethod.JWT


async def test_one_verified_credential_does_not_make_up_for_one_that_cannot_be_verified() -> None:
    key = FakeMethod({KEY: OUT})
    decision = await Stage(FakeClock(), methods=(key, jwt())).decide(
        make_request(headers={"authorization": "acme.jwt"})
    )
    assert decision.reason is Reason.PROVIDER_UNAVAILABLE


async def test_of_two_outages_the_first_is_told() -> None:
    key = FakeMethod({KEY: OUT})
    bearer = FakeMethod(
        {"x": Unavailable(FallbackReason.ERROR)}, name=AuthMethod.JWT, header="authorization", cached=False
    )
    decision = await Stage(FakeClock(), methods=(key, bearer)).decide(make_request(headers={"authorization": "x"}))
    assert decision.denial is not None
    assert (decision.denial.note, decision.denial.method) == ("timeout", AuthMethod.API_KEY)


@pytest.mark.parametrize("key_first", [True, False])
@pytest.mark.parametrize("cached", [True, False])
async def test_the_first_in_methods_names_the_principal(key_first: bool, cached: bool) -> None:  # noqa: FBT001 - both orders
    key, bearer = FakeMethod({KEY: make_principal()}, cached=cached), jwt()
    methods = (key, bearer) if key_first else (bearer, key)
    decision = await Stage(FakeClock(), methods=methods).decide(make_request(headers={"authorization": "acme.jwt"}))
    assert decision.allowed
    assert decision.facts.principal == (make_principal() if key_first else JWT_OF_ACME)


async def test_credentials_of_different_tenants_contradict_each_other() -> None:
    stage = Stage(FakeClock(), methods=(FakeMethod({KEY: make_principal()}), jwt()))
    decision = await stage.decide(make_request(headers={"authorization": "globex.jwt"}))
    assert decision.denial is not None
    assert decision.reason is Reason.INVALID_CREDENTIALS
    assert "different tenants" in decision.denial.note
    assert decision.denial.method is AuthMethod.JWT
    assert decision.facts.principal is None


@pytest.mark.parametrize(
    ("method", "always", "strip"),
    [
        (AuthMethod.API_KEY, False, ("x-api-key", "authorization")),
        (AuthMethod.JWT, False, ("x-api-key",)),
        (AuthMethod.JWT, True, ("x-api-key", "authorization")),
    ],
)
async def test_authorization_is_kept_from_the_upstream_where_it_carried_our_key_or_always(
    method: AuthMethod,
    always: bool,  # noqa: FBT001 - a row of the table
    strip: tuple[str, ...],
) -> None:
    bearer = FakeMethod({"credential": make_principal(method=method)}, name=method, header="authorization")
    stage = Stage(FakeClock(), methods=(bearer,), strip_authorization=always)
    decision = await stage.decide(make_request(key=None, headers={"authorization": "credential"}))
    assert decision.allowed
    assert decision.strip == strip


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ((), False),
        (("things:read",), False),
        (("things:read", "things:list"), True),
        (("things:read", "things:list", "x"), True),
    ],
)
async def test_a_route_wants_all_of_its_scopes(scopes: tuple[str, ...], allowed: bool) -> None:  # noqa: FBT001 - a row of the table
    stage = Stage(FakeClock(), rules=(GUARDED,))
    stage.key.known[KEY] = make_principal(scopes=frozenset(scopes))
    decision = await stage.decide(make_request())
    assert decision.reason is (Reason.NONE if allowed else Reason.INSUFFICIENT_SCOPE)
    assert decision.facts.principal is not None
    if not allowed:
        assert decision.gate is Gate.AUTH
        assert not stage.lifecycle.peeked


@pytest.mark.parametrize(
    ("tenant_id", "scopes", "allowed"),
    [
        (SYSTEM_TENANT, {OPERATOR_SCOPE}, True),
        (SYSTEM_TENANT, set[str](), False),
        (TENANT, {OPERATOR_SCOPE}, False),
    ],
)
async def test_an_operator_is_of_the_system_and_has_the_scope(tenant_id: str, scopes: set[str], allowed: bool) -> None:  # noqa: FBT001 - a row of the table
    stage = Stage(FakeClock())
    stage.key.known[OPERATOR_KEY] = make_principal(tenant_id, scopes=frozenset(scopes))
    decision = await stage.decide(make_request("/founder/x", key=OPERATOR_KEY))
    assert decision.reason is (Reason.NONE if allowed else Reason.OPERATOR_REQUIRED)
