"""How many connections PostgreSQL gets from a replica, and how long it may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupPool:
    """Connections for one kind of look-up: at most `size`, and the provider's deadline in seconds."""

    size: int = 8
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """How many connections a replica has, and how long (seconds) a call may take, connecting included.

    The look-ups of each gate have their own, so that none can use up another's. `admin_size` are for changes, `feed_size` for
    the change log and the leases.
    """

    credentials: LookupPool = LookupPool(timeout=0.250)
    lifecycle: LookupPool = LookupPool(timeout=0.500)
    billing: LookupPool = LookupPool(timeout=0.200)
    admin_size: int = 4
    feed_size: int = 2
    admin_timeout: float = 5.0
    warm: int = 2
    """Connections that each kind of look-up has from the start; more are made when they are needed."""
