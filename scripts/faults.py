"""Run the whole fault suite, the long form, and print what was measured beside what is promised.

    python scripts/faults.py                 # everything
    python scripts/faults.py -k restart      # arguments go to pytest

Needs a machine with nothing else to do: what is promised is time. Exit 1 when a test failed or a figure is not reached.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
MARKS = {True: "yes", False: "[bold]NO[/bold]", None: ""}


def main(arguments: list[str]) -> int:
    """The exit code."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.jsonl"
        where = [] if any(argument.startswith("tests/") for argument in arguments) else ["tests/faults"]
        command = [sys.executable, "-m", "pytest", "-q", *where, *arguments]
        env = os.environ | {"FAULTS_FULL": "1", "FAULTS_FIGURES": str(figures)}
        code = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
        missed = show(figures)  # also of a run in which a test failed: it tells by how much
        return code or missed


def show(figures: Path) -> int:
    """Print the table; 1 where something is not reached."""
    table = Table("what", "measured", "promised", "reached", title="faults: measured in this run")
    missed = 0
    lines = figures.read_bytes().splitlines() if figures.exists() else []
    for figure in map(orjson.loads, lines):
        table.add_row(figure["what"], figure["measured"], figure["promised"], MARKS[figure["met"]])
        missed += figure["met"] is False
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
