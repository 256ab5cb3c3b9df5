"""What finding the route of a path costs that was never seen before, by what is configured: `.venv/bin/python -m scripts.bench_routes`.

Prints microseconds of the median round. Every path is another one, so that none is answered from the cache.
"""

import random
import statistics
import time
from typing import Final

from extauthz.model.request import Route, RouteClass
from extauthz.routing import RouteKind, RouteRule, RouteTable

RULES: Final = 1000
ROUNDS: Final = 9
PATHS: Final = 1000
PATTERNS: Final = {
    RouteKind.REGEX: "/r{}/[0-9a-f]+/items/[0-9]+",
    RouteKind.PREFIX: "/p{}/v1",
    RouteKind.EXACT: "/e{}/v1/items",
}


def rules(*kinds: RouteKind) -> list[RouteRule]:
    """`RULES` rules of each kind."""
    route = Route(route_class=RouteClass.SDK)
    return [RouteRule(kind=kind, pattern=PATTERNS[kind].format(n), route=route) for kind in kinds for n in range(RULES)]


def round_of(table: RouteTable, rng: random.Random) -> float:
    """Microseconds a path."""
    sent = [f"/r{rng.randrange(RULES)}/{rng.getrandbits(64):x}/items/{rng.randrange(10**9)}" for _ in range(PATHS)]
    start = time.perf_counter()
    for path in sent:
        table.match("GET", path, {})
    return (time.perf_counter() - start) / PATHS * 1e6


def main() -> None:
    """Measure every case and print a line for each."""
    for kinds in ((), *((kind,) for kind in RouteKind), tuple(RouteKind)):
        start = time.perf_counter()
        table = RouteTable(rules(*kinds))
        built = time.perf_counter() - start
        rng = random.Random(7)  # noqa: S311 - a draw, no secret
        found = statistics.median(round_of(table, rng) for _ in range(ROUNDS))
        name = " + ".join(f"{RULES} {kind}" for kind in kinds) or "built-in rules only"
        print(f"{name:40} {found:8.1f} us a path, built in {built * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
