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


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether this is the long form."""
    return os.environ.get("FAULTS_FULL") == "1"


@pytest.fixture(scope="session")
def figures() -> Figures:
    where = os.environ.get("FAULTS_FIGURES")
    return Figures(Path(where) if where else None)
