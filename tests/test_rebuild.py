"""A lost ledger is made anew from the spool, and everything is loaded again, also into kept tables."""

import errno
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import func, make_url, select
from sqlalchemy.exc import OperationalError

from loaders import records
from loaders.records import metadata
from loaders.tables import target
from server import roles, schema
from server.admin import Decision
from server.config import Load
from server.errors import InboxError, UsageError
from server.journal import Entry, Journal, JournalBehind, LedgerLost, must_have_ledger
from server.rebuild import Rebuilt
from server.roles import SpoolTaken
from server.settings.source import Source
from server.simulator import Disturbed, Mishaps, Plan
from server.spool import Spool
from server.states import State
from tests.support.faults import Killed, die
from tests.support.inboxes import Bench, lose_ledger, replace_settings
from tests.support.oracle import broken_references, differences
from tests.support.prepared import CATALOG
from tests.support.running import RunningInbox, until

# Of no state is a file when all is done.
UNSETTLED = {State.RECEIVED, State.READY, State.LOADING, State.DEFERRED}

# Dies when everything is written and nothing is committed.
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.support.inboxes import Bench
from server.admin import Decision
bench = Bench.make(Path(sys.argv[1]), sys.argv[2])
bench.inbox.rebuild(Decision(), lambda done, total: os.kill(os.getpid(), signal.SIGKILL))
"""


WHY = Decision(by="ops", reason="the disk died")


def _rebuild(bench: Bench, decision: Decision = WHY) -> Rebuilt:
    return bench.inbox.rebuild(decision, lambda _done, _total: None)


FACTS = (
    *("id", "receipt", "name", "source", "sequence", "integration", "api", "mode", "stream_id", "version"),
    *("holder", "state", "cause", "size_bytes", "sha256", "sha256_lf", "data", "sender", "received_at"),
    *("rows_loaded", "rows_parked"),
)


def _ledger(bench: Bench) -> dict[str, Any]:
    """All that must come back, by what it is."""
    f = schema.file.c
    with bench.database.read() as connection:
        return {
            "files": connection.execute(select(*(f[name] for name in FACTS)).order_by(f.id)).all(),
            "streams": connection.execute(select(schema.stream).order_by(schema.stream.c.id)).all(),
            "skips": connection.execute(select(schema.skip).order_by(schema.skip.c.id)).all(),
        }


def _tables(bench: Bench) -> dict[str, Any]:
    """Every cell of every target table, `file_id` included."""
    with bench.database.read() as connection:
        return {
            table.name: connection.execute(select(table).order_by(*table.primary_key.columns)).all()
            for table in target(CATALOG).sorted_tables
        }


def _without_ids(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """A stream that is not in the journal may get another id."""
    return {name: [{**row, "stream": 0} for row in rows] for name, rows in tables.items()}


@pytest.fixture
def lived(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    """An inbox that has seen everything that only a ledger knows."""
    made = Bench.make(
        tmp_path,
        database_url,
        lambda s: replace_settings(s, load=Load(max_rejected=3), sources={"ZZ": Source()}),
    )
    plan = Plan(files=130, rows_per_file=6, days=3, fulls=True)
    disturbed = Disturbed(plan, Mishaps(gaps=2, duplicates=3, conflicts=2, late=2, bad_rows=20))
    first = list(disturbed.first())
    Random(7).shuffle(first)
    made.arrive("README", b"no name")
    # The second stream is there before any file of it, so that ids do not follow the order of receipts.
    made.inbox.set_sequence("ZZ", 40, WHY)
    for export in first[:60]:
        made.arrive(export.name, export.data)
    made.work()
    made.inbox.withdraw([name for name, state in made.states().items() if state == "held"][:1], WHY)
    for export in [*first[60:], *disturbed.then()]:
        made.arrive(export.name, export.data)
    made.work()
    for number in disturbed.account.missing:
        made.inbox.skip("DT", number, number, WHY)
    made.work()
    if waiting := [name for name, state in made.states().items() if state == "deferred"]:
        made.inbox.approve(waiting, WHY)
        made.work()
    _others(made)
    yield made
    made.database.close()


def _others(made: Bench) -> None:
    """Unsequenced names, a quarantined file that is replaced, a fix, another epoch, an undone FULL."""
    for word in (b"one", b"two", b"one"):
        made.arrive("CATEGORY.net", b"U\t" + word + b"\n", source="UU")
        made.work()
    made.arrive("CATEGORY.net", b"U\tone\n", source="UU")
    made.arrive("ZZ_0000040_KS_CATEGORY.NET", b"\tno key\n" * 5)
    made.work()
    assert made.states()["ZZ_0000040_KS_CATEGORY.NET"] == "quarantined"
    made.arrive("ZZ_0000040_KS_CATEGORY.NET", b"Z1\tright\nZ2\ttoo\n\tno key\n")
    made.arrive("ZZ_0000040_KS_CATEGORY.NET.fix", b"3\t\t\tZ3\tmended\n")
    made.work()
    made.arrive("ZZ_0000041_KS_CATEGORY.FULL", b"Z1\tright\n")
    made.arrive("ZZ_0000042_KS_NOSUCH.NET", b"x\n")
    made.work()
    made.inbox.undo("ZZ_0000041_KS_CATEGORY.FULL", WHY)
    made.inbox.set_sequence("ZZ", 7, WHY)
    made.arrive("ZZ_0000007_KS_CATEGORY.NET", b"Z7\tseven\n")
    made.arrive("ZZ_0000009_KS_CATEGORY.NET", b"Z9\tnine\n")
    made.work()


@pytest.mark.parametrize("tables_too", [False, True], ids=["tables are kept", "all is lost"])
def test_a_lost_ledger_comes_back_as_it_was_and_so_do_the_tables(lived: Bench, tables_too: bool) -> None:
    before, tables = _ledger(lived), _tables(lived)
    assert {file.state for file in before["files"]} == set(State) - UNSETTLED
    lose_ledger(lived, tables_too=tables_too)
    rebuilt = _rebuild(lived)
    assert (rebuilt.judged, rebuilt.without_bytes) == ([], [])
    assert sum(rebuilt.files.values()) == len(before["files"])
    lived.work()
    assert _ledger(lived) == before
    assert _tables(lived) == tables
    assert broken_references(lived) == []
    # What comes next is judged as if nothing had happened.
    lived.arrive("ZZ_0000008_KS_CATEGORY.NET", b"Z8\teight\n")
    lived.arrive("CATEGORY.net", b"U\tone\n", source="UU")
    lived.work()
    states = lived.states()
    assert (states["ZZ_0000009_KS_CATEGORY.NET"], states["UU_U0000003_CATEGORY.NET"]) == (
        "loaded",
        "duplicate",
    )


def test_a_ledger_restored_from_an_older_copy_is_told_and_made_anew(lived: Bench) -> None:
    """What was registered since is in no ledger, and its receipts say that it is."""
    copy = _copy(lived)
    lived.arrive("ZZ_0000008_KS_CATEGORY.NET", b"Z8\teight\n")
    lived.arrive("ZZ_0000010_KS_CATEGORY.FULL", b"Z1\tanother\n")
    lived.work()
    before, tables, rows = _ledger(lived), _tables(lived), _counts(lived)
    _put_back(lived, copy)
    with pytest.raises(LedgerLost, match="is older than the spool"), lived.database.read() as connection:
        must_have_ledger(connection, lived.spool)
    _rebuild(lived)
    with lived.database.read() as connection:
        must_have_ledger(connection, lived.spool)
    lived.work()
    assert _ledger(lived) == before
    assert _tables(lived) == tables
    assert _counts(lived) == rows
    with lived.database.read() as connection:
        decided = connection.execute(select(schema.event.c.done_by).where(schema.event.c.event == "undone"))
        assert decided.scalars().all() == ["ops"], "of what was before the copy the history stays"


def _counts(bench: Bench) -> dict[str, int]:
    """How many rows are refused, parked, and mentioned."""
    with bench.database.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (records.rejected_row, records.parked_row, records.mention)
        }


def _copy(bench: Bench) -> dict[str, list[tuple[Any, ...]]]:
    """All that is in the database, as the database has it."""
    tables = (*metadata.sorted_tables, *target(bench.catalog).sorted_tables)
    with bench.database.read() as connection:
        rows = {table.name: connection.exec_driver_sql(f"SELECT * FROM {table.name}") for table in tables}
        return {name: [tuple(row) for row in found] for name, found in rows.items()}


def _put_back(bench: Bench, copy: dict[str, list[tuple[Any, ...]]]) -> None:
    lose_ledger(bench, tables_too=True)
    is_sqlite = bench.database.is_sqlite
    with bench.database.write("putting back a copy") as connection:
        unchecked = "PRAGMA defer_foreign_keys = ON" if is_sqlite else "SET SESSION foreign_key_checks = 0"
        connection.exec_driver_sql(unchecked)
        for name, rows in copy.items():
            if rows:
                places = ", ".join("?" if is_sqlite else "%s" for _ in rows[0])
                connection.exec_driver_sql(f"INSERT INTO {name} VALUES ({places})", rows)
        if not is_sqlite:
            connection.exec_driver_sql("SET SESSION foreign_key_checks = 1")


def test_what_is_killed_leaves_nothing_and_is_repeated(bench: Bench, tmp_path: Path) -> None:
    for number in (1, 2, 4):
        bench.arrive(f"DT_000000{number}_KS_CATEGORY.NET", f"C{number}\tname\n".encode())
    bench.work()
    before = _ledger(bench)
    lose_ledger(bench, tables_too=True)
    url = bench.database.url.render_as_string(hide_password=False)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "data"), url], check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL
    with bench.database.read() as connection:
        assert connection.execute(select(schema.file)).all() == []
    with pytest.raises(Killed):
        bench.inbox.rebuild(WHY, die)
    _rebuild(bench)
    bench.work()
    assert _ledger(bench) == before
    assert [row["category_id"] for row in bench.rows("category")] == ["C1", "C2"]


def test_trying_it_changes_nothing(bench: Bench) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"C1\tname\n")
    bench.work()
    lose_ledger(bench, tables_too=False)
    journal = (bench.spool.root / "journal").read_bytes()
    tried = _rebuild(bench, replace(WHY, dry_run=True))
    assert (tried.files, tried.streams) == ({"ready": 1}, {"DT": "0000002"})
    assert (bench.spool.root / "journal").read_bytes() == journal
    with pytest.raises(LedgerLost), bench.database.read() as connection:
        must_have_ledger(connection, bench.spool)


def test_only_a_lost_ledger_is_made_anew(bench: Bench) -> None:
    with pytest.raises(UsageError, match="nothing to make anew"):
        _rebuild(bench)
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"C1\tname\n")
    bench.work()
    with pytest.raises(UsageError, match="The ledger is there"):
        _rebuild(bench)
    lose_ledger(bench, tables_too=True)
    with roles.take(bench.spool.root, "serve"), pytest.raises(SpoolTaken):
        _rebuild(bench)


def test_a_journal_that_misses_the_end_is_caught_up_with(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loader dies after a commit and before the line in the journal."""
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"C1\tname\n")
    bench.work()
    bench.inbox.skip("DT", 2, 2, WHY)
    loader = bench.loader()
    bench.arrive("DT_0000003_KS_CATEGORY.NET", b"C3\tname\n")
    with monkeypatch.context() as dying:
        dying.setattr(Journal, "catch_up", die)
        with pytest.raises(Killed):
            loader.register()
        with pytest.raises(Killed):
            bench.inbox.skip("DT", 4, 5, WHY)
    bench.work()
    before = _ledger(bench)
    for _ in range(2):
        lose_ledger(bench, tables_too=False)
        _rebuild(bench)
        bench.work()
        assert _ledger(bench) == before


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OperationalError("SELECT", {}, sqlite3.OperationalError("gone away")),
    ],
    ids=["disk full", "database away"],
)
def test_a_decision_that_the_journal_did_not_take_is_written_with_what_happens_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object) -> None:
        raise fault

    loader = bench.loader()
    bench.arrive("DT_0000003_KS_CATEGORY.NET", b"C3\tname\n")
    while loader.work():
        pass
    with monkeypatch.context() as full:
        full.setattr(Journal, "_append", fail)
        with pytest.raises(InboxError, match="It is done, but the spool's journal cannot be written"):
            bench.inbox.skip("DT", 1, 1, WHY)
    # The loader that ran all the time, not one that recovers.
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"C2\tname\n")
    while loader.work():
        pass
    before = _ledger(bench)
    lose_ledger(bench, tables_too=True)
    _rebuild(bench)
    bench.work()
    assert _ledger(bench) == before
    assert [row["category_id"] for row in bench.rows("category")] == ["C2", "C3"]


