"""Worlds and schedules from a seed, and the shortest schedule in which something is still wrong."""

import random
from collections.abc import Sequence
from typing import Final

from tests.world_facts import Numbers, Wrong
from tests.world_parts import Parts, World
from tests.world_play import Step, play
from tests.world_providers import Behaviour

FULL: Final = {
    "credentials": Numbers(timeout=0.25, failures=5, window=30, reset=15, ttl=30),
    "lifecycle": Numbers(timeout=0.5, failures=3, window=10, reset=30, ttl=5, max_stale=3600),
    "billing": Numbers(timeout=0.2, failures=5, window=30, reset=60, ttl=5, max_stale=3600),
    "protection": Numbers(timeout=0.1, failures=5, window=30, reset=30),
}
"""The defaults of spec section 4."""

QUICK: Final = {
    "credentials": Numbers(timeout=0.25, failures=4, window=5, reset=2, ttl=2, size=8),
    "lifecycle": Numbers(timeout=0.5, failures=3, window=3, reset=3, ttl=0.5, max_stale=8, size=8),
    "billing": Numbers(timeout=0.2, failures=2, window=3, reset=4, ttl=0.7, max_stale=8, size=None),
    "protection": Numbers(timeout=0.1, failures=3, window=3, reset=2, size=8),
}
"""Everything happens sooner, and there is little room."""

ROUTES: Final = ("sdk",) * 6 + ("standard",) * 5 + ("refresh", "onboarding", "operator", "public")
METHODS: Final = ("GET", "POST", "POST", "HEAD", "DELETE")
BUDGETS: Final = (0.05, 0.2, 0.2, 1.0, 1.0, 1.0)
CREDENTIALS: Final = ("key",) * 30 + ("none", "forged", "wrong")
BURSTS: Final = (1,) * 8 + (2, 3, 5, 9, 30)
LATENCIES: Final = (0.0, 0.0, 0.001, 0.004, 0.0301, 0.0701, 0.151, 0.301, 0.601)
KINDS: Final = (
    *((("answer",),) * 6),
    ("error",),
    ("hang",),
    ("deaf",),
    ("invalid",),
    ("busy",),
    ("answer", "error"),
    ("answer", "answer", "hang"),
    ("invalid", "answer", "busy", "error"),
)
NOTICES: Final = ("put", "put", "forget", "late", "none")
STATES: Final = ("ACTIVE",) * 6 + ("SUSPENDED", "SUSPENDED", "TERMINATED", "ARCHIVED", None)
STANDINGS: Final = ("TRIAL", "ACTIVE", "ACTIVE", "PAST_DUE", "SUSPENDED", None)
SCHEDULED_PLANS: Final = ("free", "pro", "small", "tight", "dear", "open", None, "gone")
PROVIDERS: Final = ("credentials", "lifecycle", "billing", "protection")
CACHED: Final = ("credentials", "lifecycle", "lifecycle", "billing")
FAULTY: Final = PROVIDERS + PROVIDERS[1:] * 3
"""Without credentials there is nothing else to see: they fail more rarely."""


def make_world(draw: random.Random) -> World:
    """How a world begins."""
    tenants = draw.choice((3, 6, 10))
    closed = draw.random() < 0.1
    return World(
        numbers=FULL if draw.random() < 0.4 else QUICK,
        tenants=tenants,
        max_entries=6 if tenants == 10 and draw.random() < 0.5 else 100_000,
        plan_ttl=draw.choice((300.0, 2.0)),
        jitter=draw.choice((0.0, 0.05)),
        on_failure={
            "lifecycle": "closed" if closed else "open",
            "billing": "closed" if closed and draw.random() < 0.5 else "open",
            "protection": draw.choice(("open", "open", "local", "closed" if closed else "open")),
        },
    )


def make_steps(draw: random.Random, world: World, requests: int) -> list[Step]:
    """A schedule with so many requests."""
    steps: list[Step] = []
    left = requests
    while left > 0:
        name = draw.choices(
            ("request", "behave", "change", "race", "operator", "clear", "wall", "limits_cleared", "wait"),
            (80, 7, 8, 2, 1, 2, 0.5, 0.5, 1),
        )[0]
        after = round(draw.expovariate(12.0), 9)
        if name == "request":
            burst = min(left, draw.choice(BURSTS))
            left -= burst
            steps.append((after, name, _request(draw, world, burst)))
        elif name == "change":
            steps.append(_change(draw, world, after))
        elif name == "race":
            steps += _race(draw, world, after)[: 4 if left > 1 else 2]
            left -= min(left, 2)
        elif name == "behave":
            provider = draw.choice(FAULTY)
            kinds = KINDS[0] if provider == "credentials" and draw.random() < 0.5 else draw.choice(KINDS)
            steps.append((after, name, (provider, Behaviour(kinds, draw.choice(LATENCIES), late=draw.random() < 0.5))))
        elif name == "operator":
            steps.append((after, name, (draw.choice(PROVIDERS), draw.choice(("open", "closed", "closed")))))
        elif name == "clear":
            steps.append((after, name, (draw.choice(CACHED), draw.choice(("clear", "forget_all", "forget_all")))))
        elif name == "wall":
            steps.append((after, name, (draw.choice((-3600.0, 3600.0)),)))
        elif name == "limits_cleared":
            steps.append((after, name, (_tenant(draw, world),)))
        else:
            steps.append((draw.choice((1.0, 1.0, 4.0, 4.0, 16.0, 31.0, 61.0, 3700.0)), name, ()))
    return steps


