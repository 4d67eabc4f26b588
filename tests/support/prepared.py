"""Databases as `prepare` leaves them, made once in a test run's process and copied from then on.

To make the ledger and the tables of all APIs takes a third of a second, and a thousand tests begin with it.
What `prepare` itself does is shown by the tests of `migrate`, and by each running inbox.
"""

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import inspect, make_url, text

from loaders.catalog import read_catalog
from server.database import Database
from server.migrate import prepare

CATALOG = read_catalog()

_made_on_mariadb: list[str] = []


def make_tables(database: Database) -> None:
    """Have the database as `prepare` with the package's own catalog would leave it."""
    if database.is_sqlite:
        _make_on_sqlite(database)
    elif _tables(database):
        prepare(database, CATALOG)
    elif _made_on_mariadb:
        with database.write("copying the tables") as connection:
            for statement in _made_on_mariadb:
                connection.exec_driver_sql(statement)
    else:
        prepare(database, CATALOG)
        _made_on_mariadb.extend(_statements(database))


def _make_on_sqlite(database: Database) -> None:
    place = Path(str(database.url.database))
    if place.exists():
        prepare(database, CATALOG)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(_made_on_sqlite())


@functools.cache
def _made_on_sqlite() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "inbox.sqlite"
        database = Database(make_url(f"sqlite:///{place}"))
        prepare(database, CATALOG)
        # The last one to close it puts all of the log into the file.
        database.close()
        return place.read_bytes()


def _statements(database: Database) -> Sequence[str]:
    """What makes all the tables of a fresh schema again, and the rows that they have from the start."""
    found = []
    with database.read() as connection:
        for name in inspect(connection).get_table_names():
            made = connection.execute(text(f"SHOW CREATE TABLE `{name}`")).one()
            found.append(made[1].replace("%", "%%"))
            rows = connection.execute(text(f"SELECT * FROM `{name}`")).all()
            assert all(len(row) == 1 for row in rows), f"{name} has rows that are not copied"
            found += [f"INSERT INTO `{name}` VALUES ('{row[0]}')" for row in rows]
    return ["SET SESSION foreign_key_checks = 0", *found, "SET SESSION foreign_key_checks = 1"]


def _tables(database: Database) -> Sequence[str]:
    with database.read() as connection:
        return inspect(connection).get_table_names()
