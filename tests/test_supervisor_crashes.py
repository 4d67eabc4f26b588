"""A supervisor that is killed before any of its steps takes its children with it, and can be started again.

Every step by which it touches the world is numbered by itself (`tests/support/steps.py`). Its children are
stand-ins here, which end as the real ones do when their standard input ends: Python's starts would take too
long. `tests/test_killed_at_random.py` kills it with real ones.
"""

import os
import signal
import sys
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from server import supervisor
from server.config import Inbox, Settings
from server.notices import ROLES
from tests.support import processes
from tests.support.running import until
from tests.support.steps import Death, Forked

# The receiver dies in its first life, so that it has to be started again.
_CHILD = f"""#!{sys.executable} -IS
import os, signal, sys
role, conf = sys.argv[4:]
with open(conf + "/" + role, "a+") as starts:
    starts.write("one more\\n")
    starts.seek(0)
    if role == "receiver" and len(starts.readlines()) == 1:
        sys.exit(1)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
os.read(0, 1)
"""


def _starts(conf: Path, role: str) -> int:
    path = conf / role
    return path.read_text().count("\n") if path.exists() else 0


def _life(conf: Path, settings: Settings, step: int | None = None) -> Death | None:
    """Until receiver and loader have been started, and the receiver once more; then it is told to stop."""
    for role in ROLES:
        (conf / role).unlink(missing_ok=True)
    child = Forked(partial(supervisor.serve, conf, settings), step)
    until(
        lambda: child.has_ended() or (_starts(conf, "receiver"), _starts(conf, "loader")) == (2, 1),
        "all are started",
        pause_seconds=0.002,
    )
    if not child.has_ended():
        os.kill(child.pid, signal.SIGTERM)
    return child.wait()


def test_a_supervisor_killed_at_any_step_leaves_no_child_and_can_be_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "child"
    stand_in.write_text(_CHILD)
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    monkeypatch.setattr(supervisor, "_LOOK_SECONDS", 0.002)
    monkeypatch.setattr(supervisor, "_Child", partial(supervisor._Child, pause_seconds=0.002))
    died = []
    for step in count(1):
        # Each makes its spool itself: to be killed at that is to be started again on half of one.
        settings = Settings(inbox=Inbox(spool=tmp_path / f"spool{step}"))
        death = _life(tmp_path, settings, step)
        assert processes.left_behind() == {}, str(death)
        if death is None:
            break
        died.append(death.what)
        assert _life(tmp_path, settings) is None
        assert processes.left_behind() == {}, f"{death}, and started again"
    for call in ("mkdir", "mkfifo", "link", "flock", "fork_exec", "kill"):
        assert any(what.startswith(call) for what in died), call
