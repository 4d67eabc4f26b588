"""What a process has to say while the database cannot be told, kept in the spool (contract E1, L9).

    ROLE.notice         what the process of that role waits for; there is none while all is well
    serve-ROLE.notice   what the supervisor has to say of that process, which has ended

A notice is an incident in all but its place: `status` reads it whether the database answers or not. It is
only a hint, like the nudge: a disk that does not take it is seen by whoever looks at the disk.
"""

import contextlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from server import durable
from server.spool import Spool, utc_now

log = logging.getLogger("server.notices")

# The supervisor's children.
ROLES = ("receiver", "loader", "mailer")


@dataclass(frozen=True)
class Notice:
    """One trouble; `kind` and `subject` tell one from another, times are UTC without a zone.

    Attributes:
        first_seen: when it began, also if the process was started again since.
        count: how often it was met.
        again_at: when it is tried again.
    """

    kind: str
    subject: str
    happened: str
    kept: str
    todo: str
    first_seen: datetime
    last_seen: datetime
    count: int = 1
    again_at: datetime | None = None


class Noticeboard:
    """The one notice of a role, which one process at a time writes.

    Args:
        spool: where it is kept.
        role: whose it is.
    """

    def __init__(self, spool: Spool, role: str) -> None:
        self._spool = spool
        self._path = _path(spool, role)
        self._is_clear = False

    def put(
        self, kind: str, *, subject: str, happened: str, kept: str, todo: str, again_seconds: float
    ) -> Notice:
        """Say what is waited for, and how long until the next try; readers see the old one or the new one.

        Where the spool is not in its place nothing is noted: whoever looks sees that, and another one in its
        place waits for nothing.
        """
        now = utc_now().replace(tzinfo=None, microsecond=0)
        again_at = now + timedelta(seconds=again_seconds)
        notice = Notice(kind, subject, happened, kept, todo, now, now, again_at=again_at)
        before = _read(self._path)
        if before is not None and (before.kind, before.subject) == (kind, subject):
            notice = replace(notice, first_seen=before.first_seen, count=before.count + 1)
        self._is_clear = False
        content = json.dumps(asdict(notice), default=datetime.isoformat, ensure_ascii=False)
        try:
            if self._spool.is_in_its_place():
                durable.replace(self._path, content.encode())
        except OSError as error:
            log.warning("what is waited for cannot be noted: %s", error, extra={"action": "notice"})
        return notice

    def clear(self) -> None:
        """All is well; costs nothing where it was well before."""
        if not self._is_clear:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
                self._is_clear = True


def of_child(role: str) -> str:
    """Under which role the supervisor's notice of a child is kept."""
    return f"serve-{role}"


def read(spool: Spool, role: str) -> Notice | None:
    """The notice of a role, if there is one."""
    return _read(_path(spool, role))


def _path(spool: Spool, role: str) -> Path:
    return spool.root / f"{role}.notice"


def _read(path: Path) -> Notice | None:
    try:
        told = json.loads(path.read_bytes())
        times = {key: datetime.fromisoformat(told[key]) for key in ("first_seen", "last_seen", "again_at")}
        return Notice(**{**told, **times})
    except (OSError, ValueError, TypeError, KeyError):
        # None there, or one of another version: the next one replaces it.
        return None
