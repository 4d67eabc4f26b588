"""What a test leaves running, found by a mark in the environment.

A program that a test starts inherits the mark, and so do the programs that this one starts, even when their
parent is killed and the system adopts them: looking for our own children alone would miss the orphans, which
are what a supervisor's tests are most likely to leave.
"""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MARK = "TESTS_PROCESS_MARK"

# Started by multiprocessing on first use and kept until this process ends.
_HOUSEKEEPERS = (b"multiprocessing.resource_tracker", b"multiprocessing.forkserver")

LASTING: set[int] = set()
"""Processes that are meant to outlive a test, such as the run's MariaDB server."""


def mark_what_we_start() -> None:
    """Set the mark; to be called once per test process, since xdist's workers must not share one."""
    os.environ[_MARK] = uuid.uuid4().hex


def left_behind(grace_seconds: float = 3.0) -> dict[int, str]:
    """Processes that were started since the mark was set and still run: number to command line.

    Args:
        grace_seconds: how long something that is just ending may take.
    """
    deadline = time.monotonic() + grace_seconds
    while (found := dict(_running())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def end(processes: dict[int, str]) -> None:
    """Kill processes, so that one test's leftovers do not spoil the next test."""
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _running() -> Iterator[tuple[int, str]]:
    ours = os.getpid()
    mark = f"{_MARK}={os.environ[_MARK]}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or (pid := int(folder.name)) == ours or pid in LASTING:
            continue
        try:
            # The command's name, in brackets, may itself hold blanks and brackets.
            state, parent = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if state == b"Z":
                continue
            # A forked child shows our environment as it was before the mark; its parent gives it away.
            if int(parent) != ours and mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            command = (folder / "cmdline").read_bytes()
        except OSError:
            # It has ended meanwhile, or belongs to somebody else.
            continue
        if not any(housekeeper in command for housekeeper in _HOUSEKEEPERS):
            yield pid, command.replace(b"\0", b" ").decode(errors="replace").strip()
