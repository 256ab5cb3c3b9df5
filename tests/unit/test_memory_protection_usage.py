"""Idempotency keys of reported usage that are kept in process."""

import logging
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.providers.memory_protection_keys import UsageKey, UsageKeys

TODAY = 20_454


def test_a_key_holds_to_the_end_of_the_next_day() -> None:
    keys = UsageKeys()
    keys.add(UsageKey("acme", "run-1", 5, TODAY))
    assert [keys.cost_of("acme", "run-1", TODAY + days) for days in (-2, -1, 0, 1, 2)] == [None, 5, 5, 5, None]
    assert keys.cost_of("other", "run-1", TODAY) is None
    assert keys.cost_of("acme", "run-2", TODAY) is None


def test_keys_whose_day_is_over_go_two_with_each_that_comes() -> None:
    keys = UsageKeys()
    for number in range(10):
        keys.add(UsageKey("acme", f"old-{number}", 1, TODAY))
    keys.add(UsageKey("acme", "yesterday", 1, TODAY + 1))
    sizes = []
    for number in range(6):
        keys.add(UsageKey("acme", f"new-{number}", 1, TODAY + 2))
        sizes.append(len(keys))
    assert sizes == [10, 9, 8, 7, 6, 7]
    assert keys.cost_of("acme", "yesterday", TODAY + 2) == 1


def test_of_too_many_keys_the_oldest_goes() -> None:
    keys = UsageKeys(most=3)
    for number in (0, 1, 2, 0, 3):
        keys.add(UsageKey("acme", f"run-{number}", 1, TODAY))
    assert [key.key for key in keys.all()] == ["run-2", "run-0", "run-3"]


def test_a_key_that_comes_again_after_its_time_is_new() -> None:
    keys = UsageKeys()
    keys.add(UsageKey("acme", "run-1", 5, TODAY))
    keys.add(UsageKey("acme", "run-1", 7, TODAY + 2))
    assert keys.all() == [UsageKey("acme", "run-1", 7, TODAY + 2)]


def test_a_flood_of_one_tenant_takes_no_key_of_another(caplog: pytest.LogCaptureFixture) -> None:
    keys = UsageKeys(most=100)
    for number in range(10):
        keys.add(UsageKey("quiet", f"run-{number}", number, TODAY))
    for number in range(1_000):
        keys.add(UsageKey("flood", f"run-{number}", 1, TODAY))
    assert [keys.cost_of("quiet", f"run-{number}", TODAY) for number in range(10)] == list(range(10))
    assert keys.cost_of("flood", "run-909", TODAY) is None
    assert keys.cost_of("flood", "run-910", TODAY) == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]  # once a day
    assert "tenant flood, which has most" in caplog.text
    keys.add(UsageKey("flood", "tomorrow", 1, TODAY + 1))
    assert len(caplog.records) == 2


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9), st.integers(0, 3)), max_size=120), st.integers(1, 12)
)
def test_nobody_loses_a_key_of_these_two_days_while_another_has_more(
    steps: list[tuple[str, int, int]], most: int
) -> None:
    keys, day = UsageKeys(most=most), TODAY
    for tenant, number, later in steps:
        day += later // 3
        added = UsageKey(tenant, f"run-{number}", 1, day)
        before = {key for key in keys.all() if key[:2] != added[:2]}
        keys.add(added)
        kept = keys.all()
        assert len(kept) == len(keys) <= most
        had = Counter(key.tenant_id for key in {*before, added} if key in kept or key.day >= day - 1)
        early = [key for key in {*before, added} - set(kept) if key.day >= day - 1]
        assert len(early) <= 1
        for lost in early:
            assert had[lost.tenant_id] == max(had.values())
            assert lost.day == min(key.day for key in before if key.tenant_id == lost.tenant_id and key.day >= day - 1)
