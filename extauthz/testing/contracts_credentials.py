"""What every credential store must do. Subclass `CredentialStoreContract` in a test module and say how to open one.

class TestMine(CredentialStoreContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[CredentialStore]:
        ...
"""

import asyncio
from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from extauthz.errors import AlreadyExists, NotFound
from extauthz.model.identity import OPERATOR_SCOPE, SYSTEM_TENANT, ApiKey, KeyUse
from extauthz.ports import CredentialStore
from extauthz.testing.contracts_audit import AuditTrailContract
from extauthz.testing.contracts_values import ACME, HOSTILE_IDS, NOW, a_change, a_key, refused

RENEWED: Final = b"renewed"


class CredentialStoreContract(AuditTrailContract):
    """The contract of `ports.CredentialStore`, without tenants of its own."""

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[CredentialStore]:
        """An empty store, ready for use, closed at the end."""

    async def _issue(self, store: CredentialStore, *keys: ApiKey) -> None:
        for key in keys:
            await store.issue_key(key, a_change("issued"), require_active=False)

    async def test_an_unknown_key_is_an_answer(self) -> None:
        """None, not an error."""
        async with self.opened() as store:
            await self._issue(store, a_key(ACME))
            for key_id in HOSTILE_IDS:
                assert await store.find_key(key_id) is None, key_id
                assert not await store.list_keys(key_id), key_id

    async def test_a_key_is_found_as_it_was_issued(self) -> None:
        """With every field, also those that are empty."""
        plain = a_key("plain")
        full = replace(
            a_key("full", scopes=frozenset({"read", 'odd " scope', "é,;"})),
            secret_hash=bytes(range(256)),
            mac_pepper="pepper-2",
            expires_at=NOW + 0.125,
            last_used_at=NOW + 1,
            revoked_at=NOW + 2,
        )
        operator = a_key("op", SYSTEM_TENANT, scopes=frozenset({OPERATOR_SCOPE}))
        async with self.opened() as store:
            await self._issue(store, plain, full, operator)
            for key in (plain, full, operator):
                assert await store.find_key(key.key_id) == key

    async def test_an_id_is_issued_once(self) -> None:
        """Not even another tenant gets it again; the first key stays."""
        async with self.opened() as store:
            await self._issue(store, a_key())
            other = a_key(tenant_id="other")
            await refused(AlreadyExists, store.issue_key(other, a_change(), require_active=False))
            assert await store.find_key("key1") == a_key()
            assert not await store.list_keys("other")
            assert not await store.history("other")

    async def test_keys_are_listed_oldest_first_and_per_tenant(self) -> None:
        """Revoked ones too."""
        keys = [a_key("c", later=1), a_key("a", later=3), a_key("b", later=2)]
        async with self.opened() as store:
            await self._issue(store, keys[1], keys[0], keys[2], a_key("foreign", "other"))
            await store.revoke_key(ACME, "b", a_change())
            assert [key.key_id for key in await store.list_keys(ACME)] == ["c", "b", "a"]

    # Revoking

    async def test_revoking_again_changes_nothing(self) -> None:
        """The first time stays, and there is one record."""
        async with self.opened() as store:
            await self._issue(store, a_key())
            revoked = await store.revoke_key(ACME, "key1", a_change("leaked", later=5))
            history = await store.history(ACME)
            again = await store.revoke_key(ACME, "key1", a_change("again", later=9))
            assert revoked == again == replace(a_key(), revoked_at=NOW + 5)
            assert await store.find_key("key1") == revoked
            assert await store.history(ACME) == history

    async def test_a_tenant_revokes_only_its_own_keys(self) -> None:
        """Another tenant's key is not found; it stays as it is."""
        async with self.opened() as store:
            await self._issue(store, a_key(tenant_id="other"))
            await refused(NotFound, store.revoke_key(ACME, "key1", a_change()))
            await refused(NotFound, store.revoke_key("other", "key2", a_change()))
            assert await store.find_key("key1") == a_key(tenant_id="other")

    async def test_offboard_005_all_live_keys_are_revoked_at_once(self) -> None:
        """Their ids are told; those revoked before keep their time; other tenants keep theirs; a second time finds none."""
        async with self.opened() as store:
            await self._issue(store, a_key("a"), a_key("b"), a_key("c"), a_key("foreign", "other"))
            await store.revoke_key(ACME, "b", a_change(later=1))
            assert sorted(await store.revoke_all(ACME, a_change(later=2))) == ["a", "c"]
            times = {key.key_id: key.revoked_at for key in await store.list_keys(ACME)}
            assert times == {"a": NOW + 2, "b": NOW + 1, "c": NOW + 2}
            assert await store.find_key("foreign") == a_key("foreign", "other")
            history = await store.history(ACME)
            assert not await store.revoke_all(ACME, a_change(later=3))
            assert await store.history(ACME) == history

    async def test_every_key_change_has_a_record(self) -> None:
        """Issued, revoked, by whom, why and when."""
        changes = [a_change("ci", later=1), a_change("leaked", later=2, request_id="r")]
        async with self.opened() as store:
            await store.issue_key(a_key(), changes[0], require_active=False)
            await store.revoke_key(ACME, "key1", changes[1])
            history = await store.history(ACME)
            assert [(record.before, record.after) for record in history] == [("", "key1"), ("key1", "")]
            assert [record.change for record in history] == changes

    # Uses

    async def test_the_last_use_is_noted(self) -> None:
        """Whatever the order in which uses of several keys arrive; unknown keys are passed over."""
        uses = [("a", 5.0), ("b", 7.0), ("a", 3.0), ("gone", 1.0), ("b", 8.0)]
        async with self.opened() as store:
            await self._issue(store, a_key("a"), a_key("b"), a_key("c"))
            await store.record_uses([KeyUse(key_id=key_id, used_at=NOW + at) for key_id, at in uses])
            assert await store.find_key("a") == replace(a_key("a"), last_used_at=NOW + 5)
            assert await store.find_key("b") == replace(a_key("b"), last_used_at=NOW + 8)
            assert await store.find_key("c") == a_key("c")
            assert await store.find_key("gone") is None

    async def test_no_uses_are_no_change(self) -> None:
        """An empty batch is fine."""
        async with self.opened() as store:
            await self._issue(store, a_key())
            await store.record_uses([])
            assert await store.find_key("key1") == a_key()

    async def test_a_renewed_hash_replaces_the_old_one_with_its_pepper(self) -> None:
        """A use at the very same moment counts; the mac's pepper stays."""
        renewal = KeyUse(key_id="key1", used_at=NOW, secret_hash=RENEWED, hash_pepper="pepper-2")
        expected = replace(a_key(), last_used_at=NOW, secret_hash=RENEWED, hash_pepper="pepper-2")
        async with self.opened() as store:
            await self._issue(store, a_key())
            await store.record_uses([KeyUse(key_id="key1", used_at=NOW), renewal])
            assert await store.find_key("key1") == expected
            await store.record_uses([KeyUse(key_id="key1", used_at=NOW + 1)])
            assert await store.find_key("key1") == replace(expected, last_used_at=NOW + 1)

    async def test_an_older_renewal_never_replaces_a_newer_one(self) -> None:
        """A late batch of another replica does not bring an older hash back."""
        newer = KeyUse(key_id="key1", used_at=NOW + 2, secret_hash=RENEWED, hash_pepper="pepper-3")
        late = KeyUse(key_id="key1", used_at=NOW + 1, secret_hash=b"older", hash_pepper="pepper-2")
        async with self.opened() as store:
            await self._issue(store, a_key())
            await store.record_uses([newer])
            await store.record_uses([late])
            key = await store.find_key("key1")
            assert key == replace(a_key(), last_used_at=NOW + 2, secret_hash=RENEWED, hash_pepper="pepper-3")

    async def test_half_a_renewal_is_a_plain_use(self) -> None:
        """A hash without its pepper, or the other way round, would lock the key out."""
        async with self.opened() as store:
            await self._issue(store, a_key())
            await store.record_uses([KeyUse(key_id="key1", used_at=NOW + 1, secret_hash=RENEWED)])
            await store.record_uses([KeyUse(key_id="key1", used_at=NOW + 2, hash_pepper="pepper-2")])
            assert await store.find_key("key1") == replace(a_key(), last_used_at=NOW + 2)

    async def test_a_use_never_brings_a_revoked_key_back(self) -> None:
        """Not with a renewed hash either, and not when both happen at once."""
        renewal = KeyUse(key_id="key1", used_at=NOW + 9, secret_hash=RENEWED, hash_pepper="pepper-2")
        async with self.opened() as store:
            await self._issue(store, a_key())
            await asyncio.gather(store.record_uses([renewal]), store.revoke_key(ACME, "key1", a_change(later=1)))
            await store.record_uses([renewal])
            key = await store.find_key("key1")
            assert key is not None
            assert key.revoked_at == NOW + 1
