"""Tenants, billing standing, API keys, and the audit trail.

States are plain text without CHECK: a reader has to cope with a state it does not know in any case (a newer version beside it
in a rolling upgrade may write one), and a CHECK could only be widened by rebuilding the table. There are no foreign keys
between the tables: each of the three providers may live in another store.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.Text, primary_key=True, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("onboarding", sa.Text, nullable=False),
        sa.Column("created_at", sa.REAL, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "billing",
        sa.Column("tenant_id", sa.Text, primary_key=True, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("plan_id", sa.Text, nullable=True),
        sqlite_with_rowid=False,
    )
    _create_api_keys()
    _create_audit()


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text, primary_key=True, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("mac_pepper", sa.Text, nullable=False),
        sa.Column("hash_pepper", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.REAL, nullable=False),
        sa.Column("expires_at", sa.REAL, nullable=True),
        sa.Column("last_used_at", sa.REAL, nullable=True),
        sa.Column("revoked_at", sa.REAL, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_index("api_keys_by_tenant", "api_keys", ["tenant_id", "created_at", "key_id"])


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("before_value", sa.Text, nullable=False),
        sa.Column("after_value", sa.Text, nullable=False),
        sa.Column("actor_type", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.REAL, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_by_tenant", "audit", ["tenant_id", "id"])
    _forbid("audit_no_update", "UPDATE")
    _forbid("audit_no_delete", "DELETE")
    # REPLACE deletes the row it replaces without asking the DELETE trigger.
    _forbid("audit_no_replace", "INSERT", "WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)")


def _forbid(name: str, action: str, when: str = "") -> None:
    refuse = "SELECT RAISE(ABORT, 'the audit trail is append-only');"
    op.execute(f"CREATE TRIGGER {name} BEFORE {action} ON audit {when} BEGIN {refuse} END")
