"""What every remote provider is: a user of a connection."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from extauthz.providers.remote_channel import RemoteChannel
from extauthz.providers.remote_rpc import Rpc

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTimeouts:
    """Seconds that calls have; the provider is told so with each of them.

    `lifecycle`, `billing` and `credentials` are for the look-ups that requests wait for, `changes` for what an operator does
    and what goes on in the background.
    """

    lifecycle: float = 0.5
    billing: float = 0.2
    credentials: float = 0.25
    changes: float = 5.0


class Remote:
    """A provider at a place: a URL, or a connection that others use too."""

    def __init__(self, place: str | RemoteChannel) -> None:
        self._channel = place if isinstance(place, RemoteChannel) else RemoteChannel(place)

    async def start(self) -> None:
        """Begin to connect; a provider that cannot be reached is no error here.

        Raises:
            ConfigError: a file that the URL names cannot be read.
        """
        await self._channel.start()

    async def close(self) -> None:
        """End the connection, unless others use it."""
        await self._channel.close()


class RemotePart(Remote):
    """One of the kinds that a `RemoteStore` is made of."""

    def __init__(self, place: str | RemoteChannel, *, timeouts: RemoteTimeouts | None = None) -> None:
        super().__init__(place)
        self._timeouts = timeouts or RemoteTimeouts()

    async def _change(self, rpc: Rpc[Q, A], build: Callable[[], Q]) -> A:
        return await self._channel.ask(rpc, build, self._timeouts.changes)
