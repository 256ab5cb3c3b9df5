"""What gRPC itself refuses lies above what an Envoy lets through, or a single Envoy's checks would end without a reason."""

from typing import Final

import pytest

from extauthz.bootstrap import BootstrapOptions, build
from extauthz.bootstrap.build import to_dict
from extauthz.server.grpcio import GrpcPolicy

SOFT: Final = "grpc.server.max_pending_requests"


@pytest.mark.parametrize("max_checks", [1, 2, 3, 4, 5, 7, 8, 64, 1024])
def test_grpc_refuses_nothing_that_one_envoy_may_send(max_checks: int) -> None:
    options = dict(GrpcPolicy(listen="127.0.0.1:0", max_checks=max_checks).options())
    tree = to_dict(build(BootstrapOptions(max_checks=max_checks)))
    (limits,) = tree["static_resources"]["clusters"][0]["circuit_breakers"]["thresholds"]
    assert limits["max_requests"] < options[SOFT] <= options[f"{SOFT}_hard_limit"]


def test_as_many_checks_as_anybody_may_configure_are_a_number_that_grpc_takes() -> None:
    options = dict(GrpcPolicy(listen="127.0.0.1:0", max_checks=10**12).options())
    assert options[f"{SOFT}_hard_limit"] < 2**31
