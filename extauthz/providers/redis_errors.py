"""What went wrong with Redis, as one of our errors. No text of the driver or the server is repeated: it may hold anything."""

import os
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeout

from extauthz.errors import ExtauthzError, InvalidRecord, ProviderError, ProviderTimeout

_KINDS: Final[tuple[tuple[type[Exception], type[ExtauthzError], str], ...]] = (
    (RedisTimeout, ProviderTimeout, "no answer in time"),
    (TimeoutError, ProviderTimeout, "no answer in time"),
    (AuthenticationError, ProviderError, "it refuses our user or password"),
    (NoPermissionError, ProviderError, "our user may not do that; it needs the commands and keys that the docs list"),
    (BusyLoadingError, ProviderError, "it is loading its data"),
)

_READ_ONLY: Final = ("READONLY", "MASTERDOWN")
_UNAUTHENTICATED: Final = "unauthenticated"  # of a command with many arguments no more than that is said
_OUT_OF_MEMORY: Final = "OOM"
_WRONG_TYPE: Final = "WRONGTYPE"


def translated(error: Exception, where: str) -> ExtauthzError:
    """Ours for what redis-py, the socket or the server told; `where` is the server's address."""
    if isinstance(error, ExtauthzError):
        return error
    for kind, ours, text in _KINDS:
        if isinstance(error, kind):
            return ours(f"Redis at {where}: {text}")
    if isinstance(error, ResponseError):
        return _refused(error, where)
    return ProviderError(f"Redis at {where}: not reached ({_cause(error)})")


def again(error: ExtauthzError) -> ExtauthzError:
    """The same error, made anew: one that is raised many times would grow by a traceback with each."""
    return type(error)(*error.args)


def unsent(error: ExtauthzError) -> ExtauthzError:
    """The same error for a command that was not sent any more."""
    made = again(error)
    if isinstance(made, ProviderError):
        made.asked = False
    return made


def is_read_only(error: ResponseError) -> bool:
    """Whether a replica said that it is one: the primary is elsewhere by now. A script is stopped before its first write."""
    return any(_says(error, word) for word in _READ_ONLY)


def _refused(error: ResponseError, where: str) -> ExtauthzError:
    if is_read_only(error):
        return ProviderError(f"Redis at {where}: it is a replica")
    if _says(error, _UNAUTHENTICATED):
        return ProviderError(f"Redis at {where}: it refuses our user or password")
    if _says(error, _OUT_OF_MEMORY):
        return ProviderError(f"Redis at {where}: it is out of memory")
    if _says(error, _WRONG_TYPE):
        return InvalidRecord(f"Redis at {where}: a key of the tenant holds something else")
    code = error.status_code or str(error).partition(" ")[0]
    return ProviderError(f"Redis at {where}: it answers with the error {code if code.isalpha() else 'ERR'}")


def _says(error: ResponseError, code: str) -> bool:
    """Whether it is that error; what a script met has its code inside the text up to Redis 6.2."""
    return error.status_code == code or code in str(error)


def _cause(error: BaseException) -> str:
    """What the operating system said, else the kind of error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__ if not isinstance(error, RedisError) else "connection lost or refused"
