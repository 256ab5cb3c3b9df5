"""The calls of the provider contracts: one table for the client (remote) and the server (serve)."""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from extauthz._gen.provider.v1 import administration_pb2 as admin
from extauthz._gen.provider.v1 import billing_pb2 as billing
from extauthz._gen.provider.v1 import credentials_pb2 as credentials
from extauthz._gen.provider.v1 import events_pb2 as events
from extauthz._gen.provider.v1 import lifecycle_pb2 as lifecycle
from extauthz._gen.provider.v1 import protection_pb2 as protection
from extauthz._gen.provider.v1 import replicas_pb2 as replicas

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

PACKAGE: Final = "extauthz.provider.v1"
_ADMINISTRATION: Final = frozenset({"AuditService", "LeaseService"})


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Q, A]):
    """One call: its service and method, and the messages that go and come."""

    service: str
    method: str
    request: type[Q]
    answer: type[A]

    @property
    def administers(self) -> bool:
        """Whether it is about what an operator or a replica of this service changes, not about what is asked for a request."""
        return self.service.endswith("AdminService") or self.service in _ADMINISTRATION or self.method == "ClearUsage"

    @property
    def path(self) -> str:
        """What travels."""
        return f"/{PACKAGE}.{self.service}/{self.method}"


FIND_KEY: Final = Rpc("CredentialService", "FindKey", credentials.FindKeyRequest, credentials.FindKeyResponse)
RECORD_USES: Final = Rpc(
    "CredentialService", "RecordUses", credentials.RecordUsesRequest, credentials.RecordUsesResponse
)
FIND_LIFECYCLE: Final = Rpc(
    "LifecycleService", "FindLifecycle", lifecycle.FindLifecycleRequest, lifecycle.FindLifecycleResponse
)
FIND_BILLING: Final = Rpc("BillingService", "FindBilling", billing.FindBillingRequest, billing.FindBillingResponse)

CHARGE: Final = Rpc("ProtectionService", "Charge", protection.ChargeRequest, protection.ChargeResponse)
GET_USAGE: Final = Rpc("ProtectionService", "GetUsage", protection.GetUsageRequest, protection.GetUsageResponse)
RECORD_USAGE: Final = Rpc(
    "ProtectionService", "RecordUsage", protection.RecordUsageRequest, protection.RecordUsageResponse
)
CLEAR_USAGE: Final = Rpc("ProtectionService", "ClearUsage", protection.ClearUsageRequest, protection.ClearUsageResponse)

APPEND_EVENTS: Final = Rpc("EventService", "AppendEvents", events.AppendEventsRequest, events.AppendEventsResponse)
QUERY_EVENTS: Final = Rpc("EventService", "QueryEvents", events.QueryEventsRequest, events.QueryEventsResponse)
GET_SIZE: Final = Rpc("EventService", "GetSize", events.GetSizeRequest, events.GetSizeResponse)

LIST_HISTORY: Final = Rpc("AuditService", "ListHistory", admin.ListHistoryRequest, admin.ListHistoryResponse)
ADD_RECORDS: Final = Rpc("AuditService", "AddRecords", admin.AddRecordsRequest, admin.AddRecordsResponse)

CREATE_TENANT: Final = Rpc(
    "LifecycleAdminService", "CreateTenant", admin.CreateTenantRequest, admin.CreateTenantResponse
)
IMPORT_TENANTS: Final = Rpc(
    "LifecycleAdminService", "ImportTenants", admin.ImportTenantsRequest, admin.ImportTenantsResponse
)
GET_TENANT: Final = Rpc("LifecycleAdminService", "GetTenant", admin.GetTenantRequest, admin.GetTenantResponse)
LIST_TENANTS: Final = Rpc("LifecycleAdminService", "ListTenants", admin.ListTenantsRequest, admin.ListTenantsResponse)
SET_ONBOARDING: Final = Rpc(
    "LifecycleAdminService", "SetOnboarding", admin.SetOnboardingRequest, admin.SetOnboardingResponse
)
TRANSITION_TENANT: Final = Rpc(
    "LifecycleAdminService", "TransitionTenant", admin.TransitionTenantRequest, admin.TransitionTenantResponse
)
PLAN_TERMINATION: Final = Rpc(
    "LifecycleAdminService", "PlanTermination", admin.PlanTerminationRequest, admin.PlanTerminationResponse
)
LIST_PLANNED_TERMINATIONS: Final = Rpc(
    "LifecycleAdminService",
    "ListPlannedTerminations",
    admin.ListPlannedTerminationsRequest,
    admin.ListPlannedTerminationsResponse,
)

SET_BILLING: Final = Rpc("BillingAdminService", "SetBilling", admin.SetBillingRequest, admin.SetBillingResponse)
FIND_STANDINGS: Final = Rpc(
    "BillingAdminService", "FindStandings", admin.FindStandingsRequest, admin.FindStandingsResponse
)

ISSUE_KEY: Final = Rpc("CredentialAdminService", "IssueKey", admin.IssueKeyRequest, admin.IssueKeyResponse)
LIST_KEYS: Final = Rpc("CredentialAdminService", "ListKeys", admin.ListKeysRequest, admin.ListKeysResponse)
REVOKE_KEY: Final = Rpc("CredentialAdminService", "RevokeKey", admin.RevokeKeyRequest, admin.RevokeKeyResponse)
REVOKE_ALL_KEYS: Final = Rpc(
    "CredentialAdminService", "RevokeAllKeys", admin.RevokeAllKeysRequest, admin.RevokeAllKeysResponse
)

GET_LAST_CHANGE: Final = Rpc(
    "ChangeService", "GetLastChange", replicas.GetLastChangeRequest, replicas.GetLastChangeResponse
)
LIST_CHANGES: Final = Rpc("ChangeService", "ListChanges", replicas.ListChangesRequest, replicas.ListChangesResponse)
WAIT_FOR_CHANGE: Final = Rpc(
    "ChangeService", "WaitForChange", replicas.WaitForChangeRequest, replicas.WaitForChangeResponse
)
RENEW_LEASE: Final = Rpc("LeaseService", "RenewLease", replicas.RenewLeaseRequest, replicas.RenewLeaseResponse)
END_LEASE: Final = Rpc("LeaseService", "EndLease", replicas.EndLeaseRequest, replicas.EndLeaseResponse)
LIST_REPLICAS_BEHIND: Final = Rpc(
    "LeaseService", "ListReplicasBehind", replicas.ListReplicasBehindRequest, replicas.ListReplicasBehindResponse
)

LOOKUPS: Final[frozenset[Rpc[Message, Message]]] = frozenset(
    (FIND_KEY, FIND_LIFECYCLE, FIND_BILLING, CHARGE, APPEND_EVENTS)  # type: ignore[arg-type] # an Rpc of special messages is one of messages
)
"""What the service cannot do without: no status of theirs means "that is not permitted"."""
