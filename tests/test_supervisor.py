"""What the supervisor notes of its children, where `status` finds it (contract E1)."""

import threading
from pathlib import Path

import pytest

from server import notices, supervisor
from server.config import Inbox, Settings
from server.notices import Noticeboard
from server.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool")
    made.create()
    return made


def test_of_a_child_that_is_no_longer_run_nothing_is_told(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail was switched off; what is run is told of until it has lived well."""
    for role in supervisor.ROLES:
        words = {"subject": role, "happened": "It ended.", "kept": "All.", "todo": "Wait."}
        Noticeboard(spool, f"serve-{role}").put(f"{role} ended", **words, again_seconds=1)
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(supervisor, "asked_to_stop", lambda: stop)
    monkeypatch.setattr(supervisor, "log_to_stderr", lambda _: None)
    supervisor.serve(spool.root, Settings(inbox=Inbox(spool=spool.root)))
    told = [role for role in supervisor.ROLES if notices.read(spool, f"serve-{role}") is not None]
    assert told == ["receiver", "loader"]
