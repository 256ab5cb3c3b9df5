r"""Events, and what retention has to know: how much there is, and how many were removed.

Types, sources and severities are plain text without CHECK: a reader has to cope with a word that it does not know. Texts may
hold what PostgreSQL's cannot (NUL), so they are written with `\0` for it and `\\` for a backslash; the payload is JSON.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "extauthz"
Id = sa.Text(collation="C")
SIZE = """
    200 + 3 * octet_length(event_id) + 2 * octet_length(tenant_id) + octet_length(actor_id) + octet_length(request_id)
        + octet_length(trace_id) + octet_length(payload)
"""
"""Bytes of an event, its places in the indexes included; an estimate that never depends on how it is stored."""


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "events",
        sa.Column("timestamp", sa.Double, nullable=False),
        sa.Column("event_id", Id, primary_key=True),
        sa.Column("tenant_id", Id, sa.CheckConstraint("tenant_id <> ''", name="events_have_a_tenant"), nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("event_source", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("actor_type", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, sa.Computed(SIZE, persisted=True)),
        schema=SCHEMA,
    )
    op.create_index("events_by_tenant", "events", ["tenant_id", "timestamp", "event_id"], schema=SCHEMA)
    op.create_index("events_by_age", "events", ["timestamp", "event_id"], schema=SCHEMA)
    # The oldest go all the time, so what they leave is to be used again soon.
    op.execute(f"ALTER TABLE {SCHEMA}.events SET (autovacuum_vacuum_scale_factor = 0.02)")
    _forbid_changes()
    _create_retention()
    _create_append()


def _forbid_changes() -> None:
    """For every caller; retention says in its own transaction that it is at work."""
    op.execute(f"""
        CREATE FUNCTION {SCHEMA}.events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND current_setting('extauthz.retention', true) = 'on' THEN
                RETURN NULL;
            END IF;
            RAISE EXCEPTION 'events are append-only';
        END $$
    """)
    op.execute(f"""
        CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.events
        FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.events_are_append_only()
    """)


def _create_retention() -> None:
    op.create_table(
        "retention",
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("removed", sa.BigInteger, nullable=False),
        schema=SCHEMA,
    )
    op.execute(f"INSERT INTO {SCHEMA}.retention (bytes, removed) VALUES (0, 0)")  # noqa: S608 - a name of ours


def _create_append() -> None:
    """A batch and what has to go for it, in one round trip: the deadline for writing leaves no time for several.

    As many events as came in are removed at once, `most` altogether. From the first UPDATE on other writers wait: each removes what the others left.
    """
    op.execute(f"""
        CREATE FUNCTION {SCHEMA}.append_events(
            timestamps float8[], event_ids text[], tenant_ids text[], types text[], sources text[], severities text[],
            actor_types text[], actor_ids text[], request_ids text[], trace_ids text[], payloads text[],
            max_size int8, most int8
        ) RETURNS int8 LANGUAGE plpgsql AS $$
        DECLARE
            batch int8 := cardinality(event_ids);
            change int8;
            gone int8;
            total int8;
            ended int8 := 0;
        BEGIN
            IF batch = 0 THEN
                RETURN 0;
            END IF;
            WITH added AS (
                INSERT INTO {SCHEMA}.events (
                    timestamp, event_id, tenant_id, event_type, event_source, severity, actor_type, actor_id, request_id,
                    trace_id, payload
                ) SELECT * FROM unnest(
                    timestamps, event_ids, tenant_ids, types, sources, severities, actor_types, actor_ids, request_ids,
                    trace_ids, payloads
                ) ON CONFLICT DO NOTHING RETURNING size
            ) SELECT coalesce(sum(size), 0) INTO change FROM added;
            UPDATE {SCHEMA}.retention AS r SET bytes = r.bytes + change RETURNING r.bytes INTO total;
            WHILE total > max_size AND ended < most LOOP
                PERFORM set_config('extauthz.retention', 'on', true);
                WITH deleted AS (
                    DELETE FROM {SCHEMA}.events AS e WHERE e.event_id IN (
                        SELECT o.event_id FROM {SCHEMA}.events AS o ORDER BY o.timestamp, o.event_id LIMIT batch
                    ) RETURNING e.size
                ) SELECT count(*), coalesce(sum(size), 0) INTO gone, change FROM deleted;
                EXIT WHEN gone = 0;
                UPDATE {SCHEMA}.retention AS r SET bytes = r.bytes - change, removed = r.removed + gone
                    RETURNING r.bytes INTO total;
                ended := ended + gone;
            END LOOP;
            RETURN ended;
        END $$
    """)  # noqa: S608 - names of ours
