"""Which trace a request belongs to, in the form of W3C's `traceparent` header."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

HEADER: Final = "traceparent"

_FORM: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)

current: Final[ContextVar[str]] = ContextVar("traceparent", default="")
"""The `traceparent` of the request that is worked on; empty where there is none. Set it with `tracing`."""


def is_traceparent(text: str) -> bool:
    """Whether `text` is a `traceparent` that may be passed on: anything else a client sends stays here."""
    return _FORM.fullmatch(text) is not None


@contextmanager
def tracing(traceparent: str) -> Iterator[None]:
    """Work for the request with that `traceparent`; one that is not valid is as good as none."""
    token = current.set(traceparent if is_traceparent(traceparent) else "")
    try:
        yield
    finally:
        current.reset(token)
