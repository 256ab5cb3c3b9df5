"""What holds for every test."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long one example takes says something of the machine and what else it does, not of the code.
settings.register_profile("no-time", deadline=None)
settings.load_profile("no-time")


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """What a service that ran in this process left signals to do is nothing for the next, nor for the children it starts."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)
