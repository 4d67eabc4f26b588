"""The database is stopped while senders go on (contract A4)."""

import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from server import schema
from server.admin import Inbox
from server.config import Database, Settings
from server.names import parse
from server.outlook import LedgerOutlook
from server.states import Event
from tests.support.inboxes import Bench
from tests.support.mariadb import PrivateMariaDB
from tests.support.running import RunningInbox, until


@pytest.fixture
def server() -> Iterator[PrivateMariaDB]:
    with PrivateMariaDB() as started:
        yield started


def name(number: int) -> str:
    return f"DT_{number:07d}_KS_CATEGORY.NET"


# How long the database is away, in seconds: at least so many uploads fall into it.
AWAY = [0.0, pytest.param(60.0, marks=pytest.mark.long)]


@pytest.mark.parametrize("seconds", AWAY)
def test_uploads_go_on_while_the_database_is_stopped_and_are_loaded_in_order_when_it_is_back(
    tmp_path: Path, server: PrivateMariaDB, seconds: float
) -> None:
    url = server.create_schema("away")
    with RunningInbox(tmp_path, url) as inbox, inbox.ftp() as session:

        def push(number: int) -> str:
            data = BytesIO(b"A\tnumber %d\n" % number)
            return session.storbinary(f"STOR {name(number)}", data)

        def status() -> dict[str, Any]:
            return Inbox.beside(inbox.conf, timeout_seconds=3).status()

        push(1)
        until(lambda: status()["files"] == {"loaded": 1}, "the first is loaded")
        server.stop()
        last, ends = 1, time.monotonic() + seconds
        while last < 30 or time.monotonic() < ends:
            last += 1
            assert push(last).startswith(f"226 {name(last)} accepted"), last
            # The pace of a busy sender; as fast as it goes there would be thirty thousand to be loaded.
            time.sleep(seconds / 1000)
        assert "the database is away, it will be loaded when it is back" in push(last + 1)
        last += 1

        until(lambda: any(wait["again_at"] for wait in status()["waits"]), "the loader has noticed")
        found = status()
        assert (found["database"], found["loader"], found["unregistered"]) == ("away", "running", last - 1)
        assert [wait["kind"] for wait in found["waits"]] == ["database away"]
        told = inbox.command("status", "--fail-on-exceptions", code=1)
        assert "waits (database away) since " in told
        assert "Files are accepted all the same, and kept in the spool." in told
        assert f"accepted, and not in the ledger yet: {last - 1:,} files" in told

        server.start()
        until(lambda: status()["files"] == {"loaded": last}, "all are loaded", timeout_seconds=120)
        until(lambda: status()["waits"] == [], "nothing is waited for")
    look = Bench.make(tmp_path / "look", url)
    query = (
        select(schema.file.c.sequence)
        .join(schema.event, schema.event.c.file_id == schema.file.c.id)
        .where(schema.event.c.event == Event.COMMITTED)
        .order_by(schema.event.c.id)
    )
    with look.database.read() as connection:
        assert list(connection.execute(query).scalars()) == list(range(1, last + 1)), "in order, each once"
    assert [row["category_name"] for row in look.rows("category")] == [f"number {last}"]
    look.database.close()
    assert "Traceback" not in inbox.log.read_text()


def test_the_receiver_asks_a_database_that_is_away_once_in_a_while_and_not_for_each_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So uploads keep their pace, however long each question would take."""
    asked: list[float] = []
    clock = [1000.0]
    monkeypatch.setattr("server.outlook.time", SimpleNamespace(monotonic=lambda: clock[0]))
    nobody = tmp_path / "nobody"
    looking = LedgerOutlook(
        Settings(database=Database(url=f"mysql+pymysql://root@localhost/none?unix_socket={nobody}"))
    )
    read = looking._database.read

    def counted() -> object:
        asked.append(clock[0])
        return read()

    monkeypatch.setattr(looking._database, "read", counted)
    for number in range(1, 101):
        assert looking.look(parse(name(number))) is None
        clock[0] += 0.1
    assert len(asked) == 2, "in ten seconds"
