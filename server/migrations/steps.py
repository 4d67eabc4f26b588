"""Steps of a migration that are harmless when repeated.

MariaDB commits each of them by itself, so a migration that was cut off is begun again from its first step.
"""

from typing import Any

from alembic import op
from sqlalchemy import Column, inspect
from sqlalchemy.types import TypeEngine


def make_table(name: str, *parts: Any, **options: Any) -> None:
    """Create a table, unless it is there."""
    if not inspect(op.get_bind()).has_table(name):
        op.create_table(name, *parts, **options)


def make_index(name: str, table: str, columns: list[str], *, unique: bool) -> None:
    """Create an index, unless it is there."""
    if name not in {index["name"] for index in inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns, unique=unique)


def widen(table: str, column: str, to: TypeEngine[Any]) -> None:
    """Let a column that is never NULL hold longer texts; SQLite makes the table anew for it."""
    with op.batch_alter_table(table) as batch:
        batch.alter_column(column, type_=to, existing_nullable=False)


def add_column(table: str, column: Column[Any]) -> None:
    """Add a column, unless it is there."""
    if column.name not in {known["name"] for known in inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)
