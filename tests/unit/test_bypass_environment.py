"""`LIFECYCLE_BYPASS`, `BILLING_BYPASS`, `PROTECTION_BYPASS` (spec section 4): understood, or a configuration error."""

import pytest

from extauthz.config.bypass import BYPASS_VARIABLES, bypass_warnings, bypassed_gates
from extauthz.config.problems import InvalidConfig
from extauthz.model.decision import Gate


@pytest.mark.parametrize("value", ["true", "TRUE", "1", "yes", "on", " True\n"])
@pytest.mark.parametrize("gate", BYPASS_VARIABLES)
def test_true_bypasses_the_gate_and_is_warned_of(gate: Gate, value: str) -> None:
    name = f"{gate.value.upper()}_BYPASS"
    assert bypassed_gates({name: value}) == {gate: name}
    (warning,) = bypass_warnings({name: value})
    assert str(warning).startswith(f"environment {name}: the {gate.value} gate is bypassed")


@pytest.mark.parametrize("value", ["false", "0", "no", "OFF", "", " "])
def test_false_and_empty_do_not(value: str) -> None:
    assert bypassed_gates({"BILLING_BYPASS": value, "AUTH_BYPASS": value}) == {}
    assert bypassed_gates({}) == {}


def test_what_is_not_understood_is_a_configuration_error_and_all_are_told() -> None:
    with pytest.raises(InvalidConfig) as caught:
        bypassed_gates({"BILLING_BYPASS": "maybe", "LIFECYCLE_BYPASS": "2", "PROTECTION_BYPASS": "true"})
    lines = [str(problem) for problem in caught.value.problems]
    assert lines == [
        "environment LIFECYCLE_BYPASS: must be true or false, not '2'",
        "environment BILLING_BYPASS: must be true or false, not 'maybe'",
    ]


@pytest.mark.parametrize("value", ["true", "1", "perhaps"])
def test_auth_cannot_be_bypassed_and_who_tries_is_told(value: str) -> None:
    with pytest.raises(InvalidConfig, match="environment AUTH_BYPASS: there is no bypass for auth"):
        bypassed_gates({"AUTH_BYPASS": value})
