"""The servers behind a URL: one, the primary that Sentinels name, or the primaries of a cluster."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from extauthz.config.redis_url import Place, Setup
from extauthz.providers.redis_cluster import Cluster
from extauthz.providers.redis_dial import dial, dial_primary
from extauthz.providers.redis_link import Link, Reply
from extauthz.providers.redis_url import RedisUrl


class Servers(Protocol):
    """Whoever keeps the keys."""

    async def ask(self, key: bytes, command: bytes) -> Reply:
        """The answer of the server that keeps `key` to a packed command.

        Raises:
            ResponseError: the server refuses.
            ExtauthzError: there was no answer.
        """

    async def links(self) -> Sequence[Link]:
        """A link to each primary."""

    async def close(self) -> None:
        """Hang up everywhere."""


class One:
    """A single server, or the primary of a replicated one, wherever it is just now."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def ask(self, _key: bytes, command: bytes) -> Reply:
        """The answer of the one there is."""
        return await self._link.ask(command)

    async def links(self) -> Sequence[Link]:
        """The one link."""
        return (self._link,)

    async def close(self) -> None:
        """Hang up."""
        await self._link.close()


def connect_servers(url: RedisUrl, timeout: float) -> Servers:
    """The servers of a URL, each to be connected to when it is first asked."""
    if url.setup is Setup.CLUSTER:
        return Cluster(url.places, partial(_link_to, url, timeout))
    if url.setup is Setup.SENTINEL:
        where = f"{url.service} of {', '.join(map(str, url.places))}"
        return One(Link(where=where, dial=partial(dial_primary, url, timeout), timeout=timeout))
    return One(_link_to(url, timeout, url.places[0]))


def _link_to(url: RedisUrl, timeout: float, place: Place) -> Link:
    return Link(where=str(place), dial=partial(dial, url.login, place, timeout), timeout=timeout)
