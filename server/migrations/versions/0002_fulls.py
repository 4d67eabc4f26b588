"""What FULLs need: mentions, barriers, approval."""

import sqlalchemy as sa

from loaders.records import INNODB, BigId, Exact
from server.migrations.steps import add_column, make_table

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables by which rows are active or not, and the column for an operator's approval."""
    make_table(
        "inbox_mention",
        sa.Column("table_name", Exact(64), nullable=False),
        sa.Column("stream", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("row_key", Exact(700), nullable=False),
        sa.Column("version", BigId, nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("file_id", BigId, nullable=False),
        sa.PrimaryKeyConstraint("table_name", "stream", "row_key"),
        **INNODB,
    )
    make_table(
        "inbox_barrier",
        sa.Column("api", Exact(40), nullable=False),
        sa.Column("stream", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", BigId, autoincrement=False, nullable=False),
        sa.Column("lifted", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("api", "stream", "version"),
        **INNODB,
    )
    add_column("inbox_file", sa.Column("approved", sa.SmallInteger(), nullable=True))
