"""What a provider server serves, and how."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from extauthz.errors import ConfigError
from extauthz.ports import (
    BillingProvider,
    ChangeLog,
    CredentialProvider,
    EventStore,
    LifecycleProvider,
    ProtectionProvider,
    ReplicaLeases,
    StateStore,
)
from extauthz.providers.serve_calls import AnyServed
from extauthz.providers.serve_others import change_calls, event_calls, lease_calls, protection_calls
from extauthz.providers.serve_state import (
    administration_calls,
    billing_calls,
    credential_calls,
    lifecycle_calls,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """What is served; None: that service is not.

    `store` is where tenants, standing and keys can be changed: one object that keeps all three, because a change may concern
    them together. None: they can be looked up, and not changed from there.

    With `read_only` no call that administers is served, whatever there is, and uses of keys are noted without renewed hashes:
    look-ups, charges, reports of usage, events and the change log are left.
    """

    lifecycle: LifecycleProvider | None = None
    billing: BillingProvider | None = None
    credentials: CredentialProvider | None = None
    store: StateStore | None = None
    protection: ProtectionProvider | None = None
    events: EventStore | None = None
    changes: ChangeLog | None = None
    leases: ReplicaLeases | None = None
    read_only: bool = False

    def calls(self, stopping: asyncio.Event) -> list[AnyServed]:
        """The calls that can be answered."""
        served: list[AnyServed] = []

        def add(backend: Any, calls: Callable[[Any], Iterable[AnyServed]]) -> None:
            if backend is not None:
                served.extend(calls(backend))

        add(self.lifecycle, lifecycle_calls)
        add(self.billing, billing_calls)
        add(self.credentials, lambda provider: credential_calls(provider, renewing=not self.read_only))
        add(self.store, administration_calls)
        add(self.protection, protection_calls)
        add(self.events, event_calls)
        add(self.changes, lambda log: change_calls(log, stopping))
        add(self.leases, lease_calls)
        return [each for each in served if not (self.read_only and each.rpc.administers)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServePolicy:
    """How the server behaves.

    `max_message_bytes` bounds a request: a batch of events or of tenants to import. `max_streams` bounds the calls at once on one
    connection: replicas ask for several providers over one, each with up to 64 at a time. `max_connection_age` in seconds, None:
    no end. `grace` is how long (seconds) running calls have when it stops, or when a connection ends.
    """

    max_message_bytes: int = 4 * 1024 * 1024
    max_streams: int = 512
    max_connection_age: float | None = None
    grace: float = 5.0

    def options(self) -> list[tuple[str, int]]:
        """The same in gRPC's words."""
        chosen = [
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # Without it one connection that opens and resets streams makes most calls of all others fail.
            ("grpc.max_concurrent_streams", self.max_streams),
            # Two processes on one port would share its connections by chance; a port in use is an error instead.
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_ping_strikes", 0),
        ]
        if self.max_connection_age is not None:
            chosen.append(("grpc.max_connection_age_ms", int(self.max_connection_age * 1000)))
            chosen.append(("grpc.max_connection_age_grace_ms", int(self.grace * 1000)))
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeTls:
    """PEM files. With `client_ca` only clients whose certificate it signed are let in."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """The same in gRPC's words.

        Raises:
            ConfigError: a file cannot be read.
        """
        try:
            pair = (self.key.read_bytes(), self.cert.read_bytes())
            ca = None if self.client_ca is None else self.client_ca.read_bytes()
        except OSError as error:
            raise ConfigError(f"{error.filename} cannot be read: {error.strerror}") from None
        return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)
