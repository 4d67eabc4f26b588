"""What is waited for is told beside the database (contract E1)."""

import errno
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server import notices, roles, waits
from server.config import Inbox
from server.notices import Noticeboard
from server.spool import Spool
from tests.support.running import RunningInbox, until

SAID = {"subject": "inbox", "happened": "It is.", "kept": "All.", "todo": "Wait."}


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path)
    made.create()
    return made


def test_a_trouble_keeps_its_beginning_also_over_a_new_start(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for minutes in range(3):
        monkeypatch.setattr(notices, "utc_now", lambda now=began + timedelta(minutes=minutes): now)
        Noticeboard(spool, "loader").put("database away", **SAID, again_seconds=15)
    notice = notices.read(spool, "loader")
    assert notice is not None
    assert notice.first_seen == datetime(2026, 1, 1)  # noqa: DTZ001 - as in the ledger
    assert notice.last_seen - notice.first_seen == timedelta(minutes=2)
    assert notice.again_at == notice.last_seen + timedelta(seconds=15)
    assert notice.count == 3
    other = Noticeboard(spool, "loader").put("disk full", **SAID, again_seconds=1)
    assert (other.first_seen, other.count) == (notice.last_seen, 1)


def test_a_try_that_is_over_is_not_promised(spool: Spool) -> None:
    with roles.take(spool.root, "serve"), roles.take(spool.root, "loader"):
        Noticeboard(spool, "loader").put("database away", **SAID, again_seconds=3600)
        Noticeboard(spool, "serve-receiver").put("receiver ended", **SAID, again_seconds=-1)
        told = {wait.kind: wait.again_at for wait in waits.beside(spool, Inbox())}
    assert told["database away"] is not None
    assert told["receiver ended"] is None


def test_what_is_over_is_gone_and_what_cannot_be_read_is_none(spool: Spool) -> None:
    board = Noticeboard(spool, "loader")
    board.put("database away", **SAID, again_seconds=1)
    (spool.root / "loader.notice").write_text('{"of": "another version"}')
    assert notices.read(spool, "loader") is None
    board.put("database away", **SAID, again_seconds=1)
    assert notices.read(spool, "loader") is not None
    board.clear()
    assert notices.read(spool, "loader") is None


def test_a_disk_that_does_not_take_a_notice_stops_nobody(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "rename", refuses)
    assert Noticeboard(spool, "loader").put("disk full", **SAID, again_seconds=1).count == 1


def test_status_says_that_a_child_has_ended_and_that_an_inbox_does_not_run(tmp_path: Path) -> None:
    inbox = RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}")
    with inbox:
        inbox.kill("loader")
        until(lambda: notices.read(Spool(inbox.spool), "serve-loader") is not None, "it is noted")
        told = inbox.command("status")
        assert f"The loader ended (signal {signal.Signals.SIGKILL.name})" in told
        assert "does not run" not in told
    told = inbox.command("status")
    assert "The inbox does not run" in told
    assert "The loader ended" not in told, "it is of yesterday"
