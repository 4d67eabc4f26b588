"""Which FULLs an operator has released before their hours."""

import sqlalchemy as sa

from server.migrations.steps import add_column

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column for an operator's release."""
    add_column("inbox_file", sa.Column("released", sa.SmallInteger(), nullable=True))
