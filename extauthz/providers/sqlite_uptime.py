"""The clock that all processes of this machine share, and which no calendar moves: what leases in a file end by."""

import time
from pathlib import Path
from typing import Final

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def uptime() -> float:
    """Seconds since the machine was started, those it slept through included where the system counts them."""
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def boot_id(source: Path = BOOT_ID) -> str:
    """Which start of the machine this is; empty where the system does not tell."""
    try:
        return source.read_text(encoding="ascii").strip()
    except OSError:
        return ""
