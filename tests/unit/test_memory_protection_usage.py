"""Idempotency keys of reported usage that are kept in process."""

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
