"""Logs: JSON on a pipe, readable on a terminal, always to standard error (spec section 6.4)."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor

from extauthz.errors import ConfigError
from extauthz.telemetry.log_handler import BackgroundHandler
from extauthz.telemetry.text import mask

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FORMATS: Final = ("auto", "json", "console")


@contextmanager
def configured(level: str = "INFO", form: str = "auto", stream: TextIO | None = None) -> Iterator[None]:
    """Log through structlog, and what other libraries log too, while the context lasts.

    `level` is one of `LEVELS`, `form` one of `FORMATS` (any case); `auto` is `console` on a terminal, else `json`. `stream`
    None means standard error.

    Raises:
        ConfigError: a level or a form that is not known.
    """
    level, form = _known("LOG_LEVEL", level.upper(), LEVELS), _known("LOG_FORMAT", form.lower(), FORMATS)
    out = sys.stderr if stream is None else stream
    handler = BackgroundHandler(out)
    handler.setFormatter(_formatter(out, form))
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # its steps of setting up a database are nobody's news
    _configure_structlog(level)
    try:
        yield
    finally:
        root.handlers[:] = before[1]
        root.setLevel(before[0])
        structlog.reset_defaults()
        handler.close()


def mask_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The last look at every line: whatever has the form of a credential is masked, in tracebacks too."""
    return {key: _masked(value) for key, value in event.items()}


def _masked(value: object) -> object:
    match value:
        case str():
            return mask(value)
        case dict():
            return {key: _masked(part) for key, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked(part) for part in value]
        case int() | float() | None:
            return value
        case _:
            return mask(str(value))


def _known(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}")
    return value


def _shared() -> list[Processor]:
    """What is done to every line, ours or another library's."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _configure_structlog(level: str) -> None:
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # loggers are made at import, before this is called
    )


def _formatter(stream: TextIO, form: str) -> logging.Formatter:
    readable = form == "console" or (form == "auto" and stream.isatty())
    renderers = _console(stream) if readable else _json()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_shared()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )


def _json() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        mask_secrets,
        structlog.processors.JSONRenderer(ensure_ascii=True, default=str),
    ]


def _console(stream: TextIO) -> list[Processor]:
    """Exceptions become text before the mask: the renderer's own pretty ones would show local variables."""
    colours = stream.isatty() and "NO_COLOR" not in os.environ
    return [structlog.processors.format_exc_info, mask_secrets, structlog.dev.ConsoleRenderer(colors=colours)]
