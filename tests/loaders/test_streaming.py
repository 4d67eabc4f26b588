"""Rows streamed to MariaDB arrive as they are or not at all, and no server gets a file (contract L3, X4)."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError

from loaders import dialects
from loaders.dialects import Upsert, ValuesAltered, Winner, streaming
from loaders.dialects import mariadb as dialect
from server.database import Database, is_away
from tests.loaders.store import Store, customer
from tests.support.mariadb import PrivateMariaDB

TABLE = """
CREATE TABLE things (
  code VARCHAR(20) COLLATE utf8mb4_nopad_bin PRIMARY KEY, parent VARCHAR(20) COLLATE utf8mb4_nopad_bin,
  said MEDIUMTEXT COLLATE utf8mb4_nopad_bin, number BIGINT, share DOUBLE,
  stream INT NOT NULL, version BIGINT NOT NULL, line INT NOT NULL, file_id BIGINT NOT NULL,
  FOREIGN KEY (parent) REFERENCES things (code)
) ENGINE=InnoDB CHARSET=utf8mb4
"""
DATA = ("code", "parent", "said", "number", "share")
MARKS = ("stream", "version", "line", "file_id")


def upsert(winner: Winner = Winner.HIGHEST) -> Upsert:
    return Upsert("things", ("code",), (*DATA, *MARKS), winner, beaten=(2,))


def thing(code: str, *, parent: str | None = None, said: str | None = None, line: int = 1) -> tuple[Any, ...]:
    return (code, parent, said, None, None, 1, 1, line, 1)


@pytest.fixture
def database(mariadb: PrivateMariaDB, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database with a table of things; even a single row is streamed."""
    monkeypatch.setattr(dialect, "STREAMED_ROWS", 1)
    monkeypatch.setattr(dialect, "_forbidding", set())
    made = Database(make_url(mariadb.create_schema("streaming")))
    with made.write("making the table") as connection:
        connection.exec_driver_sql(TABLE)
    yield made
    made.close()
    mariadb.drop_schema("streaming")


@contextmanager
def undone(database: Database) -> Iterator[Connection]:
    with database.engine.connect() as connection:
        yield connection
        connection.rollback()


def held(connection: Connection, columns: Sequence[str] = (*DATA, *MARKS)) -> list[tuple[Any, ...]]:
    found = connection.exec_driver_sql(f"SELECT {', '.join(columns)} FROM things ORDER BY code")
    return [tuple(row) for row in found]


# What escaping is about, among all the rest that a text can hold.
TEXTS = st.text(st.sampled_from("\\N\t\n\r'\"0bn %\u00e9\U0001f529") | st.characters(codec="utf-8"))
VALUES = st.tuples(
    st.none() | TEXTS,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    # MariaDB has neither infinities nor the zero with a sign; `fields` lets none of them through.
    st.none()
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False).map(lambda x: x + 0.0),
)


