"""What is particular to a database: how rows are joined into a table, and at what speed (contract L7.1).

`Upsert` says what is to be done; `sqlite` and `mariadb` do it, each in the quickest way it has. The rows go
to the driver as they are, through SQLAlchemy's connection and in its transaction. Identifiers come from the
catalog and are quoted; values are bound, or streamed apart from the statement. The numbers of streams in a
statement are integers of ours, never text.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine

from loaders.dialects import sqlite
from loaders.dialects.upsert import UnsafeSettings, Upsert, ValuesAltered, Winner

__all__ = ["UnsafeSettings", "Upsert", "ValuesAltered", "Winner", "check", "enable", "finish", "run"]


def enable(engine: Engine) -> None:
    """Let the rest be used on an engine's connections."""
    if not _is_sqlite(engine):
        _mariadb().enable(engine)


def run(connection: Connection, upsert: Upsert, rows: Sequence[tuple[Any, ...]]) -> None:
    """Join rows into their table, in their order; errors of the database are not caught.

    MariaDB may still be at work afterwards: the connection's next statement waits for it, and has its error.
    Raises ValuesAltered if MariaDB would have kept anything but the values given; then nothing was joined.
    """
    if rows:
        (sqlite if _is_sqlite(connection) else _mariadb()).run(connection, upsert, rows)


def finish(connection: Connection) -> None:
    """Wait for all that `run` has begun, and clear up after it; the last errors are raised here."""
    if not _is_sqlite(connection):
        _mariadb().finish(connection)


def check(connection: Connection) -> None:
    """Raise UnsafeSettings if the connection would alter values instead of refusing them."""
    if not _is_sqlite(connection):
        _mariadb().check(connection)


def _is_sqlite(database: Connection | Engine) -> bool:
    return database.dialect.name == "sqlite"


def _mariadb() -> ModuleType:
    # With its driver it takes 9 MiB, in each process, of which SQLite needs nothing.
    from loaders.dialects import mariadb  # noqa: PLC0415

    return mariadb
