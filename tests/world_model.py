"""What spec sections 3 and 4 permit an answer to be, in a world whose facts are known. Words and numbers only.

The service is free in one thing: which moment between question and answer it looks at. Everything else is decided here again,
and an answer that none of the permitted ways leads to is wrong.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from tests.world_answer import GATES, MARGIN, REFUSAL_TTL, Key, Report, Seen, Settings, Standing, Tenant
from tests.world_counts import UNLIMITED, Limits, Place
from tests.world_facts import EPSILON, UNTOLD, History, Wrong
from tests.world_provider import Provider
from tests.world_witness import Witness, expect


class Judge(Witness):
    """Says of every answer whether it may be so.

    Args:
        providers: `credentials`, `lifecycle`, `billing` and `protection`.
        places: `provider` and `local`, where requests are counted, and `both` for the two together.
        wall: the calendar's offset to the world's clock.
    """

    def __init__(
        self, settings: Settings, providers: Mapping[str, Provider], places: Mapping[str, Place], wall: History[float]
    ) -> None:
        super().__init__(settings, providers)
        self._places = places
        self._wall = wall

    def judge(self, seen: Seen) -> None:
        """Check one answer.

        Raises:
            Wrong: it may not be so.
        """
        if seen.answered > seen.asked + seen.budget - MARGIN + 2e-3:
            raise Wrong(f"answered after {seen.answered - seen.asked} of {seen.budget} s")
        for provider in self._providers.values():
            provider.settle(seen.answered)
            provider.circuit.look(seen.answered)
        if seen.route == "public":
            expect(seen, {("none", "none")})
            return
        if self._auth(seen):
            self._gates(seen)
        told = tuple(
            gate for gate in GATES if seen.reports[gate].fallback is not None and seen.reports[gate].source != "none"
        )
        if tuple(seen.degraded) != told:
            raise Wrong(f"degraded says {seen.degraded}, the gates say {told}")

    # 3.2: who is calling? Fail-closed.

    def _auth(self, seen: Seen) -> bool:
        """Whether the caller was let in, which must be right."""
        if seen.credential == "none":
            return expect(seen, {("auth", "missing_credentials")})
        if seen.credential == "forged":
            return expect(seen, {("auth", "invalid_credentials")})
        if (seen.gate, seen.reason) == ("auth", "provider_unavailable"):
            self.justify(seen, "credentials", seen.key, seen.key, seen.note, seen.budget - MARGIN)
            return False
        provider = self._providers["credentials"]
        now = self.fresh(seen, provider, seen.key, provider.numbers.ttl)
        if (seen.gate, seen.reason) == ("auth", "invalid_credentials"):
            self._refused(seen, provider)
            return False
        good = [key for key in now if isinstance(key, Key) and not key.revoked and not self._expired(seen, key)]
        if seen.credential == "wrong" or not good:
            raise Wrong(f"let in with {seen.credential}, {now}")
        if seen.route == "operator":
            return expect(seen, {("auth", "operator_required")})
        if seen.tenant not in {key.tenant for key in good}:
            raise Wrong(f"taken for {seen.tenant}")
        return True

    def _expired(self, seen: Seen, key: Key, since: float = 0.0) -> bool:
        """Whether the key's end had come throughout the request; with `since`, at some moment from so long before it."""
        if key.expires is None:
            return False
        offsets = self._wall.during(seen.asked - since, seen.answered)
        earliest, latest = seen.asked + min(offsets), seen.answered + max(offsets)
        return (latest if since else earliest) >= key.expires

    def _refused(self, seen: Seen, provider: Provider) -> None:
        if seen.credential == "wrong":
            return
        ttl = max(provider.numbers.ttl, REFUSAL_TTL)
        since = self.since(seen, provider, seen.key, ttl + REFUSAL_TTL)
        keys = provider.store[seen.key].during(since, seen.answered)
        if all(key is not None and not key.revoked and not self._expired(seen, key, REFUSAL_TTL) for key in keys):
            raise Wrong(f"refused a key that was good: {keys}")

    # 3.3 to 3.5: the gates

    def _gates(self, seen: Seen) -> None:
        tenants = self._lifecycle(seen)
        if tenants is None or seen.route in {"refresh", "onboarding"}:
            return
        may_deny = {(seen.route == "sdk" or not seen.reads) and tenant.onboarding == "COMPLETE" for tenant in tenants}
        standings = self._billing(seen, may_deny)
        if standings is None:
            return
        pending = {tenant.onboarding == "PENDING" for tenant in tenants}
        self._protection(seen, may_deny, self._limits(seen, pending))

    def _lifecycle(self, seen: Seen) -> list[Tenant] | None:
        """The records that the gate may have let pass; None where it denied."""
        report = seen.reports["lifecycle"]
        found = self.found(seen, "lifecycle", report, 0.0, Tenant("ACTIVE", None))
        outcomes = {record: self._barred(record, seen) for record in found}
        if seen.gate == "lifecycle":
            permitted = set(outcomes.values())
            if report.source == "none" and self._settings.on_failure["lifecycle"] == "closed":
                permitted = {"provider_unavailable"}
            expect(seen, {("lifecycle", reason) for reason in permitted if reason})
            return None
        passed = [record for record, reason in outcomes.items() if not reason and record is not None]
        if not passed or seen.state not in {record.state for record in passed}:
            raise Wrong(f"lifecycle let {seen.state} pass, which is {found}")
        if seen.route in {"refresh", "onboarding"}:
            expect(seen, {("none", "none")})
        return passed

    @staticmethod
    def _barred(record: Tenant | None, seen: Seen) -> str:
        """Why this record bars the request; empty: it does not."""
        if record is None:
            return "tenant_unknown"
        lenient = seen.route == "refresh" or (seen.route == "standard" and seen.reads)
        if record.state == "ACTIVE" or (record.state == "SUSPENDED" and lenient and record.onboarding != "PENDING"):
            return ""
        return record.state.lower()

    def _billing(self, seen: Seen, may_deny: set[bool]) -> list[Standing] | None:
        report = seen.reports["billing"]
        max_age = 0.0 if seen.route == "sdk" or not seen.reads else self._settings.plan_ttl
        found = [record or Standing("TRIAL", None) for record in self._standings(seen, report, max_age)]
        if seen.gate == "billing" and seen.reason != "max_requests_per_day":
            permitted = {("billing", "suspended")} if any(each.state == "SUSPENDED" for each in found) else set()
            if report.source == "none" and self._settings.on_failure["billing"] == "closed":
                permitted.add(("billing", "provider_unavailable"))
            expect(seen, permitted if True in may_deny else set())
            return None
        passed = [record for record, deny in product(found, may_deny) if not (deny and record.state == "SUSPENDED")]
        if seen.standing not in {record.state for record in passed}:
            raise Wrong(f"billing let {seen.standing} pass, which is {found}")
        return passed

    def _standings(self, seen: Seen, report: Report, max_age: float) -> list[Any]:
        """As `found`; a plan that the configuration does not have is a fallback of its own: the standing holds."""
        if report.source in {"default", "none"}:
            provider = self._providers["billing"]
            since = self.since(seen, provider, seen.tenant or "", max(max_age, provider.numbers.ttl))
            said = provider.store[seen.tenant or ""].during(since, seen.answered)
            said += [
                known.value
                for known in provider.knew(seen.tenant or "", seen.asked, seen.answered)
                if known is not UNTOLD
            ]
            foreign = [each for each in said if each is not None and each.plan not in {None, *self._settings.plans}]
            if foreign and report.fallback == "error":
                return [*foreign, Standing("TRIAL", None)]
            if foreign:
                return [
                    *foreign,
                    *self.found(seen, "billing", report, max_age, Standing("TRIAL", None), known=foreign),
                ]
        return self.found(seen, "billing", report, max_age, Standing("TRIAL", None))

    def _limits(self, seen: Seen, pending: set[bool]) -> list[Limits]:
        """The limits that may be in force."""
        default = self._settings.plans[self._settings.default_plan]
        limits = [Limits(rate=default.rate, burst=default.burst)] if True in pending else []
        if False in pending:
            limits.append(UNLIMITED if seen.plan is None else self._settings.plans[seen.plan])
        return limits

    def _protection(self, seen: Seen, may_deny: set[bool], limits: Sequence[Limits]) -> None:
        report, tenant = seen.reports["protection"], seen.tenant or ""
        mode = self._settings.on_failure["protection"]
        if report.fallback is not None:
            self.justify(seen, "protection", tenant, tenant, report.fallback, seen.budget - MARGIN)
        if seen.gate == "none":
            self._let_through(seen, report, tenant, mode, limits)
        elif report.source == "none":
            expect(seen, {("protection", "provider_unavailable")} if mode == "closed" else set())
        elif report.source == "default" or report.verdict == "skip":
            raise Wrong(f"denied without having counted: {report}")
        else:
            self._over(seen, report.source, tenant, may_deny, limits)

    def _let_through(self, seen: Seen, report: Report, tenant: str, mode: str, limits: Sequence[Limits]) -> None:
        expect(seen, {("none", "none")})
        if report.source == "default":
            if mode != "open" or report.fallback in {"bulkhead", "budget"}:
                raise Wrong(f"let through uncounted: {report}")
            return
        if (report.source == "local") != (report.fallback is not None):
            raise Wrong(f"counted by {report.source}, fallback {report.fallback}")
        self._places["local" if report.source == "local" else "provider"].spend_credit(tenant)
        if seen.rate_limit not in {each.rate for each in limits}:
            raise Wrong(f"rate {seen.rate_limit} held, of {limits}")

    def _over(self, seen: Seen, source: str, tenant: str, may_deny: set[bool], limits: Sequence[Limits]) -> None:
        """A limit denied, which must have been reached."""
        place = self._places["both" if source == "local" else "provider"]
        dimension = "quota" if seen.reason == "max_requests_per_day" else seen.reason
        gate = "billing" if dimension == "quota" else "protection"
        if dimension == "quota" and (True not in may_deny or source == "local"):
            raise Wrong("the day quota denied where it has no say")
        since = seen.asked - self._providers["protection"].numbers.timeout
        offsets = self._wall.during(seen.asked - 1.0 - 2 * EPSILON, seen.answered)
        days = range(int((since - 1.0 + min(offsets)) // 86_400), int((seen.answered + max(offsets)) // 86_400) + 1)
        if not any(place.may_refuse(since, days, tenant, dimension, each, seen.cost) for each in limits):
            raise Wrong(f"{dimension} denied, and was not reached")
        expect(seen, {(gate, seen.reason)})
