"""Tenants, billing standing, API keys, the audit trail, planned terminations, changes and leases.

States are plain text without CHECK: a reader has to cope with a state it does not know in any case (a newer version beside it
in a rolling upgrade may write one). There are no foreign keys between the tables: each of the three providers may live in
another store. Ids are compared byte by byte (COLLATE "C"): their order is the same on every machine.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "extauthz"
Id = sa.Text(collation="C")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "tenants",
        sa.Column("tenant_id", Id, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("onboarding", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "billing",
        sa.Column("tenant_id", Id, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("plan_id", sa.Text, nullable=True),
        schema=SCHEMA,
    )
    _create_api_keys()
    _create_audit()
    _create_planned_terminations()
    _create_changes()


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", Id, primary_key=True),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("mac_pepper", sa.Text, nullable=False),
        sa.Column("hash_pepper", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=True),
        sa.Column("last_used_at", sa.Double, nullable=True),
        sa.Column("revoked_at", sa.Double, nullable=True),
        schema=SCHEMA,
    )
    op.create_index("api_keys_by_tenant", "api_keys", ["tenant_id", "created_at", "key_id"], schema=SCHEMA)


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("before_value", sa.Text, nullable=False),
        sa.Column("after_value", sa.Text, nullable=False),
        sa.Column("actor_type", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        schema=SCHEMA,
    )
    op.create_index("audit_by_tenant", "audit", ["tenant_id", "id"], schema=SCHEMA)
    op.execute(f"""
        CREATE FUNCTION {SCHEMA}.audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$
    """)
    op.execute(f"""
        CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.audit
        FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.audit_is_append_only()
    """)


def _create_planned_terminations() -> None:
    op.create_table(
        "planned_terminations",
        sa.Column("tenant_id", Id, primary_key=True),
        sa.Column("actor_type", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        schema=SCHEMA,
    )


def _create_changes() -> None:
    op.create_table(
        "changes",
        sa.Column("seq", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("id", Id, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "replicas",
        sa.Column("replica", Id, primary_key=True),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        schema=SCHEMA,
    )
