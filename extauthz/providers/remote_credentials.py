"""API keys kept by somebody else, over gRPC."""

from collections.abc import Sequence

from extauthz._gen.provider.v1 import administration_pb2 as admin
from extauthz._gen.provider.v1 import credentials_pb2 as pb
from extauthz.errors import InvalidRecord
from extauthz.model.identity import ApiKey, KeyUse
from extauthz.model.lifecycle import Change
from extauthz.providers import remote_rpc as rpc
from extauthz.providers.remote_change_messages import write_change
from extauthz.providers.remote_key_messages import read_key, read_key_answer, write_key, write_uses
from extauthz.providers.remote_lifecycle import RemoteAudit


class RemoteCredentials(RemoteAudit):
    """A credential store. Besides what its protocol says, every method raises what `RemoteChannel.ask` does."""

    async def find_key(self, key_id: str) -> ApiKey | None:
        """The key of that id, revoked or expired ones too; None where there is none."""
        answer = await self._channel.ask(
            rpc.FIND_KEY, lambda: pb.FindKeyRequest(key_id=key_id), self._timeouts.credentials
        )
        key = read_key_answer(answer)
        if key is not None and key.key_id != key_id:
            raise InvalidRecord(f"asked for key {key_id!r}, the answer is another one")
        return key

    async def record_uses(self, uses: Sequence[KeyUse]) -> None:
        """Note last-used times and renewed hashes. A use older than the one on record changes nothing."""
        await self._change(rpc.RECORD_USES, lambda: write_uses(uses))

    async def issue_key(self, key: ApiKey, change: Change, *, require_active: bool) -> None:
        """Add a key; with `require_active` only for an ACTIVE tenant."""
        await self._change(
            rpc.ISSUE_KEY,
            lambda: admin.IssueKeyRequest(
                key=write_key(key), change=write_change(change), require_active=require_active
            ),
        )

    async def list_keys(self, tenant_id: str) -> Sequence[ApiKey]:
        """All keys of a tenant, oldest first."""
        answer = await self._change(rpc.LIST_KEYS, lambda: admin.ListKeysRequest(tenant_id=tenant_id))
        return [read_key(each) for each in answer.keys]

    async def revoke_key(self, tenant_id: str, key_id: str, change: Change) -> ApiKey:
        """Revoke one key; revoking it again changes nothing. The key as it is now."""
        answer = await self._change(
            rpc.REVOKE_KEY,
            lambda: admin.RevokeKeyRequest(tenant_id=tenant_id, key_id=key_id, change=write_change(change)),
        )
        return read_key(answer.key)

    async def revoke_all(self, tenant_id: str, change: Change) -> Sequence[str]:
        """Revoke every live key of the tenant; the ids of those that were live."""
        answer = await self._change(
            rpc.REVOKE_ALL_KEYS,
            lambda: admin.RevokeAllKeysRequest(tenant_id=tenant_id, change=write_change(change)),
        )
        return tuple(answer.key_ids)
