"""Refused credentials are remembered for a few seconds, in bounded number (spec 3.2)."""

from extauthz.authn import Refusals
from extauthz.authn.refusals import KeyFault
from extauthz.testing.clock import FakeClock


def test_refusals_are_bounded_and_the_oldest_goes_first() -> None:
    clock = FakeClock()
    refusals = Refusals(clock=clock, ttl=5, max_entries=3)
    for name in (b"a", b"b", b"c", b"a", b"d"):
        refusals.remember(name, KeyFault.REVOKED, refusals.generation)
    assert [refusals.find(name) for name in (b"a", b"b", b"d")] == [None, KeyFault.REVOKED, KeyFault.REVOKED]
    clock.advance(5)
    assert refusals.find(b"b") is None
    refusals.remember(b"e", KeyFault.UNKNOWN, refusals.generation)
    assert len(refusals) == 1


def test_a_flood_of_refusals_stays_within_its_bound() -> None:
    refusals = Refusals(clock=FakeClock(), max_entries=1000)
    for number in range(200_000):
        refusals.remember(number.to_bytes(32), KeyFault.WRONG_SECRET, refusals.generation)
    assert len(refusals) == 1000
    assert refusals.find((199_999).to_bytes(32)) is KeyFault.WRONG_SECRET
