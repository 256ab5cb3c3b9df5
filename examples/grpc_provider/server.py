"""Tenants and their standing from a JSON file, as lifecycle and billing provider of extauthz over gRPC.

python -m grpc_tools.protoc -I ../../protos --python_out=. --grpc_python_out=. ../../protos/extauthz/provider/v1/*.proto
python server.py 127.0.0.1:9292 tenants.json
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from extauthz.provider.v1 import billing_pb2, billing_pb2_grpc, lifecycle_pb2, lifecycle_pb2_grpc


class Tenants:
    """The file, read anew for each question: extauthz asks about once in five seconds for each tenant."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, tenant_id: str) -> dict[str, Any] | None:
        """What is known of a tenant, None where there is none."""
        return json.loads(self._path.read_text()).get(tenant_id)


class Lifecycle(lifecycle_pb2_grpc.LifecycleServiceServicer):
    """May this tenant run at all?"""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants

    def FindLifecycle(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the contract's name
        """The state, or in so many words that there is no such tenant. An empty answer would be neither."""
        tenant = self._tenants.find(request.tenant_id)
        if tenant is None:
            return lifecycle_pb2.FindLifecycleResponse(no_such_tenant=lifecycle_pb2.NoSuchTenant())
        onboarding = "COMPLETE" if tenant.get("onboarded", True) else "PENDING"
        record = lifecycle_pb2.LifecycleRecord(
            state=_number(lifecycle_pb2.LifecycleState, f"LIFECYCLE_STATE_{tenant['state']}", context),
            onboarding=_number(lifecycle_pb2.Onboarding, f"ONBOARDING_{onboarding}", context),
        )
        return lifecycle_pb2.FindLifecycleResponse(record=record)


class Billing(billing_pb2_grpc.BillingServiceServicer):
    """Is the tenant in good standing, and on which plan?"""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants

    def FindBilling(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the contract's name
        """The standing; a plan that is left out is the default one."""
        tenant = self._tenants.find(request.tenant_id)
        if tenant is None or "billing" not in tenant:
            return billing_pb2.FindBillingResponse(no_standing=billing_pb2.NoStanding())
        state = _number(billing_pb2.BillingState, f"BILLING_STATE_{tenant['billing']}", context)
        record = billing_pb2.BillingRecord(state=state, plan_id=tenant.get("plan"))
        return billing_pb2.FindBillingResponse(record=record)


def _number(enum: Any, name: str, context: grpc.ServicerContext) -> int:
    """The number of a name. One that the contract lacks is the fault of this one record: DATA_LOSS says so."""
    if name not in enum.keys():  # noqa: SIM118 - an enum of protobuf is no dict
        context.abort(grpc.StatusCode.DATA_LOSS, f"the file says {name}, which is none")
    return enum.Value(name)


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
