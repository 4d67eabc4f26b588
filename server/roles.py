"""The roles of a spool's processes: one at a time has each, and it falls free when that process ends.

ROLE.lock   held by the one inbox (`serve`), the one receiver, the one loader, the one mailer
"""

import fcntl
import time
from pathlib import Path
from typing import BinaryIO

from server.errors import TemporaryFault

_RETRY_SECONDS = 0.05


class SpoolTaken(TemporaryFault):
    """Another process has the role on this spool; it may be about to end."""


def take(root: Path, role: str, timeout_seconds: float = 5.0) -> BinaryIO:
    """Take a role on a spool, until the returned file is closed or the process ends.

    Args:
        root: the spool.
        role: which.
        timeout_seconds: how long one that is about to end is waited for.

    Raises:
        SpoolTaken: another process kept the role for the whole time-out.
        TemporaryFault: the disk does not let it be taken.
    """
    try:
        handle = (root / f"{role}.lock").open("ab")
    except OSError as error:
        raise TemporaryFault(
            f"The spool {root} cannot be written to: {error.strerror}.",
            kept="What was accepted is kept.",
            todo="Look after its disk.",
        ) from error
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                handle.close()
                raise SpoolTaken(
                    f"Another inbox is running on the spool {root}.",
                    todo="Stop it, or give this one a spool of its own ([inbox] spool).",
                ) from None
            time.sleep(_RETRY_SECONDS)
        else:
            return handle


def is_taken(root: Path, role: str) -> bool:
    """Whether a process has a role on a spool at this moment."""
    try:
        with (root / f"{role}.lock").open("rb") as handle:
            # Shared, and only for this moment: whoever starts tries for longer than that.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
