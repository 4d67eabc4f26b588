"""The ledger's first version."""

import sqlalchemy as sa

from loaders.records import INNODB, BigId, Exact, LongText
from server.migrations.steps import make_index, make_table
from server.schema import Moment

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table of the ledger."""
    make_table(
        "inbox_event",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("file_id", BigId, nullable=True),
        sa.Column("stream_id", sa.Integer(), nullable=True),
        sa.Column("at", Moment, nullable=False),
        sa.Column("event", Exact(20), nullable=False),
        sa.Column("state", Exact(12), nullable=True),
        sa.Column("done_by", Exact(100), nullable=True),
        sa.Column("reason", LongText(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        **INNODB,
    )
    make_index("inbox_event_file", "inbox_event", ["file_id"], unique=False)
    make_index("inbox_event_stream", "inbox_event", ["stream_id"], unique=False)
    make_table(
        "inbox_file",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("receipt", Exact(40), nullable=False),
        sa.Column("name", Exact(255), nullable=False),
        sa.Column("source", Exact(30), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=True),
        sa.Column("integration", Exact(30), nullable=True),
        sa.Column("api", Exact(40), nullable=True),
        sa.Column("mode", Exact(4), nullable=True),
        sa.Column("stream_id", sa.Integer(), nullable=True),
        sa.Column("version", BigId, nullable=True),
        sa.Column("holder", sa.SmallInteger(), nullable=True),
        sa.Column("state", Exact(12), nullable=False),
        sa.Column("cause", Exact(20), nullable=True),
        sa.Column("reason", LongText(), nullable=True),
        sa.Column("size_bytes", BigId, nullable=False),
        sa.Column("sha256", Exact(64), nullable=False),
        sa.Column("sha256_lf", Exact(64), nullable=False),
        sa.Column("data", Exact(100), nullable=False),
        sa.Column("sender", Exact(100), nullable=False),
        sa.Column("address", Exact(100), nullable=False),
        sa.Column("received_at", Moment, nullable=False),
        sa.Column("registered_at", Moment, nullable=False),
        sa.Column("loaded_at", Moment, nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("retry_at", Moment, nullable=True),
        sa.Column("rows_read", BigId, nullable=True),
        sa.Column("rows_loaded", BigId, nullable=True),
        sa.Column("rows_rejected", BigId, nullable=True),
        sa.Column("rows_parked", BigId, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("receipt"),
        **INNODB,
    )
    make_index("inbox_file_digest", "inbox_file", ["sha256"], unique=False)
    make_index("inbox_file_holder", "inbox_file", ["stream_id", "holder", "version"], unique=True)
    make_index("inbox_file_name", "inbox_file", ["name"], unique=False)
    make_index("inbox_file_number", "inbox_file", ["source", "sequence"], unique=False)
    make_index("inbox_file_state", "inbox_file", ["state", "stream_id", "version"], unique=False)
    make_table(
        "inbox_incident",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("kind", Exact(20), nullable=False),
        sa.Column("subject", Exact(255), nullable=False),
        sa.Column("open", sa.SmallInteger(), nullable=True),
        sa.Column("happened", LongText(), nullable=False),
        sa.Column("kept", LongText(), nullable=False),
        sa.Column("todo", LongText(), nullable=False),
        sa.Column("first_seen", Moment, nullable=False),
        sa.Column("last_seen", Moment, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("closed_at", Moment, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        **INNODB,
    )
    make_index("inbox_incident_open", "inbox_incident", ["open", "kind", "subject"], unique=True)
    make_table(
        "inbox_lease",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", Exact(64), nullable=False),
        sa.Column("token", Exact(64), nullable=False),
        sa.Column("expires_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **INNODB,
    )
    make_table(
        "inbox_parked_row",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("file_id", BigId, nullable=False),
        sa.Column("api", Exact(40), nullable=False),
        sa.Column("stream", sa.Integer(), nullable=False),
        sa.Column("version", BigId, nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("row_key", Exact(700), nullable=False),
        sa.Column("waits_table", Exact(64), nullable=False),
        sa.Column("waits_key", Exact(255), nullable=False),
        sa.Column("row_values", LongText(), nullable=False),
        sa.Column("raw", LongText(), nullable=False),
        sa.Column("parked_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **INNODB,
    )
    make_index("inbox_parked_row_file", "inbox_parked_row", ["file_id", "line"], unique=False)
    make_index("inbox_parked_row_key", "inbox_parked_row", ["api", "row_key"], unique=False)
    make_index("inbox_parked_row_waits", "inbox_parked_row", ["waits_table", "waits_key"], unique=False)
    make_table(
        "inbox_rejected_row",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("file_id", BigId, nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("field", Exact(100), nullable=True),
        sa.Column("reason", Exact(500), nullable=False),
        sa.Column("raw", LongText(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **INNODB,
    )
    make_index("inbox_rejected_row_file", "inbox_rejected_row", ["file_id", "line"], unique=False)
    make_table(
        "inbox_skip",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("first", BigId, nullable=False),
        sa.Column("last", BigId, nullable=False),
        sa.Column("skipped_by", Exact(100), nullable=False),
        sa.Column("reason", LongText(), nullable=False),
        sa.Column("at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **INNODB,
    )
    make_index("inbox_skip_stream", "inbox_skip", ["stream_id", "first"], unique=False)
    make_table(
        "inbox_stream",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", Exact(100), nullable=False),
        sa.Column("expected", BigId, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        **INNODB,
    )
    make_table(
        "inbox_unjoined",
        sa.Column("table_name", Exact(64), nullable=False),
        sa.Column("column_name", Exact(64), nullable=False),
        sa.Column("parent_table", Exact(64), nullable=False),
        sa.Column("rows_unjoined", BigId, nullable=False),
        sa.Column("counted_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("table_name", "column_name"),
        **INNODB,
    )
