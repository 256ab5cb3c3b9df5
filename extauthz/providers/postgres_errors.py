"""asyncpg's errors as ours: one table, beside the calls."""

import ssl
from typing import Final

from asyncpg import exceptions as pg

from extauthz.errors import ExtauthzError, InvalidRecord, ProviderError, ProviderTimeout

_Kinds = tuple[type[BaseException], ...]

_MEANINGS: Final[tuple[tuple[_Kinds, type[ExtauthzError], str], ...]] = (
    ((pg.QueryCanceledError, pg.LockNotAvailableError, TimeoutError), ProviderTimeout, "no answer in time"),
    ((pg.DataError,), InvalidRecord, "a value that PostgreSQL cannot keep"),
    ((pg.InvalidAuthorizationSpecificationError,), ProviderError, "the user or the password is not accepted"),
    ((pg.InvalidCatalogNameError,), ProviderError, "there is no such database"),
    ((pg.InsufficientPrivilegeError,), ProviderError, "no permission"),
    ((pg.TooManyConnectionsError,), ProviderError, "the server takes no more connections"),
    ((pg.InsufficientResourcesError,), ProviderError, "the server has no memory or space left"),
    ((pg.UndefinedTableError, pg.InvalidSchemaNameError, pg.UndefinedColumnError), ProviderError, "tables are missing"),
    ((pg.ReadOnlySQLTransactionError, pg.TargetServerAttributeNotMatched), ProviderError, "it takes no changes"),
    ((pg.TransactionRollbackError,), ProviderError, "the change met another one"),
    ((pg.IntegrityConstraintViolationError, pg.RaiseError), ProviderError, "the database refused the change"),
    (
        (pg.CannotConnectNowError, pg.AdminShutdownError, pg.CrashShutdownError),
        ProviderError,
        "the server is starting or ending",
    ),
    ((pg.ClientConfigurationError,), ProviderError, "the URL cannot be used"),
    ((ssl.SSLError,), ProviderError, "no TLS connection"),
    ((pg.PostgresConnectionError, pg.InterfaceError, pg.InternalClientError), ProviderError, "the connection was lost"),
    ((OSError,), ProviderError, "cannot be reached"),
    ((pg.PostgresError,), ProviderError, "PostgreSQL refused"),
)
"""The first that fits holds."""

_LOST: Final = (
    pg.PostgresConnectionError,
    pg.InterfaceError,
    pg.InternalClientError,
    pg.AdminShutdownError,
    pg.CrashShutdownError,
    pg.CannotConnectNowError,
    pg.IdleSessionTimeoutError,
    pg.IdleInTransactionSessionTimeoutError,
    OSError,
)


def is_lost(error: BaseException) -> bool:
    """Whether the connection is of no use any more, while another one may well be."""
    return isinstance(error, _LOST) and not isinstance(error, TimeoutError)


def keeps_connection(error: BaseException) -> bool:
    """Whether the connection is as good as before: the server has answered with an error, or we did ourselves."""
    return isinstance(error, ExtauthzError | pg.PostgresError) and not (is_lost(error) or _is_stale(error))


def _is_stale(error: BaseException) -> bool:
    """Whether the server is not the one that is wanted any more: a primary that has become a standby."""
    return isinstance(error, pg.ReadOnlySQLTransactionError)


def translated(place: str, error: Exception) -> Exception:
    """`error` as one of ours; what is not the driver's is passed on as it is. The text holds no SQL, no value, no password."""
    for kinds, ours, meaning in _MEANINGS:
        if isinstance(error, kinds):
            name = getattr(error, "sqlstate", None) or type(error).__name__
            return ours(f"{place}: {meaning} ({name})")
    return error
