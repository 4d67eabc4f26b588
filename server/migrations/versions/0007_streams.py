"""Streams whose names are as long as names may be, and the spool that the ledger belongs to."""

import sqlalchemy as sa

from loaders.records import INNODB, Exact, LongText
from server.migrations.steps import make_table, widen
from server.schema import Moment

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Widen the streams' names, and make the table that says where the bytes are."""
    widen("inbox_stream", "name", Exact(120))
    make_table(
        "inbox_home",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node", Exact(64), nullable=False),
        sa.Column("place", LongText(), nullable=False),
        sa.Column("since", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **INNODB,
    )
