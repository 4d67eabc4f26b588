"""The ledger's schema: made by migrations, equal to what the code expects, on both databases."""

from collections.abc import Iterator

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, make_url, text

from loaders.catalog import read_catalog
from loaders.records import metadata
from server import schema
from server.database import Database
from server.errors import InboxError
from server.migrate import HEAD, MIGRATIONS, is_prepared, prepare

CATALOG = read_catalog()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(make_url(database_url))
    yield opened
    opened.close()


def test_the_migrations_make_what_the_code_expects(database: Database) -> None:
    prepare(database, CATALOG)
    with database.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_name": lambda name, kind, _: kind != "table" or str(name).startswith("inbox_"),
                "compare_type": True,
            },
        )
        assert compare_metadata(context, metadata) == []
        assert inspect(connection).has_table("order_lines")


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


def test_preparing_again_changes_nothing(database: Database) -> None:
    prepare(database, CATALOG)
    with database.write("a test") as connection:
        connection.execute(text("INSERT INTO inbox_lease VALUES (1, 'me', 'token', '2026-01-01')"))
    prepare(database, CATALOG)
    with database.read() as connection:
        assert connection.execute(schema.lease.select()).one().owner == "me"
    assert is_prepared(database)


class Killed(BaseException):
    """The process is gone."""


def test_a_migration_that_was_cut_off_at_any_step_is_begun_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MariaDB keeps the tables of a migration whose process died."""
    real = op.create_index
    left = 0

    def dies(*arguments: object, **options: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        real(*arguments, **options)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(op, "create_index", dies)
    for steps in range(100):
        left = steps
        try:
            prepare(database, CATALOG)
        except Killed:
            assert not is_prepared(database)
        else:
            break
    assert steps > 0, "it was cut off at least once"
    test_the_migrations_make_what_the_code_expects(database)


def test_a_ledger_of_a_newer_program_is_left_alone(database: Database) -> None:
    prepare(database, CATALOG)
    with database.write("a test") as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InboxError, match="version 9999"):
        prepare(database, CATALOG)
