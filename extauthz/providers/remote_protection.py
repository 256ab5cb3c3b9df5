"""Limits counted by somebody else, over gRPC."""

from typing import ClassVar

from extauthz._gen.provider.v1 import protection_pb2 as pb
from extauthz.model.protection import Charge, ChargeResult, Usage
from extauthz.providers import remote_rpc as rpc
from extauthz.providers.remote_base import Remote
from extauthz.providers.remote_channel import RemoteChannel
from extauthz.providers.remote_protection_messages import read_result, read_usage, write_charge, write_clearing


class RemoteProtection(Remote):
    """A protection provider. Besides what its protocol says, every method raises what `RemoteChannel.ask` does.

    Args:
        place: its URL, or a connection that others use too.
        timeout: seconds that a charge has.
        changes: seconds that everything else has.
    """

    in_process: ClassVar[bool] = False

    def __init__(self, place: str | RemoteChannel, *, timeout: float = 0.1, changes: float = 5.0) -> None:
        super().__init__(place)
        self._timeout = timeout
        self._changes = changes

    async def charge(self, charge: Charge) -> ChargeResult:
        """Count one request in all dimensions, or in none where a blocking dimension is exceeded."""
        answer = await self._channel.ask(rpc.CHARGE, lambda: write_charge(charge), self._timeout)
        return read_result(charge.blocking, answer)

    async def usage(self, tenant_id: str) -> Usage:
        """What the tenant used today (UTC)."""
        answer = await self._channel.ask(rpc.GET_USAGE, lambda: pb.GetUsageRequest(tenant_id=tenant_id), self._changes)
        return read_usage(answer.usage)

    async def record_usage(self, tenant_id: str, cost: int, idempotency_key: str) -> Usage:
        """Add `cost` (micro-units), which is known only afterwards, to today's; the usage after it."""
        answer = await self._channel.ask(
            rpc.RECORD_USAGE,
            lambda: pb.RecordUsageRequest(tenant_id=tenant_id, cost_micros=cost, idempotency_key=idempotency_key),
            self._changes,
        )
        return read_usage(answer.usage)

    async def clear(self, tenant_id: str | None) -> None:
        """Forget rate and burst state and the day's counts of one tenant, or of all for None."""
        await self._channel.ask(rpc.CLEAR_USAGE, lambda: write_clearing(tenant_id), self._changes)
