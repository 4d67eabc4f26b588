"""What mail needs: whom and when an incident was told, and a queue."""

import sqlalchemy as sa
from alembic import op

from loaders.records import INNODB, BigId, Exact, LongText
from server.migrations.steps import add_column, make_index, make_table
from server.schema import Moment

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the queue, and the columns by which mail knows what it has said."""
    add_column("inbox_incident", sa.Column("source", Exact(30), nullable=True))
    add_column("inbox_incident", sa.Column("file_id", BigId, nullable=True))
    add_column("inbox_incident", sa.Column("told", sa.Integer(), nullable=True))
    add_column("inbox_incident", sa.Column("told_at", Moment, nullable=True))
    op.execute("UPDATE inbox_incident SET told = 0 WHERE open = 1 AND told IS NULL")
    make_index("inbox_incident_told", "inbox_incident", ["told"], unique=False)
    make_index("inbox_file_arrival", "inbox_file", ["source", "api", "received_at"], unique=False)
    make_table(
        "inbox_mail",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("message_id", Exact(255), nullable=False),
        sa.Column("purpose", Exact(10), nullable=False),
        sa.Column("subject", Exact(255), nullable=False),
        sa.Column("recipients", LongText(), nullable=False),
        sa.Column("remaining", LongText(), nullable=False),
        sa.Column("message", LongText(), nullable=False),
        sa.Column("queued_at", Moment, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_at", Moment, nullable=True),
        sa.Column("sent_at", Moment, nullable=True),
        sa.Column("error", Exact(500), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("message_id"),
        **INNODB,
    )
    make_index("inbox_mail_retry", "inbox_mail", ["retry_at"], unique=False)
    make_index("inbox_mail_queued", "inbox_mail", ["queued_at"], unique=False)
