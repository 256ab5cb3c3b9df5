"""Events kept by somebody else, over gRPC."""

from collections.abc import Sequence

from extauthz._gen.provider.v1 import events_pb2 as pb
from extauthz.errors import NotSupported
from extauthz.model.event import Event, EventQuery
from extauthz.providers import remote_rpc as rpc
from extauthz.providers.remote_base import Remote
from extauthz.providers.remote_channel import RemoteChannel
from extauthz.providers.remote_event_messages import read_event, write_event, write_query


class RemoteEvents(Remote):
    """An event store. Besides what its protocol says, every method raises what `RemoteChannel.ask` does.

    Args:
        place: its URL, or a connection that others use too.
        emit_timeout: seconds that an append has.
        query_timeout: seconds that a query has.
    """

    def __init__(self, place: str | RemoteChannel, *, emit_timeout: float = 0.05, query_timeout: float = 5.0) -> None:
        super().__init__(place)
        self._emit_timeout = emit_timeout
        self._query_timeout = query_timeout

    async def append(self, events: Sequence[Event]) -> None:
        """Store all of them or none; equal `event_id`s are stored once."""
        await self._channel.ask(
            rpc.APPEND_EVENTS,
            lambda: pb.AppendEventsRequest(events=[write_event(each) for each in events]),
            self._emit_timeout,
        )

    async def query(self, query: EventQuery) -> Sequence[Event]:
        """At most `query.limit` events, and 1000, in the order of (`timestamp`, `event_id`)."""
        if query.limit < 1:
            return ()
        answer = await self._channel.ask(rpc.QUERY_EVENTS, lambda: write_query(query), self._query_timeout)
        return [read_event(each) for each in answer.events]

    async def size_bytes(self) -> int:
        """What the store occupies, in bytes; 0 where that is not known."""
        try:
            answer = await self._channel.ask(rpc.GET_SIZE, pb.GetSizeRequest, self._query_timeout)
        except NotSupported:
            return 0
        return max(0, answer.bytes)
