"""Tenants kept by somebody else, over gRPC."""

from collections.abc import Mapping, Sequence

from extauthz._gen.provider.v1 import administration_pb2 as admin
from extauthz._gen.provider.v1 import lifecycle_pb2 as pb
from extauthz.errors import ImportConflict, InvalidRecord
from extauthz.model.billing import BillingRecord
from extauthz.model.lifecycle import (
    AuditRecord,
    Change,
    LifecycleRecord,
    LifecycleState,
    Onboarding,
    Tenant,
    Transition,
)
from extauthz.providers import remote_rpc as rpc
from extauthz.providers.remote_base import RemotePart
from extauthz.providers.remote_change_messages import (
    page_limit,
    read_audit,
    read_change,
    read_id,
    write_audit,
    write_change,
)
from extauthz.providers.remote_tenant_messages import (
    read_lifecycle_answer,
    read_tenant,
    read_tenant_answer,
    read_transition,
    write_billing,
    write_standings,
    write_tenant,
)
from extauthz.providers.remote_words import LIFECYCLE_STATES, ONBOARDING


class RemoteAudit(RemotePart):
    """The audit trail of a remote store. Errors as in `RemoteChannel.ask`."""

    async def history(self, tenant_id: str) -> Sequence[AuditRecord]:
        """The tenant's audit records, oldest first."""
        answer = await self._change(rpc.LIST_HISTORY, lambda: admin.ListHistoryRequest(tenant_id=tenant_id))
        return [read_audit(each) for each in answer.records]

    async def note(self, records: Sequence[AuditRecord]) -> None:
        """Add records of what was changed elsewhere."""
        await self._change(
            rpc.ADD_RECORDS, lambda: admin.AddRecordsRequest(records=[write_audit(each) for each in records])
        )


class RemoteLifecycle(RemoteAudit):
    """A lifecycle store. Besides what its protocol says, every method raises what `RemoteChannel.ask` does."""

    async def find_lifecycle(self, tenant_id: str) -> LifecycleRecord | None:
        """The tenant's record; None where there is no such tenant."""
        answer = await self._channel.ask(
            rpc.FIND_LIFECYCLE, lambda: pb.FindLifecycleRequest(tenant_id=tenant_id), self._timeouts.lifecycle
        )
        return read_lifecycle_answer(answer)

    async def create_tenant(self, tenant: Tenant, change: Change, billing: BillingRecord | None = None) -> None:
        """Add a tenant, and its standing where one is given."""
        await self._change(
            rpc.CREATE_TENANT,
            lambda: admin.CreateTenantRequest(
                tenant=write_tenant(tenant),
                change=write_change(change),
                billing=None if billing is None else write_billing(billing),
            ),
        )

    async def import_tenants(
        self, tenants: Sequence[Tenant], change: Change, billing: Mapping[str, BillingRecord] | None = None
    ) -> Sequence[str]:
        """Add all that are not there yet; the ids of those that were added.

        Raises:
            ImportConflict: some are there and are not the same.
        """
        answer = await self._change(
            rpc.IMPORT_TENANTS,
            lambda: admin.ImportTenantsRequest(
                tenants=[write_tenant(each) for each in tenants],
                change=write_change(change),
                billing=write_standings(billing or {}),
            ),
        )
        if answer.conflicting_ids:
            raise ImportConflict(answer.conflicting_ids)
        return tuple(answer.added_ids)

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        """The tenant, None where there is none."""
        answer = await self._change(rpc.GET_TENANT, lambda: admin.GetTenantRequest(tenant_id=tenant_id))
        tenant = read_tenant_answer(answer)
        if tenant is not None and tenant.tenant_id != tenant_id:
            raise InvalidRecord(f"asked for tenant {tenant_id!r}, the answer is another one")
        return tenant

    async def list_tenants(self, after: str = "", limit: int = 100) -> Sequence[Tenant]:
        """Tenants with an id above `after` in the order of their ids, at most `limit` and 1000."""
        if limit < 1:
            return ()
        answer = await self._change(
            rpc.LIST_TENANTS, lambda: admin.ListTenantsRequest(after=after, limit=page_limit(limit))
        )
        return [read_tenant(each) for each in answer.tenants]

    async def set_onboarding(self, tenant_id: str, to: Onboarding, change: Change) -> tuple[Onboarding, Onboarding]:
        """`PENDING` to `COMPLETE`; (from, to)."""
        answer = await self._change(
            rpc.SET_ONBOARDING,
            lambda: admin.SetOnboardingRequest(
                tenant_id=tenant_id, to=ONBOARDING.number(to), change=write_change(change)
            ),
        )
        return ONBOARDING.member(answer.before), ONBOARDING.member(answer.after)

    async def transition(self, tenant_id: str, to: LifecycleState, change: Change, *, revoke_keys: bool) -> Transition:
        """Move a tenant along the table; with `revoke_keys` a move to TERMINATED revokes its keys."""
        answer = await self._change(
            rpc.TRANSITION_TENANT,
            lambda: admin.TransitionTenantRequest(
                tenant_id=tenant_id,
                to=LIFECYCLE_STATES.number(to),
                change=write_change(change),
                revoke_keys=revoke_keys,
            ),
        )
        return read_transition(tenant_id, answer)

    async def plan_termination(self, tenant_id: str, change: Change) -> bool:
        """Keep in mind that a termination has begun; False where the tenant is TERMINATED already."""
        answer = await self._change(
            rpc.PLAN_TERMINATION,
            lambda: admin.PlanTerminationRequest(tenant_id=tenant_id, change=write_change(change)),
        )
        return answer.planned

    async def planned_terminations(self) -> Sequence[tuple[str, Change]]:
        """Terminations that were begun and not finished."""
        answer = await self._change(rpc.LIST_PLANNED_TERMINATIONS, admin.ListPlannedTerminationsRequest)
        return [(read_id(each.tenant_id), read_change(each.change)) for each in answer.terminations]