@pytest.mark.parametrize("tables_too", [False, True], ids=["tables kept", "tables lost"])
@pytest.mark.parametrize("how", ["turned away", "withdrawn", "yet to be turned away"])
def test_a_file_that_has_its_number_back_still_has_it(bench: Bench, how: str, tables_too: bool) -> None:
    first, again = b"C1\tone\n", "DT_0000001_KS_CATEGORY.NET"
    bench.arrive(again, first)
    bench.work()
    bench.arrive(again, first + (b"C2\n" if how == "withdrawn" else b"\t\n" * 1001))
    loader = bench.loader()
    loader.register()
    if how == "withdrawn":
        bench.inbox.withdraw(["2"], WHY)
    if how != "yet to be turned away":
        bench.work()
    lose_ledger(bench, tables_too=tables_too)
    _rebuild(bench)
    bench.work()
    assert [row["category_id"] for row in bench.rows("category")] == ["C1"]
    with bench.database.read() as connection:
        held = connection.execute(
            select(schema.file.c.id, schema.file.c.state).where(schema.file.c.holder == 1)
        )
        assert held.all() == [(1, "loaded")]
        second = connection.execute(select(schema.file.c.state).where(schema.file.c.id == 2)).scalar_one()
    assert second == ("withdrawn" if how == "withdrawn" else "quarantined")
    assert differences(bench) == []


