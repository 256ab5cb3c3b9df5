"""The tree of errors. A driver's error becomes one of these beside the driver call, by one table."""

from collections.abc import Sequence


class ExtauthzError(Exception):
    """Base of every error that this package raises on purpose; its text is for users and holds no secret."""


class ProviderError(ExtauthzError):
    """A provider gave no answer. Counts as a failure for its circuit breaker.

    `asked` False: nothing was sent to it, so nothing can have been done.
    """

    asked = True


class ProviderTimeout(ProviderError):
    """The provider's own deadline passed."""


class ProviderBusy(ExtauthzError):
    """A call was not made because all our connections to the provider are in use.

    That is our own doing, not the provider's: it never counts for the circuit breaker.
    """


class InvalidRecord(ExtauthzError):
    """One tenant's record cannot be read (an unknown state, a damaged row).

    It is the tenant's fault or ours, not the provider's: it never counts for the circuit breaker.
    """


class InvalidCredential(ExtauthzError):
    """A presented credential does not verify. The text says which way, for log and event only."""


class ChangeRefused(ExtauthzError):
    """A change that is well formed but not permitted.

    `code` is the word for the `error` field of an answer, `status` its HTTP status.
    """

    code = "conflict"
    status = 409


class NotFound(ChangeRefused):
    """What should be changed or shown does not exist."""

    code = "not_found"
    status = 404


class AlreadyExists(ChangeRefused):
    """It exists already."""

    code = "already_exists"


class InvalidTransition(ChangeRefused):
    """The move is not in the table of transitions."""

    code = "invalid_transition"


class TenantNotActive(ChangeRefused):
    """No new credential unless the tenant is ACTIVE (OFFBOARD-007)."""

    code = "tenant_not_active"


class ImportConflict(ChangeRefused):
    """Tenants of an import exist already and are not the same. `ids` names them; nothing of the batch was written."""

    code = "already_exists"

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__(f"exist already and differ: {', '.join(ids)}")
        self.ids = tuple(ids)


class IdempotencyConflict(ChangeRefused):
    """An idempotency key was used before for something else."""

    code = "idempotency_key_reused"


class BypassRefused(ChangeRefused):
    """The gate has no bypass, or one that cannot be changed from here."""

    code = "bypass_refused"


class NotSupported(ChangeRefused):
    """The provider can be asked, but not changed, from here."""

    code = "not_supported"
    status = 501


class SchemaMismatch(ExtauthzError):
    """A database has a schema older or newer than this version; the text names `extauthz db upgrade`."""


class ConfigError(ExtauthzError):
    """The configuration is not valid. The text lists every fault with file, line, path and remedy."""