@given(st.lists(VALUES, min_size=1, max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_value_arrives_as_it_is(
    database: Database, values: list[tuple[str | None, int | None, float | None]]
) -> None:
    rows = [
        (f"{i:04}", None, said, number, share, 1, 1, i, 1) for i, (said, number, share) in enumerate(values)
    ]
    with undone(database) as connection:
        dialects.run(connection, upsert(), rows)
        assert held(connection) == rows


def test_null_its_escape_and_the_letters_of_it_are_told_apart(database: Database) -> None:
    said = [None, "", "N", r"\N", "\\", "\\\\N", "NULL", "\t", r"\t", "a\tb\nc", "\r\n", "0", "\\0"]
    with undone(database) as connection:
        dialects.run(connection, upsert(), [thing(f"{i:02}", said=text) for i, text in enumerate(said)])
        assert [row[0] for row in held(connection, ["said"])] == said


def test_a_large_value_goes_in_several_packets(database: Database) -> None:
    said = "\U0001f529\\" * 300_000
    with undone(database) as connection:
        dialects.run(connection, upsert(), [thing("A", said=said), thing("B", said="short")])
        assert held(connection, ["said"]) == [(said,), ("short",)]


MARKED = st.tuples(st.sampled_from("ABC"), st.integers(1, 3), st.integers(1, 9))


@pytest.mark.parametrize("winner", Winner)
@given(rows=st.lists(MARKED, min_size=1, max_size=12, unique=True), at=st.integers(0, 12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_one_key_the_same_row_stays_in_whatever_order_a_batch_has_them(
    database: Database, winner: Winner, rows: list[tuple[str, int, int]], at: int
) -> None:
    best = max if winner is Winner.HIGHEST else min
    expected = [
        (code, *best(mark for other, *mark in rows if other == code))
        for code in sorted({code for code, *_ in rows})
    ]
    written = [
        (code, None, f"{version}.{line}", None, None, 1, version, line, 1) for code, version, line in rows
    ]
    with undone(database) as connection:
        dialects.run(connection, upsert(winner), written[:at])
        dialects.run(connection, upsert(winner), written[at:])
        assert held(connection, ["code", "version", "line"]) == expected
        assert held(connection, ["said"]) == [(f"{version}.{line}",) for _, version, line in expected]


def test_rows_go_in_in_their_order_so_that_a_parent_may_come_just_before_its_child(
    database: Database,
) -> None:
    # Neither the order of the keys nor that of the sizes is the order of the rows.
    codes = [f"{(i * 7919) % 1000:04}" for i in range(1000)]
    rows = [
        thing(code, parent=parent, said="x" * (i % 7 * 500))
        for i, (code, parent) in enumerate(zip(codes, [None, *codes], strict=False))
    ]
    with undone(database) as connection:
        dialects.run(connection, upsert(), rows)
        assert len(held(connection)) == 1000


def test_a_value_that_does_not_fit_fails_the_load_and_nothing_goes_in(database: Database) -> None:
    with undone(database) as connection:
        dialects.run(connection, upsert(), [thing("A")])
        with pytest.raises(ValuesAltered, match="Data truncated"):
            dialects.run(connection, upsert(), [thing("B"), thing("C" * 21)])
        assert held(connection, ["code"]) == [("A",)]
        # What was left behind is not in the way of the next.
        dialects.run(connection, upsert(), [thing("D")])
        assert held(connection, ["code"]) == [("A",), ("D",)]


def test_streaming_does_not_end_the_transaction_that_it_is_in(database: Database) -> None:
    with undone(database) as connection:
        dialects.run(connection, upsert(), [thing("before")])
        savepoint = connection.begin_nested()
        dialects.run(connection, upsert(), [thing("after")])
        assert held(connection, ["code"]) == [("after",), ("before",)]
        savepoint.rollback()
        assert held(connection, ["code"]) == [("before",)]
    with database.read() as connection:
        assert held(connection) == []


def test_an_update_that_changes_nothing_counts_its_row_as_before(database: Database) -> None:
    # SQLAlchemy asks the server for that at connect, as we ask for the streaming: by flags of one number.
    with undone(database) as connection:
        dialects.run(connection, upsert(), [thing("A")])
        assert connection.exec_driver_sql("UPDATE things SET code = 'A'").rowcount == 1


@contextmanager
def without_local_infile(server: PrivateMariaDB) -> Iterator[None]:
    with server.cursor() as cursor:
        cursor.execute("SET GLOBAL local_infile = OFF")
        try:
            yield
        finally:
            cursor.execute("SET GLOBAL local_infile = ON")


def test_where_the_server_forbids_it_rows_go_as_text_and_it_is_said_once(
    database: Database, mariadb: PrivateMariaDB, caplog: pytest.LogCaptureFixture
) -> None:
    with without_local_infile(mariadb), undone(database) as connection:
        dialects.run(connection, upsert(), [thing("A")])
        dialects.run(connection, upsert(), [thing("B")])
        assert held(connection, ["code"]) == [("A",), ("B",)]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "local_infile=ON" in caplog.text


def test_a_user_who_may_make_no_temporary_tables_loads_as_well(
    database: Database, mariadb: PrivateMariaDB
) -> None:
    with mariadb.cursor() as cursor:
        cursor.execute("CREATE USER modest@localhost")
        cursor.execute("GRANT SELECT, INSERT, UPDATE ON streaming.* TO modest@localhost")
    modest = Database(database.url.set(username="modest"))
    try:
        with modest.write("loading") as connection:
            dialects.run(connection, upsert(), [thing("A")])
            assert held(connection, ["code"]) == [("A",)]
    finally:
        modest.close()
        with mariadb.cursor() as cursor:
            cursor.execute("DROP USER modest@localhost")


def test_whatever_file_the_server_asks_for_it_gets_the_rows(database: Database) -> None:
    with undone(database) as connection:
        statement = f"LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE things {streaming.FORMAT}"
        assert streaming.load(connection, statement, [thing("A")]) == 1
        assert held(connection, ["code"]) == [("A",)]


def test_a_server_that_asks_for_a_file_by_itself_gets_nothing(database: Database) -> None:
    with undone(database) as connection:
        # To the client this is any statement: that the answer asks for a file is up to the server.
        with pytest.raises(RuntimeError, match="local_infile option is false"):
            connection.exec_driver_sql("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE things (code)")
        connection.invalidate()
    with database.read() as connection:
        assert held(connection) == []


def test_a_connection_that_is_lost_in_mid_stream_is_told_as_such(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to what ends the stream in any case: it must not fail in a way that hides it."""
    with database.engine.connect() as connection:
        thread = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()

        def packets(_: Any) -> Iterator[bytes]:
            yield b"A\t\\N\t\\N\t\\N\t\\N\t1\t1\t1\t1\n"
            with database.engine.connect() as another:
                another.exec_driver_sql(f"KILL CONNECTION {thread}")
            # What is sent until the client sees it.
            while True:
                yield b"B\n" * 1000

        monkeypatch.setattr(streaming, "_packets", packets)
        with pytest.raises(DBAPIError) as failed:
            dialects.run(connection, upsert(), [thing("A")])
        assert is_away(failed.value)
    with database.read() as connection:
        assert held(connection) == []


def test_a_file_of_many_rows_is_loaded_by_streaming(store: Store) -> None:
    content = [customer(f"C{i}", name=f"Müller \\N {i}", site=f"S{i % 9}") for i in range(3000)]
    outcome = store.load("CUSTOMERS", content)
    assert outcome.rows_loaded == 3000
    assert store.rows("customers", "customer_number", "customer_name", "site_id") == sorted(
        (row[0], row[3], row[12]) for row in content
    )


def test_an_error_of_the_rows_before_is_not_taken_for_a_refusal_to_stream(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right that is missing on one table refuses its rows; those of another are streamed all the same."""
    no_parent = 1452
    monkeypatch.setattr(dialect, "_FORBIDDEN", {no_parent})
    with undone(database) as connection:
        dialects.run(connection, upsert(), [thing("A", parent="missing")])
        with pytest.raises(IntegrityError):
            dialects.run(connection, upsert(), [thing("B")])
        connection.rollback()
        dialects.run(connection, upsert(), [thing("B")])
        assert held(connection, ["code"]) == [("B",)], "the connection is as good as before"
