"""Credentials that were refused a moment ago, so that trying them again costs neither a query nor an HMAC."""

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

from extauthz.model.deadline import Clock


class KeyFault(StrEnum):
    """Why an API key does not verify; for log, event and metric, never for the client."""

    MALFORMED = "malformed"
    FORGED = "forged"
    UNKNOWN = "unknown"
    WRONG_SECRET = "wrong_secret"  # noqa: S105 - the name of a fault, not a secret
    PEPPER_REMOVED = "pepper_removed"
    REVOKED = "revoked"
    EXPIRED = "expired"
    BAD_RECORD = "bad_record"


@dataclass(frozen=True, slots=True)
class _Refusal:
    until: float
    fault: KeyFault


class Refusals:
    """Remembers refused credentials by a hash of the whole credential, for a few seconds and in bounded number.

    Args:
        clock: monotonic seconds.
        ttl: how long a refusal is remembered, in seconds.
        max_entries: how many at most; the oldest goes first.

    Attributes:
        hits: how many credentials were refused from here since the start.
    """

    def __init__(self, *, clock: Clock, ttl: float = 5.0, max_entries: int = 10_000) -> None:
        self._clock = clock
        self._ttl = ttl
        self.max_entries = max_entries
        self.hits = 0
        # In the order in which they end: all live equally long, and none is ever renewed.
        self._refusals: OrderedDict[bytes, _Refusal] = OrderedDict()
        self._generation = 0

    def __len__(self) -> int:
        return len(self._refusals)

    @property
    def generation(self) -> int:
        """Moves on with every `forget_all`: what was found out under an older one is not to be remembered."""
        return self._generation

    def find(self, digest: bytes) -> KeyFault | None:
        """Why the credential with that hash was refused; None where that is not remembered."""
        refusal = self._refusals.get(digest)
        if refusal is None:
            return None
        if self._clock() < refusal.until:
            self.hits += 1
            return refusal.fault
        del self._refusals[digest]
        return None

    def remember(self, digest: bytes, fault: KeyFault, generation: int) -> None:
        """Note a refusal, unless keys changed since `generation`."""
        if generation != self._generation or digest in self._refusals:
            return
        now = self._clock()
        self._make_room(now)
        self._refusals[digest] = _Refusal(now + self._ttl, fault)

    def forget_all(self) -> None:
        """Drop everything: some tenant's keys changed. Which refusals are that tenant's, a hash does not tell."""
        self._generation += 1
        self._refusals.clear()

    def _make_room(self, now: float) -> None:
        """Drop what has ended, and the oldest while there is no room."""
        while self._refusals:
            oldest = next(iter(self._refusals.values()))
            if len(self._refusals) < self.max_entries and now < oldest.until:
                return
            self._refusals.popitem(last=False)
