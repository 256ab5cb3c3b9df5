"""The cache of spec section 4: fresh, last known, negative, bounded; and what denies outlives an outage."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from extauthz.resilience.cache import MOST_DENIALS, Cache, never
from extauthz.resilience.policy import CachePolicy
from extauthz.resilience.slices import SLICE
from extauthz.testing import FakeClock

POLICY = CachePolicy(ttl=5.0, max_stale=60.0, max_entries=4, max_negatives=2, jitter=0.0)


def denies(value: str | None) -> bool:
    return value == "TERMINATED"


@dataclass
class Provider:
    failing: bool = False

    def is_failing(self) -> bool:
        return self.failing


class CacheAt:
    """A cache together with the clock it is asked by."""

    def __init__(self, policy: CachePolicy = POLICY) -> None:
        self.clock = FakeClock()
        self.provider = Provider()
        self.cache: Cache[str, str | None] = Cache(policy, self.clock, denies=denies, failing=self.provider.is_failing)

    def fresh(self, key: str, max_age: float | None = None) -> str | None:
        entry = self.cache.fresh(key, self.clock(), max_age)
        return None if entry is None else str(entry.value)

    def last_known(self, key: str) -> str | None:
        entry = self.cache.last_known(key, self.clock())
        return None if entry is None else str(entry.value)


@pytest.fixture
def at() -> CacheAt:
    return CacheAt()


def test_a_value_is_fresh_for_its_ttl(at: CacheAt) -> None:
    at.cache.put("a", "ACTIVE")
    at.clock.advance(4.999)
    assert at.fresh("a") == "ACTIVE"
    at.clock.advance(0.001)
    assert at.fresh("a") is None


def test_a_value_stands_in_until_max_stale(at: CacheAt) -> None:
    at.cache.put("a", "ACTIVE")
    at.clock.advance(59.999)
    assert at.last_known("a") == "ACTIVE"
    at.clock.advance(0.001)
    assert at.last_known("a") is None


def test_without_max_stale_nothing_stands_in() -> None:
    at = CacheAt(CachePolicy(ttl=30.0, jitter=0.0))
    at.cache.put("key", "ACTIVE")
    assert at.fresh("key") == "ACTIVE"
    assert at.last_known("key") is None


@pytest.mark.parametrize(("max_age", "expected"), [(300.0, "ACTIVE"), (10.0, None), (0.0, None)])
def test_the_one_who_asks_may_set_the_age(at: CacheAt, max_age: float, expected: str | None) -> None:
    at.cache.put("a", "ACTIVE")
    at.clock.advance(12)
    assert at.fresh("a", max_age) == expected


def test_a_max_age_of_zero_is_never_fresh(at: CacheAt) -> None:
    at.cache.put("a", "ACTIVE")
    assert at.fresh("a", 0.0) is None


def test_none_is_an_answer_too(at: CacheAt) -> None:
    at.cache.put("a", None)
    assert at.fresh("a") == "None"
    assert at.fresh("b") is None


def test_a_negative_answer_has_a_ttl_of_its_own() -> None:
    at = CacheAt(CachePolicy(ttl=5.0, negative_ttl=1.0, jitter=0.0))
    at.cache.put("nobody", None)
    at.cache.put("a", "ACTIVE")
    at.clock.advance(1)
    assert at.fresh("nobody") is None
    assert at.fresh("nobody", 300.0) is None
    assert at.fresh("a") == "ACTIVE"


def test_without_a_ttl_of_its_own_a_negative_answer_has_that_of_the_others(at: CacheAt) -> None:
    at.cache.put("nobody", None)
    at.clock.advance(4.9)
    assert at.fresh("nobody") == "None"
    at.clock.advance(100)
    assert at.fresh("nobody", 300.0) == "None"


def test_jitter_only_ever_shortens_a_ttl_and_by_no_more_than_its_share() -> None:
    at = CacheAt(CachePolicy(ttl=100.0, jitter=0.1, max_entries=500))
    keys = [str(n) for n in range(500)]
    for key in keys:
        at.cache.put(key, "ACTIVE")
    at.clock.advance(89.9)
    assert all(at.fresh(key) for key in keys)
    at.clock.advance(5)
    assert 0 < sum(at.fresh(key) is not None for key in keys) < 500
    at.clock.advance(5.2)
    assert not any(at.fresh(key) for key in keys)


def test_the_least_recently_used_makes_room(at: CacheAt) -> None:
    for key in "abcd":
        at.cache.put(key, "ACTIVE")
    assert at.fresh("a") == "ACTIVE"
    at.cache.put("e", "ACTIVE")
    assert len(at.cache) == 4
    assert at.last_known("b") is None
    assert at.last_known("a") == "ACTIVE"


def test_what_is_not_there_never_pushes_out_what_is(at: CacheAt) -> None:
    for key in "abcd":
        at.cache.put(key, "ACTIVE")
    for number in range(1_000):
        at.cache.put(f"unknown {number}", None)
    assert [at.fresh(key) for key in "abcd"] == ["ACTIVE"] * 4
    assert len(at.cache) == 4 + POLICY.max_negatives
    assert at.fresh("unknown 999") == at.fresh("unknown 998") == "None"
    assert at.fresh("unknown 997") is None


def test_what_comes_to_be_there_leaves_the_room_of_what_is_not(at: CacheAt) -> None:
    at.cache.put("a", None)
    at.cache.put("a", "ACTIVE")
    assert (len(at.cache), at.fresh("a")) == (1, "ACTIVE")
    at.cache.put("a", None)
    assert (len(at.cache), at.fresh("a")) == (1, "None")
    at.cache.forget("a")
    assert "a" not in at.cache


async def test_what_is_such_is_forgotten_and_what_of_it_was_fresh_is_counted(at: CacheAt) -> None:
    at.cache.put("old", "ACTIVE")
    at.clock.advance(5.0)
    for key, value in (("t", "TERMINATED"), ("n", None), ("b", "other")):
        at.cache.put(key, value)
    assert await at.cache.forget_where(lambda value: value != "other") == 2
    assert [at.fresh(key) for key in ("old", "t", "n")] == [None] * 3
    assert at.fresh("b") == "other"
    assert at.cache.last_known("t", at.clock()) is not None  # it denies
    assert await at.cache.forget_where(lambda value: value == "TERMINATED") == 0


async def test_what_comes_while_it_is_forgotten_is_newer_and_stays() -> None:
    at = CacheAt(CachePolicy(ttl=5.0, jitter=0.0))
    for number in range(3 * SLICE):
        at.cache.put(f"{number}", "ACTIVE")
    at.clock.advance(1.0)
    forgetting = asyncio.ensure_future(at.cache.forget_where(lambda _value: True))
    await asyncio.sleep(0)
    assert 0 < len(at.cache) < 3 * SLICE  # others have their turn in between
    at.clock.advance(1.0)
    at.cache.put("0", "SUSPENDED")
    assert await forgetting == 3 * SLICE - 1
    assert at.fresh("0") == "SUSPENDED"


def due(at: CacheAt, key: str = "a", max_age: float | None = None) -> bool:
    entry = at.cache.fresh(key, at.clock(), max_age)
    assert entry is not None
    return at.clock() >= entry.due and at.cache.ends_soon(entry, at.clock(), max_age)


def test_an_answer_is_due_in_the_last_fifth_of_its_ttl_and_then_a_few_times(at: CacheAt) -> None:
    at.cache.put("a", "ACTIVE")
    at.clock.advance(3.999)
    assert not due(at)
    at.clock.advance(0.501)
    assert due(at)
    assert not due(at)
    at.clock.advance(0.25)
    assert due(at)
    at.clock.advance(0.249)
    assert sum(due(at) for _ in range(100)) <= 1


def test_when_an_answer_is_due_is_spread() -> None:
    moments = []
    for _ in range(200):
        at = CacheAt()
        at.cache.put("a", "ACTIVE")
        entry = at.cache.fresh("a", at.clock())
        assert entry is not None
        moments.append(entry.due - entry.at)
    assert 4.0 <= min(moments) < 4.1
    assert 4.4 < max(moments) <= 4.5


def test_for_who_sets_the_age_it_is_due_in_the_last_fifth_of_that(at: CacheAt) -> None:
    at.cache.put("a", "ACTIVE")
    at.clock.advance(239.0)
    assert not due(at, max_age=300.0)
    at.clock.advance(31.5)
    assert due(at, max_age=300.0)
    assert not due(at, max_age=300.0)
    at.clock.advance(29.0)
    assert due(at, max_age=300.0)
    assert sum(due(at, max_age=300.0) for _ in range(100)) <= 1


def test_what_is_not_there_is_never_due_unless_it_is_an_answer_like_any_other(at: CacheAt) -> None:
    at.cache.put("a", None)
    at.clock.advance(4.999)
    assert not due(at)
    like_any_other = CacheAt(CachePolicy(ttl=5.0, jitter=0.0, refresh_negatives=True))
    like_any_other.cache.put("a", None)
    like_any_other.clock.advance(4.999)
    assert due(like_any_other)


def test_without_a_refresh_nothing_is_due() -> None:
    at = CacheAt(CachePolicy(ttl=5.0, jitter=0.0, refresh=0.0))
    at.cache.put("a", "ACTIVE")
    at.clock.advance(4.999)
    assert not due(at)


def test_what_denies_does_not_age_out_as_last_known(at: CacheAt) -> None:
    at.cache.put("a", "TERMINATED")
    at.clock.advance(5)
    assert at.fresh("a") is None
    at.clock.advance(10_000_000)
    assert at.last_known("a") == "TERMINATED"


def test_what_denies_is_not_evicted_while_the_provider_fails(at: CacheAt) -> None:
    at.provider.failing = True
    for n in range(10):
        at.cache.put(f"t{n}", "TERMINATED")
        at.cache.put(f"a{n}", "ACTIVE")
    assert [at.last_known(f"t{n}") for n in range(10)] == ["TERMINATED"] * 10
    assert not any(at.last_known(f"a{n}") for n in range(9))


def test_when_the_provider_is_well_again_the_cache_shrinks_back(at: CacheAt) -> None:
    at.provider.failing = True
    for n in range(10):
        at.cache.put(f"t{n}", "TERMINATED")
    at.provider.failing = False
    at.cache.put("a", "ACTIVE")
    assert len(at.cache) == 4
    assert at.fresh("a") == "ACTIVE"
    assert at.last_known("t9") == "TERMINATED"


def test_what_permits_makes_room_before_what_denies(at: CacheAt) -> None:
    at.cache.put("t", "TERMINATED")
    for n in range(20):
        at.cache.put(f"a{n}", "ACTIVE")
    assert at.last_known("t") == "TERMINATED"


def test_what_denies_cannot_fill_the_whole_cache_of_a_provider_that_is_well(at: CacheAt) -> None:
    at.cache.put("a", "ACTIVE")
    for n in range(20):
        at.cache.put(f"t{n}", "TERMINATED")
    assert at.fresh("a") == "ACTIVE"
    assert len(at.cache) == 4


def test_after_forget_what_permits_is_gone_for_good(at: CacheAt) -> None:
    at.cache.put("a", "ACTIVE")
    at.cache.forget("a")
    assert at.fresh("a") is None
    assert at.last_known("a") is None


def test_after_forget_what_denies_stays_as_last_known(at: CacheAt) -> None:
    at.cache.put("a", "TERMINATED")
    at.cache.forget("a")
    assert at.fresh("a") is None
    assert at.fresh("a", 300.0) is None
    assert at.last_known("a") == "TERMINATED"


def test_forgetting_what_is_not_there_is_nothing(at: CacheAt) -> None:
    at.cache.forget("a")
    assert len(at.cache) == 0


def test_clear_drops_everything(at: CacheAt) -> None:
    at.cache.put("a", "ACTIVE")
    at.cache.put("t", "TERMINATED")
    at.cache.clear()
    assert len(at.cache) == 0
    assert at.last_known("t") is None


def test_a_new_value_takes_the_place_of_the_old_one_whichever_denies(at: CacheAt) -> None:
    for value in ("ACTIVE", "TERMINATED", "ACTIVE", None, "TERMINATED", "TERMINATED"):
        at.cache.put("a", value)
        assert at.fresh("a") == str(value)
        assert at.last_known("a") == str(value)
        assert len(at.cache) == 1


def test_unless_told_otherwise_nothing_denies() -> None:
    clock = FakeClock()
    cache: Cache[str, str] = Cache(POLICY, clock)
    cache.put("a", "TERMINATED")
    clock.advance(60)
    assert cache.last_known("a", clock()) is None
    assert never() is False


def test_denials_take_a_bounded_room_however_long_the_provider_fails() -> None:
    at = CacheAt()
    at.provider.failing = True
    for number in range(10 * POLICY.max_entries):
        at.cache.put(f"t{number}", "TERMINATED")
    assert len(at.cache) < MOST_DENIALS * POLICY.max_entries
    assert at.last_known(f"t{10 * POLICY.max_entries - 1}")


def test_what_is_dropped_is_not_known_any_more_a_denial_included() -> None:
    at = CacheAt()
    for key, value in (("a", "ACTIVE"), ("t", "TERMINATED"), ("n", None)):
        at.cache.put(key, value)
        at.cache.drop(key)
        assert key not in at.cache
    at.cache.drop("nobody")


class CacheModel(RuleBasedStateMachine):
    """The cache against a plain dictionary: it loses only what must make room, and a denial never in an outage."""

    keys = st.sampled_from("abcdefgh")

    def __init__(self) -> None:
        super().__init__()
        self.at = CacheAt()
        self.known: dict[str, tuple[str | None, float, bool]] = {}

    @rule(key=keys, value=st.sampled_from(["ACTIVE", "TERMINATED", None]))
    def put(self, key: str, value: str | None) -> None:
        self.at.cache.put(key, value)
        self.known[key] = (value, self.at.clock(), True)
        self.make_room(negative=True, most=POLICY.max_negatives)
        self.make_room(negative=False, most=POLICY.max_entries)

    def make_room(self, *, negative: bool, most: int) -> None:
        """Those that are not there have a room of their own, and each room loses only what is too much."""
        room = {key for key, (value, _, _) in self.known.items() if (value is None) is negative}
        held = {key for key in room if key in self.at.cache}
        lost = room - held
        if self.at.provider.failing:
            assert not any(denies(self.known[key][0]) for key in lost)
            assert len(room) > most or not lost
        else:
            assert len(held) == min(most, len(room))
        self.known = {key: self.known[key] for key in self.known if key not in lost}

    @rule(key=keys)
    def forget(self, key: str) -> None:
        self.at.cache.forget(key)
        value, at, _fresh = self.known.pop(key, ("nothing", 0.0, False))
        if denies(value):
            self.known[key] = (value, at, False)

    @rule()
    def forget_all(self) -> None:
        self.at.cache.forget_all()
        self.known = {key: (value, at, False) for key, (value, at, _) in self.known.items() if denies(value)}

    @rule(key=keys)
    def doubt(self, key: str) -> None:
        self.at.cache.doubt(key)
        if key in self.known:
            value, at, _ = self.known.pop(key)
            if value is not None:
                self.known[key] = (value, at, False)

    @rule()
    def doubt_all(self) -> None:
        self.at.cache.doubt_all()
        self.known = {key: (value, at, False) for key, (value, at, _) in self.known.items() if value is not None}

    @rule()
    def clear(self) -> None:
        self.at.cache.clear()
        self.known.clear()

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.at.clock.advance(seconds)

    @rule(failing=st.booleans())
    def provider_is(self, failing: bool) -> None:  # noqa: FBT001 - hypothesis gives the value
        self.at.provider.failing = failing

    @rule(key=keys)
    def use(self, key: str) -> None:
        value, at, fresh = self.known.get(key, ("nothing", 0.0, False))
        is_fresh = fresh and self.at.clock() - at < POLICY.ttl
        assert self.at.fresh(key) == (str(value) if is_fresh else None)

    @invariant()
    def agrees(self) -> None:
        assert len(self.at.cache) == len(self.known)
        for key in "abcdefgh":
            assert (key in self.at.cache) == (key in self.known)
            value, at, _fresh = self.known.get(key, ("nothing", 0.0, False))
            usable = denies(value) or self.at.clock() - at < POLICY.max_stale
            assert self.at.last_known(key) == (str(value) if usable else None)


CacheModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
test_the_cache_agrees_with_its_model = CacheModel.TestCase
