"""API keys: issuing and revoking (spec sections 2 and 3.2)."""

from extauthz.changes.desk import Desk
from extauthz.errors import NotFound, TenantNotActive
from extauthz.model.identity import OPERATOR_SCOPE, SYSTEM_TENANT, ApiKey
from extauthz.model.lifecycle import Change, LifecycleState


class KeyChanges:
    """Issues and revokes keys."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def issue_key(
        self, tenant_id: str, scopes: frozenset[str], lifetime: float | None, change: Change
    ) -> tuple[ApiKey, str]:
        """A new key for an ACTIVE tenant (OFFBOARD-007): its record, and its text, shown once. `lifetime` None: no end.

        Raises:
            NotFound: no such tenant.
            TenantNotActive: the tenant is not ACTIVE.
        """
        return await self._desk.finish(self._issue_key(tenant_id, scopes, lifetime, change))

    async def issue_operator_key(self, lifetime: float | None, change: Change) -> tuple[ApiKey, str]:
        """A new operator key: tenant `_system`, scope `operator`."""
        return await self._desk.finish(self._issue_key(SYSTEM_TENANT, frozenset({OPERATOR_SCOPE}), lifetime, change))

    async def _issue_key(
        self, tenant_id: str, scopes: frozenset[str], lifetime: float | None, change: Change
    ) -> tuple[ApiKey, str]:
        expires_at = None if lifetime is None else change.at + lifetime
        key, text = self._desk.mint.mint(tenant_id, scopes, expires_at, change.at)
        for_customer = tenant_id != SYSTEM_TENANT
        async with self._desk.changing(tenant_id):
            if for_customer and not self._desk.keys_live_with_tenants:
                await self._issue_apart(key, change)
            else:
                await self._desk.stores.credentials.issue_key(key, change, require_active=for_customer)
            self._desk.caches.credentials.forget(key.key_id)
            self._desk.caches.forget_refusals()
        return key, text

    async def _issue_apart(self, key: ApiKey, change: Change) -> None:
        """Where tenants live in another store: another replica may end the tenant between our look and the new key."""
        await self._require_active(key.tenant_id)
        await self._desk.stores.credentials.issue_key(key, change, require_active=False)
        try:
            await self._require_active(key.tenant_id)
        except BaseException:
            await self._desk.stores.credentials.revoke_key(key.tenant_id, key.key_id, change)
            raise

    async def _require_active(self, tenant_id: str) -> None:
        record = await self._desk.lifecycle_now(tenant_id)
        if record is None:
            raise NotFound(f"there is no tenant {tenant_id!r}")
        if record.state is not LifecycleState.ACTIVE:
            raise TenantNotActive(f"tenant {tenant_id!r} is {record.state.value}; only an ACTIVE tenant gets new keys")

    async def revoke_key(self, tenant_id: str, key_id: str, change: Change) -> ApiKey:
        """Revoke one key; the key as it is now.

        Raises:
            NotFound: the tenant has no such key.
        """
        return await self._desk.finish(self._revoke_key(tenant_id, key_id, change))

    async def _revoke_key(self, tenant_id: str, key_id: str, change: Change) -> ApiKey:
        async with self._desk.changing(tenant_id):
            key = await self._desk.stores.credentials.revoke_key(tenant_id, key_id, change)
            self._desk.caches.credentials.put(key_id, key)
            self._desk.caches.forget_refusals()
        return key
