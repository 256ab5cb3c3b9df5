"""Compile protos/ into extauthz/_gen: what `make protos` does. With --check, fail where the checked-in code differs."""

import argparse
import filecmp
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATED = ROOT / "extauthz" / "_gen"
PACKAGE_DOC = '"""Generated from protos/ by scripts/generate.py. Do not edit."""\n'

# protoc makes `extauthz.wire.v3.x_pb2` of protos/extauthz/wire/v3/x.proto; the code lives in extauthz._gen.wire.v3.
OWN_IMPORT = re.compile(r"\bextauthz\.((?!_gen\b)[\w.]+?)(?=\.\w+_pb2\b| import \w+_pb2\b)")


def compile_into(target: Path) -> None:
    """Compile every proto file and lay the code out under `target` as it belongs under extauthz/_gen.

    Raises:
        subprocess.CalledProcessError: protoc does not accept a file; it has said why.
    """
    with tempfile.TemporaryDirectory() as raw:
        _run_protoc(Path(raw))
        for made in sorted((Path(raw) / "extauthz").rglob("*_pb2.py*")):
            placed = target / made.relative_to(Path(raw) / "extauthz")
            placed.parent.mkdir(parents=True, exist_ok=True)
            placed.write_text(OWN_IMPORT.sub(r"extauthz._gen.\1", made.read_text()))
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").write_text(PACKAGE_DOC)


def _run_protoc(out: Path) -> None:
    files = [str(path.relative_to(PROTOS)) for path in sorted(PROTOS.rglob("*.proto"))]
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--plugin=protoc-gen-mypy={plugin}"]
    command += [f"--proto_path={PROTOS}", f"--python_out={out}", f"--mypy_out=quiet:{out}", *files]
    subprocess.run(command, cwd=PROTOS, check=True)


def differences(left: Path, right: Path) -> list[str]:
    """The files that are not the same under both folders, by name."""
    names = {path.relative_to(root) for root in (left, right) for path in root.rglob("*") if _counts(path)}
    return sorted(str(name) for name in names if not _same(left / name, right / name))


def bring_up_to_date(target: Path, fresh: Path, stale: list[str]) -> None:
    """Write or remove the files that differ, and these alone: whoever imports the code meanwhile never misses it."""
    for name in stale:
        if (fresh / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fresh / name, target / name)
        else:
            (target / name).unlink()


def _counts(path: Path) -> bool:
    return path.is_file() and path.suffix in {".py", ".pyi"}


def _same(left: Path, right: Path) -> bool:
    return left.is_file() and right.is_file() and filecmp.cmp(left, right, shallow=False)


def main() -> int:
    """Generate, or compare; 0 when all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the checked-in code differs")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as fresh:
        compile_into(Path(fresh))
        stale = differences(Path(fresh), GENERATED)
        if check:
            print(
                "\n".join(f"extauthz/_gen/{name} is not what protos/ makes: run make protos" for name in stale), end=""
            )
            return 1 if stale else 0
        bring_up_to_date(GENERATED, Path(fresh), stale)
    print(f"extauthz/_gen: {len(stale)} files changed" if stale else "extauthz/_gen: nothing changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
