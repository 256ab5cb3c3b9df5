"""What tests of this package, and of providers for it, need: time that can be moved."""

from extauthz.testing.clock import (
    Deadlock,
    FakeClock,
    FakeWallClock,
    UnhandledError,
    VirtualLoop,
    in_virtual_time,
    run_virtual,
)

__all__ = [
    "Deadlock",
    "FakeClock",
    "FakeWallClock",
    "UnhandledError",
    "VirtualLoop",
    "in_virtual_time",
    "run_virtual",
]
