"""What was changed in a store that several processes share, so that each of them can bring its caches up to date."""

from dataclasses import dataclass
from enum import StrEnum


class ChangedKind(StrEnum):
    """What kind of thing changed; it says what `StoredChange.id` is the id of."""

    CREATED = "created"
    """A tenant is new, with its standing: what was known of its absence no longer holds."""
    LIFECYCLE = "lifecycle"
    """A tenant's state or onboarding."""
    BILLING = "billing"
    """A tenant's standing or plan."""
    KEY = "key"
    """An API key was issued or revoked; the id is the key's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChange:
    """One change. `seq` grows in the order in which changes became visible. `origin` is the replica that made it."""

    seq: int
    kind: ChangedKind
    id: str
    origin: str
