"""Changes of tenants, standing and keys: the one way an administrator's wish becomes a fact.

Each change is written with its audit record, then made visible in this replica's caches, then told to the event log and the
metrics. Changes of one tenant are serialised here and again in the store: the second is judged against what the first left.
Where replicas share a store each follows what the others change.
"""

from extauthz.changes.billing import BillingChanges
from extauthz.changes.desk import Caches, Desk, FollowedCache, Stores
from extauthz.changes.follow import Follower
from extauthz.changes.keys import KeyChanges
from extauthz.changes.replicas import Replicas
from extauthz.changes.tenants import NewTenant, TenantChanges
from extauthz.changes.terminations import UnfinishedTerminations

__all__ = [
    "BillingChanges",
    "Caches",
    "Desk",
    "FollowedCache",
    "Follower",
    "KeyChanges",
    "NewTenant",
    "Replicas",
    "Stores",
    "TenantChanges",
    "UnfinishedTerminations",
]
