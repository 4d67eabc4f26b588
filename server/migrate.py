"""Making and growing the schema: the ledger by Alembic, the target tables from the catalog.

Both only ever add. It is done at the start of the loader and of any command that finds the schema missing or
old; one process at a time does it. MariaDB commits around DDL, so each step must be harmless when repeated.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, inspect, select, table, text
from sqlalchemy.schema import Column

from loaders import growth
from loaders.growth import Change, GrowthConflict
from loaders.records import metadata
from loaders.shapes import Catalog
from server.database import Database
from server.errors import InboxError, SettingsError, TemporaryFault

MIGRATIONS = Path(__file__).parent / "migrations"

# The newest file in `migrations/versions`; a test compares. Asking Alembic would cost every command 0.3 s.
HEAD = "0007"

_LOCK_SECONDS = 60

log = logging.getLogger("server.migrate")


def prepare(database: Database, catalog: Catalog) -> list[Change]:
    """Make what is missing of ledger and tables; returns what was added to the tables.

    Raises:
        InboxError: the ledger is of a later version than this program.
        SettingsError: the tables cannot be made as the catalog wants them.
        DBAPIError: as the database says.
    """
    with _one_at_a_time(database) as connection:
        found = _version(connection)
        if found != HEAD:
            if found is not None and found > HEAD:
                raise InboxError(
                    f"The ledger is of version {found}; this program knows {HEAD}.",
                    kept="Nothing was changed.",
                    todo="Run the newer program.",
                )
            _upgrade(connection)
        with _told_as_settings():
            added = growth.grow(connection, catalog)
    for change in added:
        log.info("%s", change, extra={"action": "grow"})
    return added


def to_add(database: Database, catalog: Catalog) -> list[Change]:
    """What `prepare` would add to the tables; nothing is changed.

    Raises:
        SettingsError: the tables cannot be made as the catalog wants them.
        DBAPIError: as the database says.
    """
    with _told_as_settings():
        if database.is_sqlite and not Path(str(database.url.database)).exists():
            # To look at it would make it.
            with create_engine("sqlite://").connect() as nothing:
                return growth.missing(nothing, catalog)
        with database.read() as connection:
            return growth.missing(connection, catalog)


def is_prepared(database: Database) -> bool:
    """Whether the ledger is there and of this program's version."""
    with database.read() as connection:
        return _version(connection) == HEAD


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.execute(
        select(table("alembic_version", Column("version_num")))
    ).scalar_one_or_none()
    return version


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - slow to import, and rarely needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    command.upgrade(config, "head")


@contextmanager
def _told_as_settings() -> Iterator[None]:
    """A catalog that the tables cannot follow is the settings' mistake, and mended there."""
    try:
        yield
    except GrowthConflict as conflict:
        raise SettingsError(list(conflict.mistakes)) from None


@contextmanager
def _one_at_a_time(database: Database) -> Iterator[Connection]:
    with database.write("making the tables") as connection:
        if database.is_sqlite:
            yield connection
            return
        name = {"name": f"kore_inbox_schema_{database.url.database}"[:64]}
        taken = connection.execute(text("SELECT GET_LOCK(:name, :wait)"), {**name, "wait": _LOCK_SECONDS})
        if taken.scalar_one() != 1:
            raise TemporaryFault(
                "Another process has been changing the schema for a minute.", todo="Try again."
            )
        try:
            yield connection
        finally:
            # With a connection that was lost the lock has gone too; to ask would hide why.
            if not connection.invalidated:
                connection.execute(text("SELECT RELEASE_LOCK(:name)"), name)
