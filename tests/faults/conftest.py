"""The long form of the fault suite, and the figures that it prints: `make faults` sets FAULTS_FULL and FAULTS_FIGURES.

What takes minutes, or counts in millions, runs in full only there; in `make test` the same tests run a short form.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson
import pytest


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table. `met` None: there is nothing to reach, it is told for orientation."""

    what: str
    measured: str
    promised: str
    met: bool | None


@dataclass
class Figures:
    """What was measured, kept in `file` as JSON lines; None keeps nothing."""

    file: Path | None
    noted: list[Figure] = field(default_factory=list)

    def note(self, what: str, measured: str, promised: str = "", *, met: bool | None = None) -> None:
        """Add a line: `what` was `measured`, where `promised` should be, with their units."""
        figure = Figure(what=what, measured=measured, promised=promised, met=met)
        self.noted.append(figure)
        if self.file is not None:
            with self.file.open("ab") as lines:
                lines.write(orjson.dumps(asdict(figure)) + b"\n")


def is_full() -> bool:
    return os.environ.get("FAULTS_FULL") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked `long_form` has nothing short about it: it takes too long, or a machine with nothing else to do."""
    if not is_full():
        for item in items:
            if item.get_closest_marker("long_form") is not None:
                item.add_marker(pytest.mark.skip(reason="in the long form only: make faults"))


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether this is the long form."""
    return is_full()


@pytest.fixture(scope="session")
def figures() -> Figures:
    where = os.environ.get("FAULTS_FIGURES")
    return Figures(Path(where) if where else None)
