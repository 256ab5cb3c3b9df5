"""The change log and the leases of a store that somebody else keeps, over gRPC."""

import asyncio
from collections.abc import Sequence
from typing import Final

from extauthz._gen.provider.v1 import replicas_pb2 as pb
from extauthz.errors import ExtauthzError, ProviderTimeout
from extauthz.model.changed import StoredChange
from extauthz.providers import remote_rpc as rpc
from extauthz.providers.remote_base import RemotePart, RemoteTimeouts
from extauthz.providers.remote_change_messages import page_limit
from extauthz.providers.remote_channel import RemoteChannel
from extauthz.providers.remote_event_messages import read_changes

_PACE: Final = 0.5
"""Seconds until the changes are asked for again while waiting for them does not work."""


class RemoteReplicas(RemotePart):
    """A change log and leases. Besides what the protocols say, methods raise what `RemoteChannel.ask` does."""

    def __init__(self, place: str | RemoteChannel, *, timeouts: RemoteTimeouts | None = None) -> None:
        super().__init__(place, timeouts=timeouts)
        self._seen = 0  # a change above it ends a wait at once, also one made before the wait began

    async def last_change(self) -> int:
        """The `seq` of the newest change; 0 where there was none yet."""
        answer = await self._change(rpc.GET_LAST_CHANGE, pb.GetLastChangeRequest)
        self._seen = answer.seq
        return answer.seq

    async def changes_after(self, seq: int, limit: int = 1000) -> Sequence[StoredChange]:
        """The changes above `seq` in their order, at most `limit` and 1000."""
        if limit < 1:
            return ()
        answer = await self._change(rpc.LIST_CHANGES, lambda: pb.ListChangesRequest(after=seq, limit=page_limit(limit)))
        self._seen = max(seq, answer.changes[-1].seq if answer.changes else 0)
        return read_changes(answer)

    async def wait_for_change(self, seconds: float) -> None:
        """Return when there may be a new change, after `seconds` at the latest. Never raises for want of a connection."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        after = self._seen
        try:
            await self._channel.ask(
                rpc.WAIT_FOR_CHANGE, lambda: pb.WaitForChangeRequest(after=after, seconds=seconds), seconds
            )
        except ProviderTimeout:
            pass
        except ExtauthzError:
            await asyncio.sleep(max(0.0, min(_PACE, end - loop.time())))

    async def renew_lease(self, replica: str, seen: int, seconds: float) -> None:
        """Say that `replica` lives for `seconds` more, and has brought its caches up to the change `seen`."""
        await self._change(rpc.RENEW_LEASE, lambda: pb.RenewLeaseRequest(replica=replica, seen=seen, seconds=seconds))

    async def end_lease(self, replica: str) -> None:
        """Say that `replica` ends."""
        await self._change(rpc.END_LEASE, lambda: pb.EndLeaseRequest(replica=replica))

    async def replicas_behind(self, seq: int) -> Sequence[str]:
        """The replicas with a live lease that have not seen the change `seq`."""
        answer = await self._change(rpc.LIST_REPLICAS_BEHIND, lambda: pb.ListReplicasBehindRequest(seq=seq))
        return tuple(answer.replicas)
