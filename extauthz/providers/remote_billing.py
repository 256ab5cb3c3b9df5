"""Tenants' standing kept by somebody else, over gRPC."""

from collections.abc import Mapping, Sequence

from extauthz._gen.provider.v1 import administration_pb2 as admin
from extauthz._gen.provider.v1 import billing_pb2 as pb
from extauthz.errors import NotSupported
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.lifecycle import Change
from extauthz.providers import remote_rpc as rpc
from extauthz.providers.partial import standings_one_by_one
from extauthz.providers.remote_change_messages import write_change
from extauthz.providers.remote_lifecycle import RemoteAudit
from extauthz.providers.remote_tenant_messages import read_billing, read_billing_answer, read_standings
from extauthz.providers.remote_words import BILLING_STATES


class RemoteBilling(RemoteAudit):
    """A billing store. Besides what its protocol says, every method raises what `RemoteChannel.ask` does."""

    async def find_billing(self, tenant_id: str) -> BillingRecord | None:
        """The tenant's record; None where there is none."""
        answer = await self._channel.ask(
            rpc.FIND_BILLING, lambda: pb.FindBillingRequest(tenant_id=tenant_id), self._timeouts.billing
        )
        return read_billing_answer(answer)

    async def set_billing(
        self, tenant_id: str, change: Change, *, state: BillingState | None = None, plan_id: str | None = None
    ) -> tuple[BillingRecord | None, BillingRecord]:
        """Set standing, plan or both (None: as it was); (before, after)."""
        answer = await self._change(
            rpc.SET_BILLING,
            lambda: admin.SetBillingRequest(
                tenant_id=tenant_id,
                change=write_change(change),
                state=None if state is None else BILLING_STATES.number(state),
                plan_id=plan_id,
            ),
        )
        before = read_billing(answer.before) if answer.HasField("before") else None
        return before, read_billing(answer.after)

    async def find_standings(self, tenant_ids: Sequence[str]) -> Mapping[str, BillingRecord]:
        """The records of many tenants; those that have none are not in it. A provider without this call is asked for each."""
        try:
            answer = await self._change(rpc.FIND_STANDINGS, lambda: admin.FindStandingsRequest(tenant_ids=tenant_ids))
        except NotSupported:
            return await standings_one_by_one(self, tenant_ids)
        return read_standings(answer.standings)
