"""A database server that falls silent without ending its connections (contract L9)."""

import ctypes
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import DBAPIError

from loaders.dialects import ahead
from server import dispatcher, half_open, notices
from server.database import Database, is_away
from tests.faults.test_database import commits
from tests.support.faults import Steps, living
from tests.support.inboxes import Bench
from tests.support.mariadb import PrivateMariaDB
from tests.support.running import free_port, until

CATEGORY = "DT_0000001_KS_CATEGORY.NET"

# Of Linux, in <asm-generic/socket.h>; Python has no name for it.
_SO_ATTACH_FILTER = 26


class Networked:
    """A server that is reached by TCP, as one on another machine is."""

    def __init__(self) -> None:
        self.port = free_port()
        networking = ("--skip-networking=0", "--bind-address=127.0.0.1", f"--port={self.port}")
        self.server = PrivateMariaDB(networking)

    def create_schema(self, schema: str) -> str:
        self.server.create_schema(schema)
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{schema}?charset=utf8mb4"

    def sleeps(self) -> bool:
        """Whether it is at work on a statement of ours."""
        with self.server.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM information_schema.processlist WHERE state = 'User sleep'")
            return cursor.fetchone() == (1,)


@pytest.fixture(scope="module")
def reachable() -> Iterator[Networked]:
    made = Networked()
    yield made
    made.server.remove()


@pytest.fixture
def networked(reachable: Networked) -> Iterator[Networked]:
    """The server, for as long as a test lasts."""
    reachable.server.start()
    yield reachable
    reachable.server.stop()


def driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def fall_silent(connection: Any) -> None:
    """Nothing of what the other side sends arrives any more, not even that it has received something."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)  # BPF's "return 0 bytes"
    connection._sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(drop_all))
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"IDLE_SECONDS": 1, "AGAIN_SECONDS": 1, "SILENCE_SECONDS": 2}.items():
        monkeypatch.setattr(half_open, name, seconds)


def test_a_connection_over_a_network_asks_whether_the_other_machine_is_still_there(
    networked: Networked,
) -> None:
    database = Database(make_url(networked.create_schema("asked")))
    with database.read() as connection:
        sock: socket.socket = driver(connection)._sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        found = [sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
        assert found == [30, 10, 6, 90_000]
        connection.exec_driver_sql("SELECT 1")
        assert sock.gettimeout() is None, "a load may take as long as it likes"
    database.close()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_falls_silent_while_its_answer_is_waited_for_is_away(networked: Networked) -> None:
    database = Database(make_url(networked.create_schema("silent")))
    with database.read() as connection:
        ahead.begin(connection, "DO SLEEP(600)")
        until(networked.sleeps, "it is at work", pause_seconds=0.25)
        fall_silent(driver(connection))
        with pytest.raises(DBAPIError) as failed:
            connection.exec_driver_sql("SELECT 1")
        assert is_away(failed.value)
    database.close()


@pytest.mark.usefixtures("impatient")
def test_a_load_whose_server_falls_silent_is_begun_anew(
    networked: Networked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it hear that what was sent has arrived."""
    monkeypatch.setattr(dispatcher, "AWAY_FIRST_SECONDS", 0.01)
    bench = Bench.make(tmp_path / "data", networked.create_schema("load"))
    bench.arrive(CATEGORY, b"A\tone\n")
    told: list[str] = []
    tell = dispatcher.Dispatcher._tell

    def note(loader: dispatcher.Dispatcher, error: BaseException, again_seconds: float) -> None:
        tell(loader, error, again_seconds)
        notice = notices.read(bench.spool, "loader")
        assert notice is not None
        told.append(notice.kind)

    def happen(connection: Any) -> None:
        steps.heal()
        fall_silent(connection)

    monkeypatch.setattr(dispatcher.Dispatcher, "_tell", note)
    steps = Steps(bench.database, happen)
    steps.when(lambda statement: statement.startswith("INSERT INTO category"))
    with living(bench):
        until(lambda: bench.states() == {CATEGORY: "loaded"}, "it is loaded")
    assert told[0] == "database away"
    assert commits(bench) == {CATEGORY: 1}
    bench.database.close()


def test_a_server_that_takes_a_connection_and_never_greets_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        database = Database(make_url(f"mysql+pymysql://root@127.0.0.1:{port}/any"), timeout_seconds=1)
        with pytest.raises(DBAPIError) as failed, database.read():
            pass
    assert is_away(failed.value)


def test_what_a_connection_has_locked_that_the_network_has_cut_is_free_again_by_itself(
    mariadb: PrivateMariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the server that connection is there, and stands still within its transaction."""
    monkeypatch.setattr(half_open, "TRANSACTION_IDLE_SECONDS", 1)
    database = Database(make_url(mariadb.create_schema("locked")))
    with database.write("making the table") as connection:
        connection.exec_driver_sql("CREATE TABLE numbers (number INT) ENGINE=InnoDB")
        connection.exec_driver_sql("INSERT INTO numbers VALUES (1)")
    with database.engine.connect() as cut_off:
        cut_off.exec_driver_sql("UPDATE numbers SET number = 2")
        with database.write("loading anew") as connection:
            connection.exec_driver_sql("UPDATE numbers SET number = number + 10")
            assert connection.exec_driver_sql("SELECT number FROM numbers").scalar_one() == 11
        with pytest.raises(DBAPIError) as failed:
            cut_off.commit()
        assert is_away(failed.value)
    database.close()
    mariadb.drop_schema("locked")
