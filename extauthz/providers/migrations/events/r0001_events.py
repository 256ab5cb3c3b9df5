"""Events, and how many of them retention has removed.

The table has a rowid in the order of arrival, so that the oldest events lie together and removing them frees whole pages.
Types, sources and severities are plain text without CHECK: a reader has to cope with a word that it does not know.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _create_events()
    _create_retention()
    _forbid("events_no_update", "UPDATE")
    _forbid("events_no_delete", "DELETE", "WHEN NOT EXISTS (SELECT 1 FROM retention WHERE running)")
    # An event that is here already is passed over, whatever the statement says should happen on a conflict: REPLACE would
    # delete the row that it replaces without asking the DELETE trigger.
    op.execute(
        "CREATE TRIGGER events_once BEFORE INSERT ON events"
        " WHEN EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id OR id = NEW.id)"
        " BEGIN SELECT RAISE(IGNORE); END"
    )


def _forbid(name: str, action: str, when: str = "") -> None:
    refuse = "SELECT RAISE(ABORT, 'events are append-only');"
    op.execute(f"CREATE TRIGGER {name} BEFORE {action} ON events {when} BEGIN {refuse} END")


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, nullable=False),
        sa.Column("timestamp", sa.REAL, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("event_source", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("actor_type", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.CheckConstraint("tenant_id <> ''", name="events_have_a_tenant"),
    )
    op.create_index("events_by_event_id", "events", ["event_id"], unique=True)
    op.create_index("events_by_tenant", "events", ["tenant_id", "timestamp", "event_id"])
    op.create_index("events_by_age", "events", ["timestamp"])


def _create_retention() -> None:
    op.create_table(
        "retention",
        sa.Column("running", sa.Boolean, nullable=False),
        sa.Column("removed", sa.Integer, nullable=False),
    )
    op.execute("INSERT INTO retention (running, removed) VALUES (0, 0)")
