"""Our enums and those of the contracts, name by name."""

from collections.abc import Iterable
from enum import Enum
from typing import Final, Generic, Protocol, TypeVar

from extauthz._gen.provider.v1 import billing_pb2, common_pb2, events_pb2, lifecycle_pb2, protection_pb2, replicas_pb2
from extauthz.errors import InvalidRecord
from extauthz.model.billing import BillingState
from extauthz.model.changed import ChangedKind
from extauthz.model.event import Severity
from extauthz.model.identity import ActorType
from extauthz.model.lifecycle import LifecycleState, Onboarding
from extauthz.model.protection import CHARGED

E = TypeVar("E", bound=Enum)
V = TypeVar("V", bound=int)
V_co = TypeVar("V_co", bound=int, covariant=True)


class Numbers(Protocol[V_co]):
    """An enum as protobuf generates it."""

    def Value(self, name: str) -> V_co:  # noqa: N802 - protobuf's name
        """The number of a name."""


class Words(Generic[E, V]):
    """The members of one of our enums, and the numbers that stand for them. `prefix` begins each name over there."""

    def __init__(self, members: Iterable[E], numbers: Numbers[V], prefix: str) -> None:
        self._numbers = {member: numbers.Value(f"{prefix}_{member.name}") for member in members}
        self._members: dict[int, E] = {number: member for member, number in self._numbers.items()}

    def number(self, member: E) -> V:
        """The number of a member.

        Raises:
            InvalidRecord: the contract has none for it.
        """
        try:
            return self._numbers[member]
        except KeyError:
            raise InvalidRecord(f"{member} has no number in this contract") from None

    def __contains__(self, number: int) -> bool:
        """Whether the number stands for a member that is known here."""
        return number in self._members

    def member(self, number: int) -> E:
        """The member.

        Raises:
            InvalidRecord: not one that is known here.
        """
        found = self._members.get(number)
        if found is None:
            raise InvalidRecord(
                f"a {type(next(iter(self._numbers))).__name__} with the number {number} is not known here"
            )
        return found


ACTOR_TYPES: Final = Words(ActorType, common_pb2.ActorType, "ACTOR_TYPE")
LIFECYCLE_STATES: Final = Words(LifecycleState, lifecycle_pb2.LifecycleState, "LIFECYCLE_STATE")
ONBOARDING: Final = Words(Onboarding, lifecycle_pb2.Onboarding, "ONBOARDING")
BILLING_STATES: Final = Words(BillingState, billing_pb2.BillingState, "BILLING_STATE")
DIMENSIONS: Final = Words(CHARGED, protection_pb2.Dimension, "DIMENSION")
SEVERITIES: Final = Words(Severity, events_pb2.Severity, "SEVERITY")
CHANGED_KINDS: Final = Words(ChangedKind, replicas_pb2.ChangedKind, "CHANGED_KIND")