def test_a_load_that_the_journal_did_not_take_is_a_load_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    loader = bench.loader()
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"C1\tname\n")
    loader.register()

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as full:
        full.setattr(Journal, "_catch_up", fail)
        with pytest.raises(JournalBehind, match="Read-only file system") as behind:
            loader.work()
    assert behind.value.kind == "disk read-only"
    assert "DT_0000001_KS_CATEGORY.NET loaded: 1 row" in caplog.text
    with bench.database.read() as connection:
        [row] = connection.execute(select(schema.file))
    assert (row.state, row.attempts, row.retry_at) == ("loaded", 0, None)


def test_an_older_ledger_that_is_put_beneath_a_running_loader_does_not_overwrite_what_the_newer_one_knew(
    bench: Bench,
) -> None:
    loader = bench.loader()
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"C1\tname\n")
    loader.work()
    Journal(bench.spool).append(Entry(1_000_000, {}))
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"C2\tname\n")
    loader.work()
    *_, (last, _) = Journal(bench.spool).read()
    assert [row["name"] for row in last.rows["inbox_file"]] == ["DT_0000002_KS_CATEGORY.NET"]


def test_without_a_journal_files_are_judged_anew_in_order_of_acceptance(bench: Bench) -> None:
    for export in Disturbed(Plan(files=60, rows_per_file=4), Mishaps(duplicates=3)).first():
        bench.arrive(export.name, export.data)
    bench.work()
    before = bench.tables()
    assert differences(bench) == []
    (bench.spool.root / "journal").unlink()
    lose_ledger(bench, tables_too=False)
    with pytest.raises(UsageError, match=r"journal does not mention DT_0000001_.*drop the tables"):
        _rebuild(bench)
    lose_ledger(bench, tables_too=True)
    rebuilt = _rebuild(bench)
    assert len(rebuilt.judged) == 60
    bench.work()
    assert differences(bench) == []
    assert _without_ids(bench.tables()) == _without_ids(before)
    lose_ledger(bench, tables_too=False)
    assert _rebuild(bench).judged == []


