"""The servers behind a URL: one, the primary that Sentinels name, or the primaries of a cluster."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Protocol

from extauthz.config.redis_url import Place, Setup
from extauthz.providers.redis_cluster import Cluster
from extauthz.providers.redis_dial import dial, dial_primary
from extauthz.providers.redis_link import Link, Reply
from extauthz.providers.redis_url import RedisUrl


class Servers(Protocol):
    """Whoever keeps the keys. `many_keys`: one command may name keys of many tenants."""

    many_keys: ClassVar[bool]

    async def ask(self, key: bytes, command: bytes) -> Reply:
        """The answer of the server that keeps `key` to a packed command.

        Raises:
            ResponseError: the server refuses.
            ExtauthzError: there was no answer.
        """

    async def links(self) -> Sequence[Link]:
        """A link to each primary."""

    async def fresh_links(self, timeout: float) -> Sequence[Link]:  # noqa: ASYNC109 - not of this call, but of the links
        """A new link to each primary, with that limit in seconds. Whoever asks for them closes them."""

    async def close(self) -> None:
        """Hang up everywhere."""


class One:
    """A single server, or the primary of a replicated one, wherever it is just now."""

    many_keys: ClassVar[bool] = True

    def __init__(self, open_link: Callable[[float], Link], timeout: float) -> None:
        self._open_link = open_link
        self._link = open_link(timeout)

    async def ask(self, _key: bytes, command: bytes) -> Reply:
        """The answer of the one there is."""
        return await self._link.ask(command)

    async def links(self) -> Sequence[Link]:
        """The one link."""
        return (self._link,)

    async def fresh_links(self, timeout: float) -> Sequence[Link]:  # noqa: ASYNC109 - not of this call, but of the link
        """A new link."""
        return (self._open_link(timeout),)

    async def close(self) -> None:
        """Hang up."""
        await self._link.close()


def connect_servers(url: RedisUrl, timeout: float) -> Servers:
    """The servers of a URL, each to be connected to when it is first asked."""
    if url.setup is Setup.CLUSTER:
        return Cluster(url.places, partial(_link_to, url), timeout)
    if url.setup is Setup.SENTINEL:
        return One(partial(_link_to_primary, url), timeout)
    return One(partial(_link_to, url, url.places[0]), timeout)


def _link_to(url: RedisUrl, place: Place, timeout: float) -> Link:
    return Link(where=str(place), dial=partial(dial, url.login, place, timeout), timeout=timeout)


def _link_to_primary(url: RedisUrl, timeout: float) -> Link:
    where = f"{url.service} of {', '.join(map(str, url.places))}"
    return Link(where=where, dial=partial(dial_primary, url, timeout), timeout=timeout)