def _tenant(draw: random.Random, world: World, most: int = 100) -> str:
    return f"t{draw.randrange(min(world.tenants, most))}"


def _request(draw: random.Random, world: World, burst: int) -> tuple[object, ...]:
    key = f"{_tenant(draw, world)}{'a' if draw.random() < 0.9 else 'b'}"
    patience = round(draw.uniform(0.0, 0.3), 9) if draw.random() < 0.05 else None
    return (
        key,
        draw.choice(CREDENTIALS),
        draw.choice(ROUTES),
        draw.choice(METHODS),
        draw.choice(BUDGETS),
        burst,
        patience,
    )


def _change(draw: random.Random, world: World, after: float) -> Step:
    # Of ten tenants only three are ever out: a cache for six has room for them.
    what, notice, tenant = draw.random(), draw.choice(NOTICES), _tenant(draw, world, 3)
    if what < 0.45:
        onboarding = "PENDING" if draw.random() < 0.1 else "COMPLETE"
        return after, "lifecycle", (tenant, draw.choice(STATES), onboarding, notice)
    if what < 0.8:
        return after, "billing", (tenant, draw.choice(STANDINGS), draw.choice(SCHEDULED_PLANS), notice)
    key = f"{_tenant(draw, world)}{draw.choice('ab')}"
    return after, "key", (key, draw.choice(("issue", "issue", "issue", "revoked", "expires")), notice)


def _race(draw: random.Random, world: World, after: float) -> list[Step]:
    """A tenant is asked for, and changes while its provider takes its time; then it is asked for again."""
    _, what, given = _change(draw, world, 0.0)
    name = {"key": "credentials"}.get(what, what)
    key = given[0] if what == "key" else f"{given[0]}a"
    request = (key, "key", draw.choice(("sdk", "standard")), "POST", 1.0, 1, None)
    slow = Behaviour(latency=draw.choice((0.0701, 0.151)), late=draw.random() < 0.3)
    return [
        (after, "behave", (name, slow)),
        (draw.choice((0.01, 0.6, 5.3)), "request", request),
        (round(draw.uniform(0.0, 0.15), 9), what, (*given[:-1], draw.choice(("put", "put", "forget")))),
        (round(draw.uniform(0.0, 0.3), 9), "request", request),
    ]


def schedule(seed: int, requests: int) -> tuple[World, list[Step]]:
    """The world and the schedule of a seed."""
    draw = random.Random(seed)
    world = make_world(draw)
    return world, make_steps(draw, world, requests)


def shortest(world: World, steps: Sequence[Step], parts: Parts | None = None) -> tuple[list[Step], Wrong]:
    """The steps without those that something being wrong does not need, and what is wrong then."""
    left = list(steps)
    wrong = fails(world, left, parts)
    assert wrong is not None, "it was right this time"
    size = max(1, len(left) // 2)
    while True:
        at = 0
        while at < len(left):
            fewer = left[:at] + left[at + size :]
            found = fails(world, fewer, parts)
            if found is None:
                at += size
            else:
                left, wrong = fewer, found
        if size == 1:
            return left, wrong
        size = max(1, size // 2)


def fails(world: World, steps: Sequence[Step], parts: Parts | None = None) -> Wrong | None:
    """What is wrong in a schedule; None where nothing is."""
    random.seed(1)  # the jitter of the caches
    try:
        play(world, steps, parts)
    except Wrong as wrong:
        return wrong
    return None


def run_seed(seed: int, requests: int, parts: Parts | None = None) -> int:
    """Run the schedule of a seed; how many requests were answered rightly.

    Raises:
        Wrong: with the seed, the shortest list of steps and what happened last in it.
    """
    world, steps = schedule(seed, requests)
    if fails(world, steps, parts) is None:
        return requests
    few, wrong = shortest(world, steps, parts)
    listing = "\n".join(f"  {step}," for step in few)
    raise Wrong(f"seed {seed}, {requests} requests, {world}\nsteps [\n{listing}\n]\n{wrong}")
