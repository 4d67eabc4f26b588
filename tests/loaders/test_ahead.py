"""A statement that the server works on while we go on is waited for before anything else (contract L1)."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import IntegrityError, OperationalError

from loaders.dialects import ahead
from server.database import Database, passes_by_itself
from tests.support.mariadb import PrivateMariaDB

PUT = "INSERT INTO numbers VALUES (1)"
COUNT = "SELECT count(*) FROM numbers"


@pytest.fixture
def database(mariadb: PrivateMariaDB) -> Iterator[Database]:
    """A database with an empty table of numbers, each of which is allowed once."""
    made = Database(make_url(mariadb.create_schema("ahead")))
    with made.write("making the table") as connection:
        connection.exec_driver_sql("CREATE TABLE numbers (number INT PRIMARY KEY) ENGINE=InnoDB")
    yield made
    made.close()
    mariadb.drop_schema("ahead")


def count(connection: Connection) -> int:
    return int(connection.exec_driver_sql(COUNT).scalar_one())


def test_what_was_begun_is_there_for_the_next_statement(database: Database) -> None:
    with database.write("beginning") as connection:
        ahead.begin(connection, "INSERT INTO numbers SELECT seq FROM seq_1_to_20000")
        assert count(connection) == 20_000
        ahead.begin(connection, "DELETE FROM numbers WHERE number > 5")
        ahead.begin(connection, "INSERT INTO numbers VALUES (6)")
        assert count(connection) == 6


def test_a_commit_waits_and_a_rollback_takes_back(database: Database) -> None:
    with database.write("beginning") as connection:
        ahead.begin(connection, PUT)
    with database.engine.connect() as connection:
        ahead.begin(connection, "INSERT INTO numbers VALUES (2)")
        connection.rollback()
        assert count(connection) == 1


def test_an_error_of_what_was_begun_is_raised_by_the_next_statement(database: Database) -> None:
    with database.engine.connect() as connection:
        ahead.begin(connection, PUT)
        ahead.begin(connection, PUT)
        with pytest.raises(IntegrityError, match="Duplicate entry"):
            count(connection)
        assert count(connection) == 1, "the connection is as good as before"


def put_twice(database: Database, then: type[Exception] | None = None) -> None:
    with database.write("beginning") as connection:
        connection.exec_driver_sql(PUT)
        ahead.begin(connection, PUT)
        if then is not None:
            raise then


def test_an_error_of_what_was_begun_forbids_the_commit(database: Database) -> None:
    with pytest.raises(IntegrityError):
        put_twice(database)
    with database.read() as connection:
        assert count(connection) == 0


def test_a_rollback_passes_over_an_error_of_what_was_begun(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        put_twice(database, then=ZeroDivisionError)
    with database.read() as connection:
        assert count(connection) == 0


def test_a_connection_that_is_cut_meanwhile_is_told_as_any_other(database: Database) -> None:
    with database.engine.connect() as connection, database.engine.connect() as other:
        number = connection.exec_driver_sql("SELECT connection_id()").scalar_one()
        ahead.begin(connection, "INSERT INTO numbers SELECT SLEEP(600)")
        other.exec_driver_sql(f"KILL {int(number)}")
        with pytest.raises(OperationalError) as told:
            count(connection)
    assert passes_by_itself(told.value)
