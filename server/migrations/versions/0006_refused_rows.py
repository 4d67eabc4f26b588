"""What closes the exception of refused rows: their keys, that they were made good or dismissed."""

import sqlalchemy as sa

from loaders.records import BigId, Exact
from server.migrations.steps import add_column, make_index

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns, and the index by which rows are found that nobody has made good."""
    add_column("inbox_rejected_row", sa.Column("row_key", Exact(700), nullable=True))
    add_column("inbox_rejected_row", sa.Column("made_good", sa.SmallInteger(), nullable=True))
    make_index("inbox_rejected_row_open", "inbox_rejected_row", ["made_good", "file_id"], unique=False)
    add_column("inbox_file", sa.Column("rows_dismissed", BigId, nullable=True))
