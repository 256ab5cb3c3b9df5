"""Changes of tenants, standing and keys: the one way an administrator's wish becomes a fact.

Each change is written with its audit record, then made visible in this replica's caches, then told to the event log and the
metrics. Changes of one tenant are serialised here and again in the store: the second is judged against what the first left.
"""

from extauthz.changes.billing import BillingChanges
from extauthz.changes.desk import Caches, Desk, Stores
from extauthz.changes.keys import KeyChanges
from extauthz.changes.tenants import NewTenant, TenantChanges

__all__ = ["BillingChanges", "Caches", "Desk", "KeyChanges", "NewTenant", "Stores", "TenantChanges"]
