"""The ledger's tables, `inbox_*`. Alembic makes them (`server/migrations`); a test compares the two.

The tables of refused and parked rows belong to `loaders.records`, which writes them in the same transaction
as the rows that went in.
"""

from sqlalchemy import Column, Index, Integer, SmallInteger, Table, text
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.types import DateTime

from loaders.records import INNODB, BigId, Exact, LongText, metadata
from server.names import MAX_LENGTH

# Microseconds on both databases; times are UTC without a zone, as neither database keeps one.
Moment = DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")


def _id() -> Column[int]:
    return Column("id", BigId, primary_key=True, autoincrement=True)


stream = Table(
    "inbox_stream",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    # A name without a sequence may be that of a stream, where each API counts by itself.
    Column("name", Exact(MAX_LENGTH), nullable=False, unique=True),
    Column("expected", BigId, nullable=False),
    # Order of first appearance unless set; where two streams write one row the higher wins (contract L7.1).
    Column("rank", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    **INNODB,
)

file = Table(
    "inbox_file",
    metadata,
    _id(),
    Column("receipt", Exact(40), nullable=False, unique=True),
    Column("name", Exact(255), nullable=False),
    Column("source", Exact(30)),
    Column("sequence", Integer),
    Column("integration", Exact(30)),
    Column("api", Exact(40)),
    Column("mode", Exact(4)),
    Column("stream_id", Integer),
    Column("version", BigId),
    # 1 while the file holds its number, else NULL: many NULLs may be equal, so a number has one holder (A7).
    Column("holder", SmallInteger),
    Column("state", Exact(12), nullable=False),
    # Why it is quarantined or refused: a code for rules, and a sentence for people.
    Column("cause", Exact(20)),
    # 1 when an operator has approved a FULL that would make much inactive (contract L6).
    Column("approved", SmallInteger),
    # 1 when an operator has released a FULL before its hours (contract D5).
    Column("released", SmallInteger),
    Column("reason", LongText),
    Column("size_bytes", BigId, nullable=False),
    Column("sha256", Exact(64), nullable=False),
    Column("sha256_lf", Exact(64), nullable=False),
    Column("data", Exact(100), nullable=False),
    Column("sender", Exact(100), nullable=False),
    Column("address", Exact(100), nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("registered_at", Moment, nullable=False),
    Column("loaded_at", Moment),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("retry_at", Moment),
    Column("rows_read", BigId),
    Column("rows_loaded", BigId),
    Column("rows_rejected", BigId),
    Column("rows_parked", BigId),
    # 1 from every change until its sender can read of it (contract E3), then NULL.
    Column("ack_due", SmallInteger),
    # So many refused rows an operator has seen and lets be.
    Column("rows_dismissed", BigId),
    Index("inbox_file_holder", "stream_id", "holder", "version", unique=True),
    Index("inbox_file_number", "source", "sequence"),
    Index("inbox_file_name", "name"),
    Index("inbox_file_state", "state", "stream_id", "version"),
    Index("inbox_file_digest", "sha256"),
    Index("inbox_file_arrival", "source", "api", "received_at"),
    Index("inbox_file_ack", "ack_due", "id"),
    **INNODB,
)

skip = Table(
    "inbox_skip",
    metadata,
    _id(),
    Column("stream_id", Integer, nullable=False),
    Column("first", BigId, nullable=False),
    Column("last", BigId, nullable=False),
    Column("skipped_by", Exact(100), nullable=False),
    Column("reason", LongText, nullable=False),
    Column("at", Moment, nullable=False),
    Index("inbox_skip_stream", "stream_id", "first"),
    **INNODB,
)

event = Table(
    "inbox_event",
    metadata,
    _id(),
    Column("file_id", BigId),
    Column("stream_id", Integer),
    Column("at", Moment, nullable=False),
    Column("event", Exact(20), nullable=False),
    Column("state", Exact(12)),
    Column("done_by", Exact(100)),
    Column("reason", LongText),
    Index("inbox_event_file", "file_id"),
    Index("inbox_event_stream", "stream_id"),
    **INNODB,
)

incident = Table(
    "inbox_incident",
    metadata,
    _id(),
    Column("kind", Exact(20), nullable=False),
    Column("subject", Exact(255), nullable=False),
    # Whose files it is about, and the file whose refused rows it is about.
    Column("source", Exact(30)),
    Column("file_id", BigId),
    # 1 while open, NULL when closed: one open incident for each kind and subject (contract E1).
    Column("open", SmallInteger),
    Column("happened", LongText, nullable=False),
    Column("kept", LongText, nullable=False),
    Column("todo", LongText, nullable=False),
    Column("first_seen", Moment, nullable=False),
    Column("last_seen", Moment, nullable=False),
    Column("count", Integer, nullable=False),
    Column("closed_at", Moment),
    # What the count was when people were last told by mail, and when that was; 0: they have yet to be told;
    # NULL: there is nothing more to tell.
    Column("told", Integer),
    Column("told_at", Moment),
    Index("inbox_incident_open", "open", "kind", "subject", unique=True),
    Index("inbox_incident_told", "told"),
    **INNODB,
)

mail = Table(
    "inbox_mail",
    metadata,
    _id(),
    # Said by what the mail is about, so that it is queued once, and the same at each try to send it.
    Column("message_id", Exact(255), nullable=False, unique=True),
    Column("purpose", Exact(10), nullable=False),
    Column("subject", Exact(255), nullable=False),
    # Whom it is for, and who of them has not got it yet: addresses, one a line.
    Column("recipients", LongText, nullable=False),
    Column("remaining", LongText, nullable=False),
    # As it goes out (RFC 5322), in ASCII.
    Column("message", LongText, nullable=False),
    Column("queued_at", Moment, nullable=False),
    Column("attempts", Integer, nullable=False),
    # Not before; while it is being sent, when another try may begin. NULL when it is sent or given up.
    Column("retry_at", Moment),
    Column("sent_at", Moment),
    Column("error", Exact(500)),
    Index("inbox_mail_retry", "retry_at"),
    Index("inbox_mail_queued", "queued_at"),
    **INNODB,
)

lease = Table(
    "inbox_lease",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("owner", Exact(64), nullable=False),
    Column("token", Exact(64), nullable=False),
    Column("expires_at", Moment, nullable=False),
    **INNODB,
)

# The one spool whose files the ledger speaks of, see `home`.
home = Table(
    "inbox_home",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("node", Exact(64), nullable=False),
    Column("place", LongText, nullable=False),
    Column("since", Moment, nullable=False),
    **INNODB,
)

unjoined = Table(
    "inbox_unjoined",
    metadata,
    Column("table_name", Exact(64), primary_key=True),
    Column("column_name", Exact(64), primary_key=True),
    Column("parent_table", Exact(64), nullable=False),
    Column("rows_unjoined", BigId, nullable=False),
    Column("counted_at", Moment, nullable=False),
    **INNODB,
)
