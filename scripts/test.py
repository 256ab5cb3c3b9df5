"""Run the quality gates and the tests: what `make test` and `make lint` do.

Every gate runs even when an earlier one failed, so that one run shows everything that is wrong.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

LINT = {
    "ruff check": [str(BIN / "ruff"), "check", "--quiet", "."],
    "ruff format": [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
    "import-linter": [str(BIN / "lint-imports")],
    "buf lint": [str(BIN / "buf"), "lint", "protos"],
    "buf format": [str(BIN / "buf"), "format", "--diff", "--exit-code", "protos"],
    "generated code": [sys.executable, "scripts/generate.py", "--check"],
    "mypy": [str(BIN / "mypy")],
}
PYTEST = [sys.executable, "-m", "pytest", "-q"]
COVERED = [sys.executable, "-m", "coverage", "run", *PYTEST[1:]]
TESTS = {
    "coverage erase": [sys.executable, "-m", "coverage", "erase"],
    "pytest": [*COVERED, "-n", "auto", "--dist", "loadfile", "--ignore", "tests/faults"],
    # What is promised there is time: nothing may run beside it, and nothing counts lines.
    "pytest tests/faults": [*PYTEST, "tests/faults"],
    "coverage combine": [sys.executable, "-m", "coverage", "combine", "--quiet"],
    "coverage": [sys.executable, "-m", "coverage", "report"],
}


def run(name: str, command: list[str]) -> bool:
    """Run one gate; whether it passed."""
    print(f"== {name}", flush=True)
    started = time.monotonic()
    passed = subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    print(f"== {name}: {'ok' if passed else 'FAILED'} ({time.monotonic() - started:.1f} s)", flush=True)
    return passed


def main() -> int:
    """Run the gates named on the command line; 0 when all of them passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lint-only", action="store_true", help="the static gates alone")
    options = parser.parse_args()
    gates = LINT if options.lint_only else LINT | TESTS
    failed = [name for name, command in gates.items() if not run(name, command)]
    print("all gates passed" if not failed else f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
