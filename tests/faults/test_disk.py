"""The spool's disk is full or may only be read while the loader works, and much waits in it at start."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select

from server import dispatcher, notices, roles, schema, waits
from server.errors import TemporaryFault
from server.spool import Spool
from tests.faults.test_database import commits
from tests.support.faults import living
from tests.support.inboxes import Bench
from tests.support.receiving import Running
from tests.support.running import until

CATEGORY = "DT_0000001_KS_CATEGORY.NET"


@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOSPC, errno.EIO])
def test_a_spool_that_takes_nothing_while_the_loader_works_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """The ledger has the receipt, which cannot be moved; later it can, and is not registered twice."""
    monkeypatch.setattr(dispatcher, "AWAY_FIRST_SECONDS", 0.01)
    bench = Bench.make(tmp_path / "data", f"sqlite:///{tmp_path / 'inbox.sqlite'}")
    bench.arrive(CATEGORY, b"A\tone\n")
    rename = Path.rename

    def refuses(path: Path, target: Path) -> Any:
        if path.parent == bench.spool.new:
            raise OSError(error, os.strerror(error))
        return rename(path, target)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", refuses)
        with living(bench), roles.take(bench.spool.root, "loader"):
            until(lambda: notices.read(bench.spool, "loader") is not None, "it is noted")
            waits_now = bench.inbox.status()["waits"]
            assert os.strerror(error) in " ".join(wait["happened"] for wait in waits_now)
            assert "all the same" not in " ".join(wait["kept"] for wait in waits_now), (
                "the spool takes nothing"
            )
            broken.undo()
            until(lambda: bench.states() == {CATEGORY: "loaded"}, "it is loaded")
            until(lambda: notices.read(bench.spool, "loader") is None, "nothing is waited for")
    assert bench.spool.pending_ids() == []
    assert commits(bench) == {CATEGORY: 1}
    bench.database.close()


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"f_bavail": 1}, "disk full"),
        ({"f_favail": 0}, "disk full"),
        ({"f_flag": os.ST_RDONLY}, "disk read-only"),
        ({"f_favail": 0, "f_files": 0}, None),
        ({}, None),
    ],
)
def test_status_sees_the_disk_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, int], kind: str | None
) -> None:
    """Whoever fails to write cannot write it down either."""
    bench = Bench.make(tmp_path / "data", f"sqlite:///{tmp_path / 'inbox.sqlite'}")
    room = {"f_bavail": 10**9, "f_frsize": 4096, "f_files": 100, "f_favail": 50, "f_flag": 0}
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(**{**room, **facts}))
    found = [wait.kind for wait in waits.beside(bench.spool, bench.settings.inbox)]
    assert found == ["not running", *([kind] if kind else [])]
    bench.database.close()


def test_a_role_that_cannot_be_taken_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.create()

    def refuses(*_: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "open", refuses)
    with pytest.raises(TemporaryFault, match="cannot be written to: Read-only file system"):
        roles.take(spool.root, "loader")


@pytest.mark.parametrize(
    "number", [2, pytest.param(1, marks=pytest.mark.long)], ids=["all are held", "all are loaded"]
)
def test_ten_thousand_files_that_wait_at_start_are_answered_for_and_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """In the short run the first number is missing; in the long one all of them are loaded."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    bench = Bench.make(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}")
    for sequence in range(number, number + 10_000):
        bench.arrive(f"DT_{sequence:07d}_KS_CATEGORY.NET", b"A\tone\n")
    running = Running(tmp_path)
    try:
        running.outlook.away = True
        last = f"DT_{number + 9999:07d}_KS_CATEGORY.NET"
        assert running.store(last, b"A\tone\n") == f"226 {last} already received"
    finally:
        running.stop()
    if number == 1:
        bench.work()
    else:
        bench.loader().register()
    with bench.database.read() as connection:
        by_state = select(schema.file.c.state, func.count()).group_by(schema.file.c.state)
        states: dict[str, int] = dict(connection.execute(by_state).all())
    assert states == {"held" if number == 2 else "loaded": 10_000, "duplicate": 1}
    assert bench.spool.pending_ids() == []
    bench.database.close()
