"""Nudges: whoever has work for the loader wakes it. One that is lost costs a second, never a file.

nudge   the FIFO in the spool by which it is done
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

from server.errors import InboxError


def prepare(root: Path) -> None:
    """Make the FIFO of a spool where there is none."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(_path(root), 0o600)


def nudge(root: Path) -> None:
    """Wake the loader of a spool, if one listens.

    Raises:
        OSError: the FIFO is there, and cannot be used.
    """
    try:
        fifo = os.open(_path(root), os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return
        raise
    try:
        os.write(fifo, b"\n")
    except BlockingIOError:
        pass  # the pipe is full of nudges
    finally:
        os.close(fifo)


def listen(root: Path) -> int:
    """A file descriptor that becomes readable when someone nudges; the caller empties and closes it.

    Raises:
        InboxError: something else has the FIFO's name.
        OSError: it is not there, or cannot be used.
    """
    path = _path(root)
    if not stat.S_ISFIFO(path.stat().st_mode):
        raise InboxError(f"{path} is not a FIFO.", todo="Remove it; it is made anew.")
    # Opened for writing too, so that the end of the last writer is no end of file.
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _path(root: Path) -> Path:
    return root / "nudge"
