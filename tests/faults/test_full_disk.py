"""A disk that is really full, beneath the database or beneath all, during loads (contract A10, L9)."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from server import dispatcher, loading, roles
from server.config import Settings
from server.database import Database
from tests.faults.test_database import commits
from tests.support.disks import SmallDisk
from tests.support.faults import Steps, living
from tests.support.inboxes import Bench
from tests.support.mariadb import PrivateMariaDB
from tests.support.receiving import Running
from tests.support.running import until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "AWAY_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(dispatcher, "AWAY_LAST_SECONDS", 0.1)
    monkeypatch.setattr(dispatcher, "SCAN_SECONDS", 0.1)
    monkeypatch.setattr(dispatcher, "ANSWER_AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(loading, "RETRY_FIRST_SECONDS", 0.25)


def name(number: int) -> str:
    return f"DT_{number:07d}_KS_CATEGORY.NET"


def rows(number: int, count: int) -> bytes:
    """Of which every file but the first changes half of what the one before it brought."""
    first = (number - 1) * count // 2
    return b"".join(b"K%07d\t%030d\n" % (key, number) for key in range(first, first + count))


def without_reserve(settings: Settings) -> Settings:
    """The disk is used to its last byte."""
    return settings.model_copy(update={"inbox": settings.inbox.model_copy(update={"min_free_disk": 0})})


def waits(bench: Bench) -> dict[str, str]:
    """What `status` says is waited for, by kind."""
    return {wait["kind"]: wait["happened"] for wait in bench.inbox.status()["waits"]}


def fill_at(bench: Bench, moment: str, disk: SmallDisk, left_bytes: int = 0) -> None:
    """Let a disk fill up before the first statement that begins so."""

    def happen(_: Any) -> None:
        steps.heal()
        disk.fill(left_bytes)

    steps = Steps(bench.database, happen)
    steps.when(lambda statement: statement.startswith(moment))


def is_all_loaded(bench: Bench, number: int) -> bool:
    found = bench.states_or_none()
    return len(found) == number and set(found.values()) == {"loaded"}


def as_without(bench: Bench, folder: Path, sent: dict[str, bytes]) -> bool:
    """Whether each file is loaded once, and tables are as if there had always been room."""
    whole = Bench.make(folder / "whole", f"sqlite:///{folder / 'whole.sqlite'}")
    for file_name, data in sent.items():
        whole.arrive(file_name, data)
    whole.work()
    same = whole.tables() == bench.tables()
    whole.database.close()
    return same and commits(bench) == dict.fromkeys(sent, 1)


def test_an_sqlite_file_whose_disk_fills_up_during_a_load_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", 4) as disk:
        bench = Bench.make(tmp_path / "data", f"sqlite:///{disk.folder / 'inbox.sqlite'}")
        fill_at(bench, "INSERT INTO category", disk)
        sent = {name(1): rows(1, 5000)}
        bench.arrive(name(1), sent[name(1)])
        with living(bench), roles.take(bench.spool.root, "loader"):
            until(lambda: "database or disk is full" in " ".join(waits(bench).values()), "it is told")
            sent[name(2)] = rows(2, 10)
            bench.arrive(name(2), sent[name(2)])
            assert disk.free_bytes() < 100_000
            disk.make_room()
            until(lambda: is_all_loaded(bench, 2), "all are loaded")
            until(lambda: set(waits(bench)) == {"not running"}, "nothing is waited for")
        assert as_without(bench, tmp_path, sent)
        bench.database.close()


def test_whose_turn_it_is_to_write_needs_no_room(tmp_path: Path) -> None:
    """For whom others wait is noted where there is room, and nobody fails for want of the note."""
    with SmallDisk(tmp_path / "disk", 1) as disk:
        database = Database(make_url(f"sqlite:///{disk.folder / 'inbox.sqlite'}"))
        with database.write("making the file") as connection:
            connection.exec_driver_sql("CREATE TABLE numbers (number INT)")
        (disk.folder / "inbox.sqlite-writer").write_bytes(b"")
        disk.fill()
        with database.write("looking") as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM numbers").scalar_one() == 0
        database.close()


def test_a_disk_that_spool_and_database_fill_up_together_loses_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SmallDisk(tmp_path / "disk", 8) as disk:
        bench = Bench.make(disk.folder, f"sqlite:///{disk.folder / 'inbox.sqlite'}", without_reserve)
        receiver = Running(tmp_path, spool=bench.spool.root)
        sent: dict[str, bytes] = {}

        def store() -> str:
            number = len(sent) + 1
            data = rows(number, 1000)
            reply = receiver.store(name(number), data)
            if reply.startswith("226"):
                sent[name(number)] = data
            return reply

        try:
            with living(bench), roles.take(bench.spool.root, "loader"):
                store()
                until(lambda: is_all_loaded(bench, 1), "the first is loaded")
                disk.fill(2_000_000)
                refused: list[str] = []
                while len(refused) < 5:
                    reply = store()
                    if not reply.startswith("226"):
                        refused.append(reply)
                        # What is given back of it is somebody else's.
                        disk.fill()
                assert all(
                    reply.startswith("452") and "No space left on device" in reply for reply in refused
                )
                until(lambda: "disk full" in waits(bench), "it is told")
                assert "uploads are answered 452" in waits(bench)["disk full"]
                assert not any("all the same" in wait["kept"] for wait in bench.inbox.status()["waits"])
                assert not is_all_loaded(bench, len(sent))
                disk.make_room()
                until(lambda: is_all_loaded(bench, len(sent)), "all that got a 226 are loaded")
                assert store().startswith("226")
                until(lambda: is_all_loaded(bench, len(sent)), "so is what was sent again")
                until(lambda: set(waits(bench)) == {"not running"}, "nothing is waited for")
        finally:
            receiver.stop()
        assert as_without(bench, tmp_path, sent)
        assert [record for record in caplog.records if record.exc_info] == []
        bench.database.close()


class CrampedMariaDB:
    """A server whose data folder and whose folder for temporary tables are small disks of their own."""

    def __init__(self, folder: Path) -> None:
        self.disks = {
            "data": SmallDisk(folder / "data", 192),
            "temporary": SmallDisk(folder / "temporary", 8),
        }
        data = self.disks["data"].folder / "data"
        self.server = PrivateMariaDB((f"--datadir={data}", f"--tmpdir={self.disks['temporary'].folder}"))
        shutil.copytree(self.server.folder / "data", data)

    def remove(self) -> None:
        self.server.remove()
        for disk in self.disks.values():
            disk.__exit__()


@pytest.fixture(scope="module")
def cramped_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrampedMariaDB]:
    made = CrampedMariaDB(tmp_path_factory.mktemp("cramped"))
    yield made
    made.remove()


@pytest.fixture
def cramped(cramped_for_all: CrampedMariaDB) -> Iterator[CrampedMariaDB]:
    cramped_for_all.server.start()
    yield cramped_for_all
    cramped_for_all.server.stop()


@pytest.mark.parametrize(
    ("disk", "moment", "count", "left_bytes"),
    [
        ("temporary", "CREATE TEMPORARY TABLE", 500, 0),
        ("data", "INSERT INTO category", 40_000, 5_000_000),
        # So little that MariaDB 10.11 cannot even undo the load, and ends.
        pytest.param("data", "INSERT INTO category", 5000, 200_000, marks=pytest.mark.long),
    ],
)
def test_a_mariadb_whose_disk_fills_up_during_a_load_goes_on_when_there_is_room(
    cramped: CrampedMariaDB, tmp_path: Path, disk: str, moment: str, count: int, left_bytes: int
) -> None:
    """A server that a full disk has ended, as some do, is started again by whoever looks after it."""
    cramped.server.drop_schema("cramped")
    bench = Bench.make(tmp_path / "data", cramped.server.create_schema("cramped"))
    fill_at(bench, moment, cramped.disks[disk], left_bytes)
    sent = {name(1): rows(1, count)}
    bench.arrive(name(1), sent[name(1)])
    with living(bench), roles.take(bench.spool.root, "loader"):
        told = ("is full", "No space left on device", "Disk got full", "Lost connection", "Can't connect")
        until(lambda: any(text in said for said in waits(bench).values() for text in told), "it is told")
        sent[name(2)] = rows(2, 10)
        bench.arrive(name(2), sent[name(2)])
        cramped.disks[disk].make_room()

        def is_looked_after_until_all_is_loaded() -> bool:
            # One that a full disk is about to end still runs for a moment.
            cramped.server.start()
            return is_all_loaded(bench, 2)

        until(is_looked_after_until_all_is_loaded, "all are loaded")
        until(lambda: set(waits(bench)) == {"not running"}, "nothing is waited for")
    assert as_without(bench, tmp_path, sent)
    bench.database.close()
