"""The credential store goes wrong, under load through Envoy: auth is fail-closed, whatever the way (spec sections 3.2 and 9)."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.column import Column, column, outage
from tests.misbehaving import WAYS
from tests.mix import FORGED
from tests.open_loop import Answers, Request, offered
from tests.outage_promises import Notes
from tests.served import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

KNOWN: Final = 1.0
"""Seconds for which a verified key is good."""
ROWS: Final = list(WAYS) if os.environ.get("FAULTS_FULL") == "1" else ["frozen"]
UNSEEN: Final = 100


async def callers(replica: Served, _file: Path) -> Sequence[Request]:
    known = [Request(name="known", headers={"x-api-key": await replica.tenant(f"known-{n}")}) for n in range(10)]
    return [*known, Request(name="forged", headers={"x-api-key": FORGED}), Request(name="nobody")]


async def unseen_callers(replica: Served, way: str) -> Sequence[Request]:
    """Of keys that are good, and were never presented before."""
    keys = [await replica.tenant(f"unseen-{way}-{number}") for number in range(UNSEEN)]
    return [Request(name="unseen", headers={"x-api-key": key}) for key in keys]


@pytest_asyncio.fixture(name="at", scope="module", loop_scope="module")
async def column_with_it(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Column]:
    folder: Path = tmp_path_factory.mktemp("column")
    async with column(folder, {"credentials": "postgresql"}, known=KNOWN, make=callers) as at:
        yield at


@pytest.fixture(name="kept_out", scope="module")
def outages_in_which_all_were_kept_out(figures: Notes) -> Iterator[list[str]]:
    """The ways of the outages in which nobody got in without a fresh verified credential."""
    ways: list[str] = []
    yield ways
    what = f"auth store in {len(ways)} outages: allows without a fresh verified credential"
    figures.note(what, "0", "0", met=True)


@pytest.mark.parametrize("way", ROWS)
async def test_known_keys_are_good_until_their_ttl_then_503_and_nobody_is_let_in_without_a_fresh_verified_credential(
    at: Column, way: str, kept_out: list[str]
) -> None:
    unseen = await unseen_callers(at.replica, way)
    strangers: list[Answers] = []

    async def meanwhile() -> None:
        strangers.append(await offered(at.edge.port, unseen, rate=UNSEEN, seconds=1.0))

    course = await outage(at, WAYS[way], meanwhile)
    answers = course.answers
    assert answers.named("forged").outcomes().keys() == {("forged", 401, "invalid_credentials")}
    assert answers.named("nobody").outcomes().keys() == {("nobody", 401, "missing_credentials")}
    assert strangers[0].outcomes() == {("unseen", 503, "provider_unavailable"): UNSEEN}
    known = answers.named("known")
    assert known.between(0.0, course.broke).statuses().keys() == {200}
    assert known.between(course.broke, course.mended).statuses().keys() == {200, 503}
    late = known.between(course.broken + KNOWN, course.mended)
    assert len(late) > 200
    assert late.outcomes() == {("known", 503, "provider_unavailable"): len(late)}
    assert known[-1].status == 200
    kept_out.append(way)
