"""What can happen in a world, one step after the other, and how it is told to its facts."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.deadline import Deadline
from extauthz.model.decision import Decision
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.model.request import CheckRequest
from extauthz.testing import run_virtual
from tests.world_answer import MARGIN, Seen
from tests.world_facts import Wrong
from tests.world_parts import Parts, World
from tests.world_providers import Behaviour
from tests.world_stage import Stage
from tests.world_words import PATHS, seen_as, spoilt, words

PLANS_AT_FIRST: Final = ("pro", "small", "free", "tight", "dear")
LAG: Final = 0.4
"""Seconds after which a replica learns of what another one changed."""

TURNS: Final = 4
"""Turns of the loop in which a call that was decided on has begun."""

AFTERMATH: Final = 10.0
"""Seconds after which the last deaf call has ended."""

Step = tuple[float, str, tuple[Any, ...]]
"""Seconds to wait, what happens then, and with what."""


class Play:
    """A world in which steps are taken. Each method but the private ones is one kind of step."""

    def __init__(self, world: World, parts: Parts) -> None:
        self.stage = Stage(world, parts)
        self.requests = 0
        self.keys: dict[str, tuple[ApiKey, str]] = {}
        self._tasks: set[asyncio.Task[Decision]] = set()
        for number in range(world.tenants):
            self._settle_in(f"t{number}", PLANS_AT_FIRST[number % len(PLANS_AT_FIRST)])

    def _settle_in(self, tenant: str, plan: str) -> None:
        """A tenant in the best of health, with one key at the store, and one that is not there yet."""
        self._write("lifecycle", tenant, LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=Onboarding.COMPLETE))
        self._write("billing", tenant, BillingRecord(state=BillingState.ACTIVE, plan_id=plan))
        for name in ("a", "b"):
            record = self._mint(f"{tenant}{name}")
            if name == "a":
                self._write("credentials", record.key_id, record)

    def _mint(self, name: str) -> ApiKey:
        """A key that is not at the store yet."""
        stage = self.stage
        record, text = stage.mint.mint(name[:-1], frozenset(), None, stage.wall())
        self.keys[name] = record, text
        self._write("credentials", record.key_id, None)
        return record

    # Changes at the stores

    def _write(self, provider: str, key: str, record: Any) -> None:
        stage = self.stage
        stage.stored[provider][key] = record
        stage.facts[provider].has(stage.clock(), key, words(record))

    def _change(self, provider: str, key: str, record: Any, notice: str) -> None:
        """`notice`: `put` as who changes it here is told, `forget` to ask again, `late` as from elsewhere, `none`."""
        self._write(provider, key, record)
        self.stage.log.append(f"{self.stage.clock():.6f} {provider} {key} is {words(record)}, notice: {notice}")
        if notice == "put":
            self._put(provider, key)
        elif notice == "forget":
            self.told_to_ask(provider, key)
        elif notice == "late":
            asyncio.get_running_loop().call_later(LAG, self._put, provider, key)

    def _put(self, provider: str, key: str) -> None:
        stage = self.stage
        record = stage.stored[provider][key]
        stage.guards[provider].put(key, record)
        stage.facts[provider].told(stage.clock(), key, words(record))
        if provider == "credentials":
            stage.refusals.forget_all()
        if provider == "billing":
            stage.charger.forget(key)

    def told_to_ask(self, provider: str, key: str) -> None:
        """The process is told that something of this key changed."""
        stage = self.stage
        stage.guards[provider].forget(key)
        stage.facts[provider].forgotten(stage.clock(), [key])
        if provider == "credentials":
            stage.refusals.forget_all()

    def lifecycle(self, tenant: str, state: str | None, onboarding: str, notice: str) -> None:
        """A tenant's lifecycle changes; None: there is no such tenant any more."""
        record = None
        if state is not None:
            record = LifecycleRecord(state=LifecycleState(state), onboarding=Onboarding(onboarding))
        self._change("lifecycle", tenant, record, notice)

    def billing(self, tenant: str, state: str | None, plan: str | None, notice: str) -> None:
        """A tenant's standing changes; None: there is no record."""
        record = None if state is None else BillingRecord(state=BillingState(state), plan_id=plan)
        self._change("billing", tenant, record, notice)

    def key(self, name: str, what: str, notice: str) -> None:
        """A key is issued (anew, where there was one that ended), revoked, or given an end within moments."""
        record, text = self.keys[name]
        stored = self.stage.stored["credentials"][record.key_id]
        now = self.stage.wall()
        if what != "issue":
            changed = replace(stored or record, **{f"{what}_at": now if what == "revoked" else now + 2.0})
            self.keys[name] = changed, text
        elif stored is None:
            changed = record
        elif stored.revoked_at is None and stored.expires_at is None:
            return
        else:
            changed = self._mint(name)
        self._change("credentials", changed.key_id, changed, notice)

    # Faults, and operators

    def behave(self, provider: str, behaviour: Behaviour) -> None:
        """A provider behaves otherwise from the next call on."""
        self.stage.log.append(f"{self.stage.clock():.6f} {provider}: {behaviour}")
        self.stage.backends[provider].behaviour = behaviour

    def operator(self, provider: str, state: str) -> None:
        """An operator opens or closes a circuit."""
        stage = self.stage
        stage.facts[provider].settle(stage.clock())
        breaker = stage.breakers[provider]
        stage.facts[provider].circuit.by_hand(breaker.open if state == "open" else breaker.close)

    def clear(self, provider: str, how: str) -> None:
        """A cache is cleared: `forget_all` where changes may have been missed, `clear` by an operator."""
        stage = self.stage
        getattr(stage.guards[provider], how)()
        everybody = list(stage.stored[provider])
        stage.facts[provider].forgotten(stage.clock(), everybody, everything=how == "clear")
        if provider == "credentials":
            stage.refusals.forget_all()

    def wall(self, seconds: float) -> None:
        """Somebody sets the clock of the machine."""
        stage = self.stage
        stage.wall.advance(seconds)
        stage.offset.set(stage.clock(), stage.wall() - stage.clock())

    def limits_cleared(self, tenant: str) -> None:
        """The counts of a tenant are cleared, at the provider and here."""
        stage = self.stage
        stage.counter.counts.clear_now(tenant)
        stage.local.clear(tenant)
        stage.charger.forget(tenant)
        for place in stage.places.values():
            place.cleared(tenant)

    def wait(self) -> None:
        """Nothing happens."""

    # Requests

    def request(
        self, key: str, credential: str, route: str, method: str, budget: float, burst: int, patience: float | None
    ) -> None:
        """So many equal requests at once; with `patience` their callers go away after so many seconds."""
        loop = asyncio.get_running_loop()
        record, text = self.keys[key]
        headers = {} if credential == "none" else {"x-api-key": spoilt(text, credential)}
        request = CheckRequest(method=method, path=PATHS[route], headers=headers)
        for _ in range(burst):
            task = loop.create_task(self.ask(request, record, credential, route, budget))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if patience is not None:
                loop.call_later(patience, task.cancel)
        self.requests += burst

    async def ask(self, request: CheckRequest, key: ApiKey, credential: str, route: str, budget: float) -> Decision:
        """The answer to one request, judged."""
        stage = self.stage
        asked = stage.clock()
        stage.facts["protection"].asked_for(key.tenant_id)
        try:
            decision = await stage.pipeline.decide(request, Deadline.after(budget, stage.clock, margin=MARGIN))
        finally:
            stage.facts["protection"].answered(key.tenant_id)
        seen = seen_as(decision, asked, stage.clock(), budget, credential, key.key_id, route, request.method)
        await self._judge(seen)
        return decision

    async def _judge(self, seen: Seen) -> None:
        """Where an answer looks wrong, calls that began at this very moment may not have been told yet: look again."""
        stage = self.stage
        try:
            stage.judge.judge(seen)
        except Wrong:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            try:
                stage.judge.judge(seen)
            except Wrong as wrong:
                stage.failure = stage.failure or Wrong(f"{wrong}\n{seen}")

    async def run(self, steps: Sequence[Step]) -> int:
        """Take the steps; how many requests were answered rightly.

        Raises:
            Wrong: something was not right; the text has what happened last.
        """
        stage = self.stage
        for after, name, arguments in steps:
            await asyncio.sleep(after)
            getattr(self, name)(*arguments)
            if stage.failure is not None:
                break
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=30)
        for guard in stage.guards.values():
            await guard.close()
        await stage.charger.close()
        await asyncio.sleep(AFTERMATH)
        if stage.failure is not None:
            raise Wrong("\n".join([str(stage.failure), *stage.log]))
        return self.requests


def play(world: World, steps: Sequence[Step], parts: Parts | None = None) -> int:
    """Take the steps in a world of their own, in virtual time; how many requests that were.

    Raises:
        Wrong: an answer was not right.
    """

    async def main() -> int:
        return await Play(world, parts or Parts()).run(steps)

    return run_virtual(main())
