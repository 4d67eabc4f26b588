"""An SQLite file that is still the one which was opened.

What is written to a file that was deleted, replaced, or hidden by a mount goes nowhere, and SQLite does not
notice: it has the file open. So it is looked for at its place before anything is promised of it.
"""

import sqlite3
from pathlib import Path

from sqlalchemy.exc import OperationalError


class SameFile:
    """Knows the file that was opened first, and takes no other for it.

    Args:
        path: its place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None

    def opened(self) -> None:
        """It is open now; to be called after each opening."""
        self._known = self._known or self._found()
        self.must_be_there()

    def must_be_there(self) -> None:
        """See that it is in its place, if it has ever been opened; costs one look at a folder.

        Raises:
            OperationalError: it is not, with the code that SQLite has for it.
        """
        if self._known is not None and self._found() != self._known:
            raise self._gone("there is another file in its place now")

    def _found(self) -> tuple[int, int]:
        try:
            facts = self._path.stat()
        except OSError as error:
            raise self._gone(error.strerror or "it cannot be looked for") from None
        return facts.st_dev, facts.st_ino

    def _gone(self, why: str) -> OperationalError:
        return refusal(sqlite3.SQLITE_READONLY_DBMOVED, f"{self._path} is not the database any more: {why}")


def refusal(code: int, said: str) -> OperationalError:
    """What SQLite would raise if it had noticed.

    Args:
        code: one of SQLite's.
        said: why, without a full stop.
    """
    error = sqlite3.OperationalError(said)
    error.sqlite_errorcode = code
    return OperationalError("", None, error)
