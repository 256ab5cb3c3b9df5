"""What processes that share the file need: the changes, who follows them, and terminations that were begun.

AUTOINCREMENT keeps a change's number from being given again after it was pruned. When a change was made and a lease ends is told
in seconds since the machine was started: all who share the file run on it, and its calendar may jump. `boot` is which start that
was. The time of a planned termination is of the calendar (Unix seconds), as in its audit record.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "changes",
        sa.Column("seq", sa.Integer, primary_key=True, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("at", sa.REAL, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "replicas",
        sa.Column("replica", sa.Text, primary_key=True, nullable=False),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.Column("boot", sa.Text, nullable=False),
        sa.Column("expires_at", sa.REAL, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "planned_terminations",
        sa.Column("tenant_id", sa.Text, primary_key=True, nullable=False),
        sa.Column("actor_type", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.REAL, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
