"""Which files have an answer due to their sender."""

import sqlalchemy as sa

from server.migrations.steps import add_column, make_index

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the mark, and the index by which the marked ones are found among all."""
    add_column("inbox_file", sa.Column("ack_due", sa.SmallInteger(), nullable=True))
    make_index("inbox_file_ack", "inbox_file", ["ack_due", "id"], unique=False)
