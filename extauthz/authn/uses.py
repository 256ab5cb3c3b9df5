"""Last-used times and renewed hashes of API keys, written in the background."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import replace
from typing import Final

from extauthz.model.identity import KeyUse

RecordUses = Callable[[Sequence[KeyUse]], Awaitable[None]]
"""`CredentialProvider.record_uses`."""

_BATCH: Final = 500


class KeyUses:
    """Collects key uses and writes them every few seconds: one per key and minute, in batches, never in the way of a check.

    What cannot be written is dropped and counted: a last-used time is not worth keeping anybody waiting, and a hash that is
    not renewed now is renewed at a later use.

    Args:
        record: writes a batch; any exception means that it was not written.
        interval: at most one use per key in so many seconds is written.
        every: seconds from the first waiting use to the write.
        timeout: seconds that one write may take.
        max_pending: most keys that wait to be written.
        max_remembered: most keys whose last noted use is remembered; more of them in one interval are written oftener.
        dropped: told how many uses were dropped, each time that happens.
    """

    def __init__(
        self,
        record: RecordUses,
        *,
        interval: float = 60.0,
        every: float = 2.0,
        timeout: float = 2.0,
        max_pending: int = 10_000,
        max_remembered: int = 100_000,
        dropped: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._record = record
        self._interval = interval
        self._every = every
        self._timeout = timeout
        self._max_pending = max_pending
        self._max_remembered = max_remembered
        self._dropped = dropped
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._pending: dict[str, KeyUse] = {}
        self._waiting = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        """How many uses wait to be written."""
        return len(self._pending)

    @property
    def remembered(self) -> int:
        """Of how many keys the last noted use is remembered."""
        return len(self._noted)

    def note(self, key_id: str, at: float, renewed: tuple[bytes, str] | None = None) -> None:
        """Note that a key was used at `at` (Unix seconds); `renewed` is its hash under the newest pepper, and that pepper's
        fingerprint. Never waits, never raises.
        """
        last = self._noted.get(key_id)
        # A calendar that was set back makes `at` earlier than `last`: that is a use too.
        if renewed is None and last is not None and 0 <= at - last < self._interval:
            return
        self._remember(key_id, at)
        if key_id not in self._pending and len(self._pending) >= self._max_pending:
            self._dropped(1)
            return
        secret_hash, hash_pepper = renewed or (None, None)
        use = KeyUse(key_id=key_id, used_at=at, secret_hash=secret_hash, hash_pepper=hash_pepper)
        self._pending[key_id] = _merged(self._pending.get(key_id, use), use)
        self._waiting.set()

    def _remember(self, key_id: str, at: float) -> None:
        """Keep the times in the order in which they were noted; those of the last interval are all that is needed."""
        self._noted.pop(key_id, None)
        self._noted[key_id] = at
        while len(self._noted) > self._max_remembered or at - next(iter(self._noted.values())) > self._interval:
            self._noted.popitem(last=False)

    async def start(self) -> None:
        """Begin to write in the background."""
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._run(), name="key-uses", context=Context())

    async def close(self) -> None:
        """End the background writer, then write what waits, in at most one write's time per batch."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.cancel()
            await asyncio.wait({writer})
        await self.flush()

    async def flush(self) -> None:
        """Write everything that waits at this moment, batch after batch; after a write that fails the rest is dropped.

        Cancelled in the middle, it leaves what was not written waiting.
        """
        uses, self._pending = list(self._pending.values()), {}
        self._waiting.clear()
        for begin in range(0, len(uses), _BATCH):
            try:
                written = await self._write(uses[begin : begin + _BATCH])
            except asyncio.CancelledError:
                self._put_back(uses[begin:])
                raise
            if not written:
                self._dropped(len(uses) - begin)
                return

    def _put_back(self, uses: Sequence[KeyUse]) -> None:
        for use in uses:
            newer = self._pending.get(use.key_id)
            self._pending[use.key_id] = use if newer is None else _merged(use, newer)

    async def _run(self) -> None:
        while True:
            await self._waiting.wait()
            await asyncio.sleep(self._every)
            await self.flush()

    async def _write(self, batch: Sequence[KeyUse]) -> bool:
        """Whether the batch was written in time. A driver may ignore its cancellation: nobody waits for it."""
        task = asyncio.ensure_future(_call(self._record, batch))
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout)
        finally:
            task.cancel()
        return bool(done) and task.result()


async def _call(record: RecordUses, batch: Sequence[KeyUse]) -> bool:
    """Whether the batch was written; whatever a provider of somebody else raises means that it was not."""
    try:
        await record(batch)
    except Exception:  # noqa: BLE001 - see above; the caller counts it
        return False
    return True


def _merged(older: KeyUse, newer: KeyUse) -> KeyUse:
    """The newer use; a renewed hash of the older one is kept until it is written."""
    if newer.secret_hash is not None:
        return newer
    return replace(newer, secret_hash=older.secret_hash, hash_pepper=older.hash_pepper)
