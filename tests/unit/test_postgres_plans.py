"""Planned terminations of a store, one of them damaged."""

import logging

import pytest

from extauthz.providers.plan_rows import PlanReader
from extauthz.providers.state_rows import Row, from_termination_plan
from extauthz.testing.contracts_values import a_change

GOOD = from_termination_plan("good", a_change())
DAMAGED: Row = ("damaged", "MOON", *GOOD[2:])


def test_offboard_005_a_plan_that_cannot_be_read_keeps_no_other_from_being_finished(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = PlanReader()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert reader.read([DAMAGED, GOOD]) == (("good", a_change()),)
    (record,) = caplog.records  # once, though plans are looked for all the time
    assert "'damaged'" in record.getMessage()


def test_a_plan_that_was_mended_and_damaged_again_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    reader = PlanReader()
    with caplog.at_level(logging.ERROR):
        for rows in ([DAMAGED], [GOOD], [DAMAGED]):
            reader.read(rows)
    assert len(caplog.records) == 2
