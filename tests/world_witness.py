"""What can be said for an answer: what the service may have known, what had to stand in, and what was wrong with a provider."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.world_answer import MARGIN, Report, Seen, Settings
from tests.world_facts import EPSILON, UNTOLD, Told, Wrong
from tests.world_provider import Provider


class Witness:
    """Knows the facts of the `providers`, by name."""

    def __init__(self, settings: Settings, providers: Mapping[str, Provider]) -> None:
        self._settings = settings
        self._providers = providers

    def fresh(self, seen: Seen, provider: Provider, key: str, max_age: float) -> list[Any]:
        """What the provider had, and this process was told, within `max_age` of some moment of the request."""
        had = provider.store[key].during(self.since(seen, provider, key, max_age), seen.answered)
        knew = provider.knew(key, seen.asked, seen.answered)
        return [told.value for told in knew if told.value in had and told.at >= seen.asked - max_age - EPSILON]

    def since(self, seen: Seen, provider: Provider, key: str, max_age: float) -> float:
        """How far back an answer may reach: no further than its age, nor than what the process was told since."""
        since = seen.asked - max_age - provider.numbers.timeout
        return max(since, provider.last_notice(key, seen.asked) + 2 * EPSILON)  # and not what was until then

    # 4: why did a provider give no answer?

    def justify(self, seen: Seen, name: str, key: str, tenant: str, why: str | None, patience: float) -> None:
        """That a fallback had its reason. `patience` is how long the request could wait for this provider."""
        provider = self._providers[name]
        begin, end = seen.asked, seen.answered
        if why == "budget":
            justified = end >= begin + patience - EPSILON
        elif why == "circuit_open":
            justified = provider.was_open(begin, end)
        elif why == "bulkhead":
            justified = provider.was_full(tenant, begin) or provider.misbehaved(key, "busy", begin, end)
        elif why == "error":
            justified = any(provider.misbehaved(key, how, begin, end) for how in ("error", "invalid"))
        else:
            justified = why == "timeout" and provider.misbehaved(key, "timeout", begin, end)
        if not justified:
            raise Wrong(f"{name} is said to have given no answer ({why}), and nothing was wrong with it")

    def found(
        self, seen: Seen, name: str, report: Report, max_age: float, default: Any, known: Iterable[Any] = ()
    ) -> list[Any]:
        """The records on which the gate's answer may rest, by what it says of their source."""
        provider, tenant = self._providers[name], seen.tenant or ""
        if report.source in {"cache", "provider"}:
            if report.fallback is not None:
                raise Wrong(f"{name}: an answer, and a fallback all the same")
            ttl = max(max_age, provider.numbers.ttl) if report.source == "cache" else 0.0
            return self.fresh(seen, provider, tenant, ttl)
        self.justify(seen, name, tenant, tenant, report.fallback, self.patience(seen))
        knew = provider.knew(tenant, seen.asked, seen.answered)
        if report.source == "stale":
            return [told.value for told in knew if self._may_hold(seen, report, provider, told)]
        if report.source not in {"default", "none"}:
            raise Wrong(f"{name}: neither answer nor fallback: {report}")
        if not known and all(self._must_hold(seen, provider, told) for told in knew):
            raise Wrong(f"{name}: {knew} was known, and not used")
        return [default]

    def patience(self, seen: Seen) -> float:
        """How long a look-up may take: what the charge needs is kept for it."""
        budget = seen.budget - MARGIN
        if seen.route in {"refresh", "onboarding"}:
            return budget
        return budget - min(self._providers["protection"].numbers.timeout, 0.3 * budget)

    @staticmethod
    def _may_hold(seen: Seen, report: Report, provider: Provider, told: Told) -> bool:
        """Whether a last-known value may stand in, and is as old as it is said to be."""
        if told is UNTOLD or report.age_ms is None:
            return False
        if not provider.denies(told.value) and seen.asked - told.at > provider.numbers.max_stale + EPSILON:
            return False
        return seen.asked - told.at - 2e-3 <= report.age_ms / 1000 <= seen.answered - told.at + 2e-3

    def _must_hold(self, seen: Seen, provider: Provider, told: Told) -> bool:
        """Whether a last-known value must stand in."""
        if told is UNTOLD:
            return False
        if provider.denies(told.value):
            return True
        return not self._settings.evicts and seen.answered - told.at < provider.numbers.max_stale - EPSILON


def expect(seen: Seen, permitted: set[tuple[str, str]]) -> bool:
    """That the answer is one of these. Always False: nothing more is to be asked.

    Raises:
        Wrong: it is none of them.
    """
    if (seen.gate, seen.reason) not in permitted:
        raise Wrong(f"answered {seen.gate}/{seen.reason}, permitted: {permitted}")
    return False
