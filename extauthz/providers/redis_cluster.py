"""The primaries of a Redis Cluster, and which of them keeps a key."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ClassVar, Final

from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError

from extauthz.config.redis_url import Place
from extauthz.errors import ExtauthzError, ProviderBusy, ProviderError
from extauthz.providers.redis_dial import first_answer
from extauthz.providers.redis_errors import again, translated
from extauthz.providers.redis_link import Link, Reply
from extauthz.providers.redis_pack import packed

_SLOTS: Final = packed(b"CLUSTER", b"SLOTS")
_ASKING: Final = packed(b"ASKING")

_UNKNOWN_HOST: Final = b"?"

PAUSE: Final = 0.1
"""Seconds between two questions for the slots."""

ASKED_AT_ONCE: Final = 3
"""Nodes that are asked together where the slots are."""


class Cluster:
    """Asks the node that keeps a key.

    A node that says the key is elsewhere has done nothing: it is asked once more there. Nothing else is asked twice. Before a
    node that left somebody without an answer is asked again, the others are asked whether it still keeps the slot: a frozen
    one, or one whose host is gone, could never say so itself.

    Args:
        seeds: nodes to ask first.
        open_link: gives a link to a node, for a time limit in seconds.
        timeout: the limit of the links that are shared.
    """

    many_keys: ClassVar[bool] = False

    def __init__(self, seeds: Sequence[Place], open_link: Callable[[Place, float], Link], timeout: float) -> None:
        self._seeds = tuple(seeds)
        self._timeout = timeout
        self._open_link = open_link
        self._links: dict[Place, Link] = {}
        self._owners: dict[int, Place] = {}
        self._stale = True
        self._doubted: set[Place] = set()
        self._learning: asyncio.Task[ExtauthzError | None] | None = None
        self._not_before = 0.0
        self._closed = False
        self._leaving: set[asyncio.Task[None]] = set()

    async def ask(self, key: bytes, command: bytes) -> Reply:
        """The answer of the node that keeps `key`."""
        slot = key_slot(key)
        place = await self._keeper(slot)
        try:
            return await self._asked(place, command)
        except MovedError as elsewhere:
            place = self._owners[slot] = Place(elsewhere.host, elsewhere.port)
            self._stale = True
            return await self._asked(place, command)
        except AskError as elsewhere:
            return await self._asked(Place(elsewhere.host, elsewhere.port), command, on_its_way=True)

    async def links(self) -> Sequence[Link]:
        """A link to each primary that keeps any slots."""
        await self._learn()
        return [self._link(place) for place in dict.fromkeys(self._owners.values())]

    async def fresh_links(self, timeout: float) -> Sequence[Link]:  # noqa: ASYNC109 - not of this call, but of the links
        """A new link to each primary that keeps any slots."""
        await self._learn()
        return [self._open_link(place, timeout) for place in dict.fromkeys(self._owners.values())]

    async def close(self) -> None:
        """Hang up everywhere."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait({self._learning})
        self._closed = True
        await asyncio.gather(*(link.close() for link in self._links.values()), *self._leaving)

    async def _keeper(self, slot: int) -> Place:
        """The node to ask. While the slots are learnt anew, the old knowledge is good enough to be put right by the nodes."""
        owner = self._owners.get(slot)
        if owner in self._doubted:
            with suppress(ExtauthzError):  # where nobody can say, it may have recovered all the same
                await self._learn()
        elif self._stale or owner is None:
            self._begin_learning()
            if owner is None:
                await self._learn()
        owner = self._owners.get(slot)
        if owner is None:
            self._stale = True
            raise ProviderError("Redis cluster: nobody keeps that slot")
        return owner

    async def _asked(self, place: Place, command: bytes, *, on_its_way: bool = False) -> Reply:
        """What a node answers. `on_its_way`: it is about to take over the slot, and wants to hear that we know."""
        try:
            link = self._link(place)
            if on_its_way:
                asking = link.ask(_ASKING)  # nothing comes between the two
                answer = link.ask(command)
                await asyncio.wait({asking})
                reply = await answer
            else:
                reply = await link.ask(command)
        except ProviderBusy:
            raise
        except (asyncio.CancelledError, ClusterDownError, ProviderError):
            # Who asks at a deadline cancels: a node that does not answer shows in no other way.
            self._doubted.add(place)
            raise
        self._doubted.discard(place)
        return reply

    def _link(self, place: Place) -> Link:
        if self._closed:
            raise ProviderError("Redis cluster: closed")
        link = self._links.get(place)
        if link is None:
            link = self._links[place] = self._open_link(place, self._timeout)
        return link

    async def _learn(self) -> None:
        learning = self._begin_learning()
        await asyncio.wait({learning})
        error = ProviderError("Redis cluster: closed") if learning.cancelled() else learning.result()
        if error is not None:
            raise again(error)

    def _begin_learning(self) -> asyncio.Task[ExtauthzError | None]:
        """Ask where the slots are; by one task however many want to know, and not again right after it."""
        loop = asyncio.get_running_loop()
        if self._learning is None or (self._learning.done() and loop.time() >= self._not_before):
            self._not_before = loop.time() + PAUSE
            self._learning = loop.create_task(self._ask_for_slots())
        return self._learning

    async def _ask_for_slots(self) -> ExtauthzError | None:
        known = [*dict.fromkeys((*self._owners.values(), *self._seeds))]
        nodes = random.sample(known, min(ASKED_AT_ONCE, len(known)))
        try:
            owners = await first_answer([self._told_by(node) for node in nodes])
        except Exception as error:  # noqa: BLE001 - it is told to everybody who waits, each time anew
            return translated(error, "cluster")
        self._owners, self._stale = owners, False
        places = set(owners.values())
        self._doubted &= places
        gone = self._links.keys() - places
        for place in gone:
            leaving = asyncio.ensure_future(self._links.pop(place).close())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        return None

    async def _told_by(self, node: Place) -> dict[int, Place]:
        """Slot by slot, who keeps it. A node may leave out its own host: the one by which it was reached is meant."""
        owners: dict[int, Place] = {}
        for first, last, (host, port, *_), *_replicas in await self._link(node).ask(_SLOTS):
            place = Place(host.decode() if host and host != _UNKNOWN_HOST else node.host, port)
            owners.update(dict.fromkeys(range(first, last + 1), place))
        if not owners:
            raise ProviderError(f"Redis at {node}: it is in no cluster that keeps any slots")
        return owners
