"""Originals that drop folders have kept in `taken/`, removed when they are old.

Their content is in the spool since before they were moved there (contract A11). All else that gets old is
swept by the running inbox itself.
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from server.config import Settings
from server.drop_folder import TAKEN


@dataclass(frozen=True)
class Original:
    """A file in `taken/`; the time is in UTC, without a zone."""

    folder: str
    name: str
    size_bytes: int
    taken_at: datetime


def sweep(settings: Settings, now: datetime, *, dry_run: bool = False) -> list[Original]:
    """Remove what was taken longer ago than `[inbox] retention`.

    Args:
        settings: of the inbox.
        now: UTC, without a zone.
        dry_run: only say what would go.

    Returns:
        what has gone, folder by folder, oldest first.

    Raises:
        OSError: a folder is away, or does not allow it; what was removed before stays removed.
    """
    gone = []
    for folder in settings.drop_folder.folders:
        before = now - timedelta(seconds=settings.inbox.retention)
        old = [(path, found) for path, found in _originals(folder) if found.taken_at < before]
        for path, found in sorted(old, key=lambda one: (one[1].taken_at, one[1].name)):
            if not dry_run:
                path.unlink(missing_ok=True)
            gone.append(found)
    return gone


def _originals(folder: Path) -> Iterator[tuple[Path, Original]]:
    taken = folder / TAKEN
    # A folder that is away is an error; one from which nothing was taken yet is not.
    if folder.stat() and (taken.is_symlink() or not taken.exists()):
        return
    for path in taken.iterdir():
        facts = path.lstat()
        if stat.S_ISREG(facts.st_mode):
            # Moving it there has changed the one, and left the other.
            moved = datetime.fromtimestamp(max(facts.st_mtime, facts.st_ctime), UTC).replace(tzinfo=None)
            yield path, Original(str(folder), path.name, facts.st_size, moved)
