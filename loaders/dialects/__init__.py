"""What is particular to a database: how rows are joined into a table, and at what speed (contract L7.1).

`Upsert` says what is to be done; `sqlite` and `mariadb` write the statement. The rows go to the driver as
they are, through SQLAlchemy's connection and in its transaction. Identifiers come from the catalog and are
quoted; values are always bound. The numbers of streams in a statement are integers of ours, never text.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from loaders.dialects import mariadb, sqlite
from loaders.dialects.upsert import UnsafeSettings, Upsert, Winner

__all__ = ["UnsafeSettings", "Upsert", "Winner", "check", "run"]


def run(connection: Connection, upsert: Upsert, rows: Sequence[tuple[Any, ...]]) -> None:
    """Join rows into their table; errors of the database are not caught."""
    if rows:
        dialect = sqlite if _is_sqlite(connection) else mariadb
        statement = dialect.statement(upsert, connection.dialect.identifier_preparer.quote)
        connection.exec_driver_sql(statement, list(rows))


def check(connection: Connection) -> None:
    """Raise UnsafeSettings if the connection would alter values instead of refusing them."""
    if not _is_sqlite(connection):
        mariadb.check(connection)


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"
