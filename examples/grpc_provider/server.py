"""Tenants and their standing from a JSON file, as lifecycle and billing provider of extauthz over gRPC.

python -m grpc_tools.protoc -I ../../protos --python_out=. --grpc_python_out=. ../../protos/extauthz/provider/v1/*.proto
python server.py 127.0.0.1:9292 tenants.json
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from extauthz.provider.v1 import billing_pb2, billing_pb2_grpc, lifecycle_pb2, lifecycle_pb2_grpc

ABSENT = object()


class Tenants:
    """The file, read anew for each question: extauthz asks about once in five seconds for each tenant."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, tenant_id: str) -> Any:
        """What the file says of a tenant, which may be nonsense; ABSENT where it says nothing."""
        return json.loads(self._path.read_text()).get(tenant_id, ABSENT)


class Lifecycle(lifecycle_pb2_grpc.LifecycleServiceServicer):
    """May this tenant run at all?"""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants

    def FindLifecycle(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the contract's name
        """The state, or in so many words that there is no such tenant. An empty answer would be neither."""
        tenant = self._tenants.find(request.tenant_id)
        if tenant is ABSENT:
            return lifecycle_pb2.FindLifecycleResponse(no_such_tenant=lifecycle_pb2.NoSuchTenant())
        with one_record(context):
            onboarding = "PENDING" if tenant.get("onboarded") is False else "COMPLETE"
            record = lifecycle_pb2.LifecycleRecord(
                state=lifecycle_pb2.LifecycleState.Value(f"LIFECYCLE_STATE_{tenant['state']}"),
                onboarding=lifecycle_pb2.Onboarding.Value(f"ONBOARDING_{onboarding}"),
            )
        return lifecycle_pb2.FindLifecycleResponse(record=record)


class Billing(billing_pb2_grpc.BillingServiceServicer):
    """Is the tenant in good standing, and on which plan?"""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants

    def FindBilling(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the contract's name
        """The standing; a plan that is left out is the default one."""
        tenant = self._tenants.find(request.tenant_id)
        if tenant is ABSENT or (isinstance(tenant, dict) and "billing" not in tenant):
            return billing_pb2.FindBillingResponse(no_standing=billing_pb2.NoStanding())
        with one_record(context):
            state = billing_pb2.BillingState.Value(f"BILLING_STATE_{tenant['billing']}")
            record = billing_pb2.BillingRecord(state=state, plan_id=tenant.get("plan"))
        return billing_pb2.FindBillingResponse(record=record)


@contextmanager
def one_record(context: grpc.ServicerContext) -> Iterator[None]:
    """What goes wrong in here is the fault of one tenant's record, and DATA_LOSS says so.

    Left alone it would be UNKNOWN: a few look-ups of one damaged tenant would open the circuit breaker for all of them.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        context.abort(grpc.StatusCode.DATA_LOSS, f"the tenant's record cannot be read: {type(error).__name__}")


def main(listen: str, path: str) -> None:
    """Serve until the process is ended."""
    tenants = Tenants(Path(path))
    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    lifecycle_pb2_grpc.add_LifecycleServiceServicer_to_server(Lifecycle(tenants), server)
    billing_pb2_grpc.add_BillingServiceServicer_to_server(Billing(tenants), server)
    port = server.add_insecure_port(listen)
    server.start()
    print(f"serving on port {port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
