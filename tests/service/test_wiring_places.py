"""What the composition root makes of URLs: missing drivers are named, and who counts alone beside others is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from extauthz import config, wiring

SHARED = """\
server: {listen: "127.0.0.1:0", drain: 0s}
admin: {listen: "127.0.0.1:0"}
providers:
  credentials: {url: "sqlite:///state.db"}
  lifecycle: {url: "sqlite:///state.db"}
  billing: {url: "sqlite:///./state.db"}
  protection: {snapshot: null}
  events: {url: "none:"}
"""


@pytest.mark.parametrize(
    ("missing", "provider", "url", "extra"),
    [
        ("asyncpg", "lifecycle", "postgresql://user:hunter2@127.0.0.1:1/db", "postgres"),
        ("redis", "protection", "rediss://:hunter2@127.0.0.1:1/0", "redis"),
        ("redis", "protection", "redis+cluster://:hunter2@127.0.0.1:1", "redis"),
    ],
)
def test_a_driver_that_is_not_installed_is_named_with_its_extra_and_without_the_password(
    tmp_path: Path, missing: str, provider: str, url: str, extra: str
) -> None:
    file = tmp_path / "extauthz.yaml"
    file.write_text(f'providers: {{{provider}: {{url: "{url}"}}}}\n')
    code = f"import sys; sys.modules[{missing!r}] = None; from extauthz.__main__ import main; main()"
    env = {key: value for key, value in os.environ.items() if not key.startswith("EXTAUTHZ_")}
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", "--config", str(file)],
        cwd=tmp_path,
        env=env | {"EXTAUTHZ_SERVER__LISTEN": "127.0.0.1:0", "EXTAUTHZ_ADMIN__LISTEN": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"needs {missing}, which is not installed: pip install 'extauthz[{extra}]'" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_replica_that_counts_alone_beside_others_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "extauthz.yaml"
    file.write_text(SHARED)
    loaded = config.load(file, {})
    async with wiring.service(loaded.config, {}) as one:
        assert one.warnings == ()
        async with wiring.service(loaded.config, {}) as two:
            (warning,) = two.warnings
            assert "1 other replica(s) share this lifecycle store" in warning
            assert "use Redis" in warning
    async with wiring.service(loaded.config, {}) as alone:
        assert alone.warnings == ()  # whoever ended has ended its lease
