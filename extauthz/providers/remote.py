"""Anybody's systems as providers, over gRPC (`grpc://`, `grpcs://`): the client of protos/extauthz/provider/v1.

See docs/providers.md, and docs/decisions/0009-provider-contracts-over-grpc.md.
"""

from extauthz.providers.remote_base import RemoteTimeouts
from extauthz.providers.remote_billing import RemoteBilling
from extauthz.providers.remote_channel import RemoteChannel
from extauthz.providers.remote_credentials import RemoteCredentials
from extauthz.providers.remote_events import RemoteEvents
from extauthz.providers.remote_lifecycle import RemoteLifecycle
from extauthz.providers.remote_protection import RemoteProtection
from extauthz.providers.remote_replicas import RemoteReplicas

__all__ = ["RemoteChannel", "RemoteEvents", "RemoteProtection", "RemoteStore", "RemoteTimeouts"]


class RemoteStore(RemoteLifecycle, RemoteBilling, RemoteCredentials, RemoteReplicas):
    """Lifecycle, billing and credential store at one place, with its change log and leases.

    What the place does not serve raises `NotSupported`, except for the look-ups, which nothing can do without: there it is a
    `ProviderError`.

    Args:
        place: its URL, or a connection that others use too.
        timeouts: seconds that calls have.
    """
