"""Every provider but auth's goes wrong in every way, at 500 requests a second through the bundled Envoy (spec sections 4 and 9).

What is right is right every time: each single answer, and the sums of `/metrics`. What is in time may be so in the best of
three outages (see `tests/pace.py`).
"""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.column import Column, column, outage
from tests.misbehaving import WAYS
from tests.outage_promises import Notes, Worst, best, in_time

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLACES: Final = {
    "lifecycle": ("postgresql", "grpc"),
    "billing": ("postgresql", "grpc"),
    "protection": ("redis", "grpc"),
    "events": ("postgresql", "grpc"),
}
TOGETHER: Final = "lifecycle+billing+protection"
ALL: Final = [
    *((provider, kind, way) for provider, kinds in PLACES.items() for kind in kinds for way in WAYS),
    *((TOGETHER, "postgresql+redis", way) for way in ("frozen", "killed", "slow", "black-holed", "backlog-full")),
]
SOME: Final = [
    ("lifecycle", "postgresql", "frozen"),
    ("billing", "grpc", "black-holed"),
    ("protection", "redis", "frozen"),
    (TOGETHER, "postgresql+redis", "frozen"),
]
ROWS: Final = ALL if os.environ.get("FAULTS_FULL") == "1" else SOME


def kinds_of(provider: str, kind: str) -> dict[str, str]:
    """What is where."""
    if provider != TOGETHER:
        return {provider: kind}
    return {"lifecycle": "postgresql", "billing": "postgresql", "protection": "redis"}


@pytest.fixture(name="worst", scope="module")
def worst_of_all(figures: Notes) -> Iterator[dict[str, Worst]]:
    worst = {"one provider": Worst(), TOGETHER: Worst(), "events": Worst()}
    yield worst
    for of, each in worst.items():
        each.tell(figures, of)


@pytest_asyncio.fixture(name="at", scope="module", loop_scope="module")
async def column_with_it(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Column]:
    provider, kind = request.param
    folder: Path = tmp_path_factory.mktemp("column")
    async with column(folder, kinds_of(provider, kind)) as at:
        yield at


@pytest.mark.parametrize(
    ("at", "way"),
    [pytest.param((provider, kind), way, id=f"{provider}-{kind}-{way}") for provider, kind, way in ROWS],
    indirect=["at"],
)
async def test_every_answer_is_the_right_one_and_in_time_while_this_is(
    at: Column, way: str, worst: dict[str, Worst], request: pytest.FixtureRequest
) -> None:
    providers = list(at.places)
    figures = await best(lambda: outage(at, WAYS[way]), providers)
    of = providers[0] if providers == ["events"] else TOGETHER if len(providers) > 1 else "one provider"
    worst[of].add(figures, request.node.callspec.id)
    assert in_time(figures), figures
