"""Clearing of limits: done in bounded time, audited whatever happens, told to whoever remembers refusals."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from extauthz.changes.limits import LimitChanges
from extauthz.errors import NotSupported, ProviderError, ProviderTimeout
from extauthz.model.billing import Limits
from extauthz.model.event import EventSource, EventType
from extauthz.model.lifecycle import AuditRecord
from extauthz.model.protection import Charge
from extauthz.providers.local_handover import HandOver
from extauthz.providers.local_protection import LocalProtection
from extauthz.providers.memory import MemoryStore
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.testing import in_virtual_time
from tests.back_office import CHANGE, Hung, Office, Raising


class NoTrail(MemoryStore):
    """A store that does not take the record: it raises `error`, or waits for ever where there is none."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    async def note(self, *_args: object) -> None:
        if self.error is None:
            await asyncio.Event().wait()
        else:
            raise self.error


def words(record: AuditRecord) -> tuple[str, str, str, str]:
    return record.tenant_id, record.what, record.after, record.change.reason


@pytest.mark.parametrize(("tenant", "whose"), [("acme", "acme"), (None, "_system")])
async def test_clearing_forgets_counts_and_refusals_and_leaves_record_and_event(tenant: str | None, whose: str) -> None:
    office, protection, forgotten = Office(), MemoryProtection(), list[str | None]()
    await protection.record_usage("acme", 5, "a")
    await protection.record_usage("other", 7, "b")
    limits = LimitChanges(office.desk(), protection=protection, forget_refused=forgotten.append)
    await limits.clear(tenant, CHANGE)
    assert (await protection.usage("acme")).cost_today == 0
    assert (await protection.usage("other")).cost_today == (7 if tenant else 0)
    assert forgotten == [tenant]
    assert [words(record) for record in await office.store.history(whose)] == [
        (whose, "rate_limit_reset", "cleared", "because")
    ]
    (event,) = office.events.events
    assert (event.type, event.source, event.tenant_id) == (EventType.RATE_LIMIT_RESET, EventSource.PROTECTION, whose)
    assert event.payload == {"tenant": tenant, "reason": "because"}


async def test_a_service_that_remembers_nothing_can_be_cleared_too() -> None:
    await LimitChanges(Office().desk(), protection=MemoryProtection()).clear(None, CHANGE)


@in_virtual_time
async def test_a_provider_that_hangs_is_given_up_and_the_record_says_not_confirmed() -> None:
    office, forgotten = Office(), list[str | None]()
    hung: Any = Hung()
    limits = LimitChanges(office.desk(), protection=hung, forget_refused=forgotten.append)
    with pytest.raises(ProviderTimeout):
        await limits.clear("acme", CHANGE)
    assert hung.asked == ["clear"]
    assert [words(record)[2] for record in await office.store.history("acme")] == ["not_confirmed"]
    assert forgotten == ["acme"]
    assert office.events.events == []


async def test_a_provider_that_fails_may_have_cleared_so_there_is_a_record() -> None:
    office = Office()
    gone: Any = Raising(ProviderError("gone"))
    with pytest.raises(ProviderError):
        await LimitChanges(office.desk(), protection=gone).clear("acme", CHANGE)
    assert [words(record)[2] for record in await office.store.history("acme")] == ["not_confirmed"]


class Slow(MemoryProtection):
    """Clearing takes its time."""

    async def clear(self, tenant_id: str | None) -> None:
        await asyncio.sleep(4.0)
        await super().clear(tenant_id)


@in_virtual_time
async def test_all_tenants_take_longer_than_one_and_may() -> None:
    limits = LimitChanges(Office().desk(), protection=Slow())
    await limits.clear(None, CHANGE)
    with pytest.raises(ProviderTimeout):
        await limits.clear("acme", CHANGE)


class Sweeping(MemoryProtection):
    """Clears at once, and goes on for seconds; then it does what it `ends` with."""

    ends: Exception | None = None

    async def clear(self, tenant_id: str | None) -> None:
        await super().clear(tenant_id)
        await asyncio.sleep(1.5)
        if self.ends is not None:
            raise self.ends


@pytest.mark.parametrize("ends", [None, ProviderError("gone"), NotSupported("not from here")])
@in_virtual_time
async def test_cost_counted_in_process_before_limits_are_cleared_does_not_come_back_after_it(
    ends: Exception | None,
) -> None:
    loop, store, local = asyncio.get_running_loop(), Sweeping(), LocalProtection()
    store.ends = ends
    handover = HandOver(local=local, store=store, answers=lambda: True)
    handover.start()
    limits = LimitChanges(Office().desk(), protection=store, forget_refused=local.clear, hold_reports=local.costs.held)
    count = partial(local.count, Charge(tenant_id="acme", limits=Limits(), blocking=frozenset(), cost=90), asked=False)
    count()
    loop.call_later(1.2, count)
    with suppress(ProviderError, NotSupported):
        await limits.clear(None, CHANGE)
    await asyncio.sleep(5)
    left = 180 if isinstance(ends, NotSupported) else 0  # what was not done leaves everything as it was
    assert ((await store.usage("acme")).cost_today, local.costs.waiting) == (left, 0)
    count()
    await asyncio.sleep(5)
    assert (await store.usage("acme")).cost_today == left + 90
    await handover.close()


async def test_what_was_refused_was_not_done_and_leaves_nothing() -> None:
    office, forgotten = Office(), list[str | None]()
    refusing: Any = Raising(NotSupported("not from here"))
    limits = LimitChanges(office.desk(), protection=refusing, forget_refused=forgotten.append)
    with pytest.raises(NotSupported):
        await limits.clear("acme", CHANGE)
    assert (await office.store.history("acme"), office.events.events, forgotten) == ((), [], [])


@pytest.mark.parametrize("error", [None, ProviderError("gone"), NotSupported("no trail"), KeyError("a third party's")])
def test_where_no_store_takes_the_record_it_is_in_the_log(error: Exception | None) -> None:
    @in_virtual_time
    async def clear() -> None:
        office = Office(store=NoTrail(error))
        await LimitChanges(office.desk(), protection=MemoryProtection()).clear("acme", CHANGE)
        assert len(office.events.events) == 1

    with capture_logs() as logged:
        clear()
    (line,) = logged
    assert line == {
        "event": "audit_record",
        "log_level": "warning",
        "tenant_id": "acme",
        "what": "rate_limit_reset",
        "before": "",
        "after": "cleared",
        "actor": "human:admin",
        "reason": "because",
        "at": CHANGE.at,
        "request_id": "req-1",
        "not_stored": "ProviderTimeout" if error is None else type(error).__name__,
    }
