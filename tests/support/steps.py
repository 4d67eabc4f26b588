"""Every step by which a process touches the world, numbered by itself: it can be killed before any of them.

A step is a call from Python into the part of the interpreter that talks to the system: files, folders, locks,
sockets, processes, SQLite. The interpreter itself tells of such calls (`sys.setprofile`), so there are no
hooks in the code under test, and none of its steps can be forgotten when it changes. What only looks and
changes nothing is not counted: a death before it leaves the same world as one before the next step.

    for death in deaths(work):
        ...  # what it has left; when the loop ends, `work` has come to its end untouched
"""

import gc
import io
import itertools
import logging
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

_WORLD = frozenset({"posix", "_io", "_socket", "_ssl", "fcntl", "sqlite3", "_sqlite3", "_posixsubprocess"})
# Kept in memory, whatever is done to them.
_MEMORY = frozenset({"StringIO", "BytesIO"})
# Only look, or change what ends with the process anyway.
# fmt: off
_LOOKS = frozenset({
    "_checkClosed", "_checkReadable",
    "WIFSTOPPED", "_path_normpath", "access", "close", "closed", "cpu_count", "create_collation",
    "create_function", "cursor", "detach", "device_encoding", "dup", "enable_load_extension",
    "eventfd", "fetchall", "fetchmany", "fetchone", "fileno", "fspath", "fstat", "get_blocking",
    "get_inheritable", "get_terminal_size", "getcwd", "getegid", "geteuid", "getgid", "getpeername",
    "getpid", "getppid", "getsockname", "getsockopt", "gettimeout", "getuid", "isatty", "listdir",
    "lseek", "lstat", "nice", "open_code", "peek", "pread", "read", "read1", "readable", "readall",
    "readinto", "readline", "readlines", "readlink", "recv", "recv_into", "rollback", "scandir",
    "sched_getaffinity", "seek", "seekable", "set_authorizer", "set_blocking", "set_inheritable",
    "setblocking", "setsockopt", "settimeout", "stat", "statvfs", "strerror", "sysconf", "tell",
    "text_encoding", "times", "umask", "uname", "urandom", "waitpid", "waitstatus_to_exitcode",
    "writable",
})
# fmt: on
# The words by which statements begin that only look, in SQL.
_ASKS = ("SELECT", "PRAGMA", "SHOW", "EXPLAIN")
_LONGEST_STATEMENT = 160


class Death(NamedTuple):
    """Before which step a process died: its number, from 1, and what it was about to do."""

    step: int
    what: str

    def __str__(self) -> str:
        return f"killed before step {self.step}, {self.what}"


class Forked:
    """A child of this process that does one thing and ends; it is warm, as it need not import anything.

    Connections to databases have to be closed before: a child may neither use nor close its parent's.

    Args:
        work: what it does. Exit code 0, or 1 for an exception, which it prints.
        step: before which step it dies of SIGKILL; None lets it live.
    """

    def __init__(self, work: Callable[[], object], step: int | None = None) -> None:
        self._step = step
        self._told = tempfile.TemporaryFile()  # noqa: SIM115 - the child inherits it, and it ends with both
        self._ending: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._live(work)

    def _live(self, work: Callable[[], object]) -> None:
        code = 1
        try:
            gc.freeze()
            signal.set_wakeup_fd(-1)
            # What is logged has its own tests, and would be steps.
            logging.disable(logging.CRITICAL)
            if self._step is not None:
                _die_before(self._step, self._told.fileno())
            work()
            code = 0
        except BaseException:
            sys.setprofile(None)
            traceback.print_exc()
        finally:
            sys.setprofile(None)
            sys.stderr.flush()
            os._exit(code)

    def wait(self) -> Death | None:
        """Wait for its end; how it died, or None if it came to its end untouched.

        Raises:
            AssertionError: it has failed; it has said why.
        """
        if self._ending is None:
            self._ending = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if self._ending == -signal.SIGKILL:
            self._told.seek(0)
            return Death(self._step or 0, self._told.read().decode() or "from outside")
        assert self._ending == 0, "the child has failed; what it said is above"
        return None

    def has_ended(self) -> bool:
        """Whether it runs no more."""
        if self._ending is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ending = os.waitstatus_to_exitcode(status)
        return self._ending is not None

    def kill(self) -> None:
        """SIGKILL from outside, wherever it is."""
        if self._ending is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


def _die_before(step: int, told: int) -> None:
    """Have this process killed before one of its steps, in whatever thread; `told` gets what it was."""
    numbers = itertools.count(1)

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and _is_step(frame, function) and next(numbers) == step:
            os.write(told, _described(frame, function).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(profile)
    sys.setprofile(profile)


def _is_step(frame: FrameType, function: Any) -> bool:
    name = function.__name__
    if name in _LOOKS:
        return False
    owner = function.__self__
    if function.__module__ not in _WORLD:
        kinds = type(owner).__mro__
        if not any(kind.__module__ in _WORLD for kind in kinds) or kinds[0].__name__ in _MEMORY:
            return False
    if name == "open" and frame.f_locals.get("mode") in ("r", "rb"):
        return False
    # To leave a file that is only read: what looks again and again, as often as it has time to, would else
    # give the same step another number in each life.
    if name == "__exit__" and isinstance(owner, io.IOBase) and not (owner.closed or owner.writable()):
        return False
    return not _statement(frame).lstrip().upper().startswith(_ASKS)


def _statement(frame: FrameType) -> str:
    """The SQL that is being executed, if any is: SQLAlchemy's own name for it."""
    looked: FrameType | None = frame
    for _ in range(12):
        if looked is None:
            break
        if looked.f_code.co_name in ("do_execute", "do_executemany", "do_execute_no_params"):
            return str(looked.f_locals["statement"])
        looked = looked.f_back
    return ""


def _described(frame: FrameType, function: Any) -> str:
    ours, place = None, frame
    while place is not None and ours is None:
        path = place.f_code.co_filename
        if "/site-packages/" not in path and ("/server/" in path or "/loaders/" in path):
            ours = place
        place = place.f_back  # type: ignore[assignment]
    ours = ours or frame
    where = "/".join(ours.f_code.co_filename.split("/")[-2:])
    said = f"{function.__qualname__} in {where}:{ours.f_lineno} ({ours.f_code.co_name})"
    statement = " ".join(_statement(frame).split())[:_LONGEST_STATEMENT]
    paths = {
        name: str(value)[-_LONGEST_STATEMENT:]
        for name, value in (ours.f_locals if not statement else {}).items()
        if isinstance(value, (str, int, os.PathLike)) and not name.startswith("__")
    }
    return f"{said}: {statement or paths}"


def deaths(work: Callable[[], object], first: int = 1, every: int = 1) -> Iterator[Death]:
    """Have something done in a child that dies before step `first`, and so on, until it comes to its end.

    Yields how each child died, after it has; whatever `work` needs is to be made anew meanwhile.
    """
    for step in itertools.count(first, every):
        death = Forked(work, step).wait()
        if death is None:
            return

        yield death