def test_a_file_whose_bytes_are_gone_is_told_and_holds_nothing_back(bench: Bench) -> None:
    gone = bench.arrive("DT_0000001_KS_CATEGORY.NET", b"C1\tname\n")
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"C2\tname\n")
    bench.work()
    bench.spool.discard_data(gone.data)
    lose_ledger(bench, tables_too=False)
    assert _rebuild(bench).without_bytes == ["DT_0000001_KS_CATEGORY.NET"]
    bench.work()
    assert list(bench.states().values()) == ["quarantined", "loaded"]
    assert [row["category_id"] for row in bench.rows("category")] == ["C1", "C2"]


def test_a_line_of_the_journal_that_was_cut_is_passed_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.create()
    journal, path = Journal(spool), spool.root / "journal"
    assert (journal.known_event(), list(journal.read())) == (0, [])
    long = [{"id": number, "name": "x" * 100} for number in range(3000)]
    journal.append(Entry(1, {"inbox_file": long}))
    journal.append(Entry(2, {"inbox_file": long}))
    assert journal.known_event() == 2
    path.write_bytes(path.read_bytes()[:-5])
    assert journal.known_event() == 1
    journal.append(Entry(3, {}))
    assert journal.known_event() == 3
    assert [entry.event for entry, _ in journal.read()] == [1, 3]


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_an_inbox_without_its_ledger_does_not_begin_from_the_start(tmp_path: Path, database_url: str) -> None:
    inbox = RunningInbox(tmp_path, database_url)
    with inbox:
        inbox.push("DT_0000001_KS_CATEGORY.NET", b"C1\tname\n")
        until(lambda: inbox.states() == {"DT_0000001_KS_CATEGORY.NET": "loaded"}, "it is loaded")
        assert "Another inbox is running" in inbox.command("rebuild", code=1)
        file = Path(str(make_url(database_url).database))
        file.rename(tmp_path / "aside")
        assert inbox.push("DT_0000002_KS_CATEGORY.NET", b"C2\tname\n").startswith("226")
        until(lambda: "database away" in inbox.log.read_text(), "the loader has seen it")
        assert "run `kore-inbox rebuild`" in inbox.command("status")
        assert "run `kore-inbox rebuild`" in inbox.command("files", code=1)
        assert not file.exists(), "nobody makes another one"
        (tmp_path / "aside").rename(file)
        until(lambda: [*inbox.states().values()] == ["loaded"] * 2, "it goes on")
    for path in tmp_path.glob("inbox.sqlite*"):
        path.unlink()
    inbox.start()
    assert inbox.ending() == 1
    assert "is missing, and the spool" in inbox.log.read_text()
    assert "run `kore-inbox rebuild`" in inbox.command("status", code=1)
    assert "2 files: 2 ready" in inbox.command("rebuild", "--dry-run")
    [rebuilt] = inbox.ask("rebuild", "--reason", "disk")
    assert rebuilt["files"] == {"ready": 2}
    with inbox:
        until(lambda: [*inbox.states().values()] == ["loaded"] * 2, "all are loaded again")
