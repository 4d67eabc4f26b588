"""What the supervisor notes of its children, where `status` finds it (contract E1)."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server import notices, supervisor
from server.config import Database, Inbox, Settings
from server.machine_rules import crash_loops
from server.notices import ROLES, Noticeboard, of_child
from server.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool")
    made.create()
    return made


def test_a_child_that_has_ended_thrice_is_in_a_loop_until_it_has_lived_for_a_minute(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    processes: list[SimpleNamespace] = []

    def start(*_: Any, **__: Any) -> SimpleNamespace:
        process = SimpleNamespace(returncode=None, stdin=None)
        process.poll = lambda: process.returncode
        processes.append(process)
        return process

    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(supervisor, "subprocess", SimpleNamespace(Popen=start, PIPE=None))
    child = supervisor._Child("loader", spool.root, Noticeboard(spool, of_child("loader")), start_at=0)

    def lives(seconds: float, ending: int | None) -> list[str]:
        """It is started when it is due, and looked at when it has lived for so long."""
        clock[0] += 30
        child.look_after(may_start=True)
        clock[0] += seconds
        processes[-1].returncode = ending
        child.look_after(may_start=True)
        return [found.subject for found in crash_loops(spool)]

    assert [lives(59, ending=1) for _ in range(4)] == [[], [], ["loader"], ["loader"]]
    assert lives(59, ending=None) == ["loader"]
    assert lives(1, ending=None) == []
    assert [lives(0, ending=-9) for _ in range(3)] == [[], [], ["loader"]]


def test_of_a_child_that_is_no_longer_run_nothing_is_told(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail was switched off; what is run is told of until it has lived well."""
    for role in ROLES:
        words = {"subject": role, "happened": "It ended.", "kept": "All.", "todo": "Wait."}
        Noticeboard(spool, of_child(role)).put(f"{role} ended", **words, again_seconds=1)
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(supervisor, "asked_to_stop", lambda: stop)
    monkeypatch.setattr(supervisor, "log_to_stderr", lambda _: None)
    supervisor.serve(spool.root, Settings(inbox=Inbox(spool=spool.root)))
    told = [role for role in ROLES if notices.read(spool, of_child(role)) is not None]
    assert told == ["receiver", "loader"]


def test_no_child_is_started_while_the_spool_is_away(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would begin on another one that has come into its place."""
    started: list[bool] = []
    child = SimpleNamespace(look_after=lambda *, may_start: started.append(may_start), stop=lambda: None)
    away = spool.root.with_name("away")

    def becomes_another() -> None:
        spool.root.rename(away)
        Spool(spool.root).create()

    def is_back() -> None:
        spool.root.rename(spool.root.with_name("the other"))
        away.rename(spool.root)

    steps = iter([lambda: None, becomes_another, is_back])

    def wait(_seconds: float) -> bool:
        step = next(steps, None)
        if step is not None:
            step()
        return step is None

    monkeypatch.setattr(supervisor, "log_to_stderr", lambda _: None)
    monkeypatch.setattr(supervisor, "_Child", lambda *_: child)
    monkeypatch.setattr(supervisor, "asked_to_stop", lambda: SimpleNamespace(wait=wait))
    settings = Settings(
        inbox=Inbox(spool=spool.root),
        database=Database(url=f"sqlite:///{spool.root.parent / 'inbox.sqlite'}"),
    )
    supervisor.serve(spool.root, settings)
    assert started == [True, True, False, False, True, True], "receiver and loader, three times"
