"""However it is asked to stop, and however often, the inbox ends in order and leaves nothing running."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any

import pytest
from sqlalchemy import make_url

from server import dispatcher, lease
from server.config import Settings
from server.database import Database
from server.dispatcher import LEASE_SECONDS, Dispatcher
from server.intake import Intake
from server.spool import Spool
from tests.support import processes
from tests.support.inboxes import Bench
from tests.support.prepared import CATALOG
from tests.support.running import RunningInbox, until

MANY_ROWS = b"".join(b"K%07d\tname\n" % number for number in range(200_000))


def _burst(inbox: RunningInbox, *numbers: signal.Signals) -> None:
    for number in numbers:
        inbox.signal_all(number)


def _ends_in_order(inbox: RunningInbox) -> str:
    """What the inbox has said until its end."""
    assert inbox.ending(30) == 0
    assert processes.left_behind() == {}
    said = inbox.log.read_text()
    assert "Traceback" not in said
    assert "ERROR" not in said
    return said


@pytest.fixture
def inbox(tmp_path: Path) -> RunningInbox:
    return RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}")


@pytest.mark.parametrize(
    "numbers",
    [[SIGTERM], [SIGTERM] * 2, [SIGINT] * 2, [SIGTERM] * 500, [SIGINT, SIGTERM] * 250],
    ids=["SIGTERM", "two SIGTERM", "two SIGINT", "500 SIGTERM", "500 of both"],
)
def test_a_burst_of_signals_to_all_processes_stops_the_inbox(
    inbox: RunningInbox, numbers: list[signal.Signals]
) -> None:
    with inbox:
        _burst(inbox, *numbers)
        _ends_in_order(inbox)


def test_signals_may_go_on_until_the_very_end(inbox: RunningInbox) -> None:
    with inbox:
        while not inbox.has_ended():
            inbox.signal_all(SIGTERM)
        _ends_in_order(inbox)


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
@pytest.mark.parametrize("sign", ["starting", "listening on"])
def test_a_signal_while_it_is_starting_stops_it(
    inbox: RunningInbox, number: signal.Signals, sign: str
) -> None:
    inbox.start()
    until(lambda: inbox.log.exists() and sign in inbox.log.read_text(), sign, pause_seconds=0.001)
    _burst(inbox, *[number] * 20)
    _ends_in_order(inbox)


def test_a_load_is_finished_before_the_end(tmp_path: Path, new_database: Callable[[], str]) -> None:
    inbox = RunningInbox(tmp_path, new_database(), "[dispatch]\nsettle = 0\n")
    with inbox:
        inbox.push("DT_0000001_KS_CATEGORY.NET", MANY_ROWS)
        until(inbox.is_loading, "it is loading")
        _burst(inbox, *[SIGTERM] * 20)
        _ends_in_order(inbox)
        assert inbox.states() == {"DT_0000001_KS_CATEGORY.NET": "loaded"}


def test_it_stops_though_its_spool_was_removed(inbox: RunningInbox) -> None:
    with inbox:
        inbox.push("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
        until(lambda: "loaded" in inbox.states().values(), "receiver and loader are at work")
        shutil.rmtree(inbox.spool.rename(inbox.spool.with_name("removed")))
        until(lambda: "is not there" in inbox.log.read_text(), "the loader has noticed")
        _burst(inbox, *[SIGTERM] * 20)
        assert inbox.ending(30) == 0
        said = inbox.log.read_text()
        assert "Traceback" not in said
        assert "is started again" not in said


def test_a_loader_that_is_stopped_before_there_are_tables_has_nothing_to_say(
    tmp_path: Path, new_database: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path / "spool")
    spool.create()
    loader = Dispatcher(Settings(), spool, Database(make_url(new_database())), CATALOG)
    loader.stop.set()
    loader.run()
    assert caplog.messages == []


def test_a_loader_that_is_stopped_lets_another_one_go_on_at_once(bench: Bench) -> None:
    loader = bench.loader()
    with bench.database.write("a test") as connection:
        now = lease.database_now(connection)
        assert not lease.take(connection, "another node", "another life", now, LEASE_SECONDS)
    loader.stop.set()
    loader.run()
    with bench.database.write("a test") as connection:
        now = lease.database_now(connection)
        assert lease.take(connection, "another node", "another life", now, LEASE_SECONDS)


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_of_many_files_that_wait_no_more_are_registered_than_were_begun(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be a hundred thousand, and whoever stops the inbox waits for it."""
    monkeypatch.setattr(dispatcher, "REGISTER_AT_ONCE", 2)
    for number in range(1, 6):
        bench.arrive(f"DT_{number:07d}_KS_CATEGORY.NET", b"A\tone\n")
    loader = bench.loader()
    register = Intake.register

    def stopped_meanwhile(*arguments: Any) -> list[str]:
        loader.stop.set()
        return register(*arguments)

    monkeypatch.setattr(Intake, "register", stopped_meanwhile)
    assert loader.register() == 2
    assert len(bench.spool.pending_ids()) == 3
    bench.work()
    assert set(bench.states().values()) == {"loaded"}
    assert len(bench.states()) == 5
