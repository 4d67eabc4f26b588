"""What the receiver may know of the ledger while it answers a sender: a quick look, never a wait.

The receiver never writes to the database and never depends on it (contract A4). It asks here for what the
226 should say (contract A3) and whether a number is taken (A6, A7); an answer of None means that the database
is away or slow, and the file is accepted all the same.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from server import ledger, streams
from server.config import Settings
from server.database import Database, in_words, passes_by_itself
from server.journal import has_files
from server.names import FileName
from server.sequence import Holder, Range, Version, advance, stream_of, version_of
from server.spool import Spool

T = TypeVar("T")

log = logging.getLogger("server.outlook")


@dataclass(frozen=True)
class View:
    """A stream as the ledger has it, seen from one file's number.

    Attributes:
        version: what the file's number stands for.
        expected: the version that is due.
        holder: the registered file that has the number, if any.
        repeated: of a name that takes no number, the digests (with CRLF as LF) of the registered files that
            it would repeat, see `unnumbered`.
    """

    version: Version
    expected: Version
    holder: Holder | None = None
    repeated: frozenset[str] = frozenset()


class Outlook(Protocol):
    """Where the receiver looks."""

    def look(self, name: FileName) -> View | None:
        """The stream of a file, or None if the database does not answer in time. Safe in any thread."""

    def due(self, name: FileName, since: Version, runs: Sequence[Range]) -> Version | None:
        """The version that is due in a file's stream, or None as in `look`. Safe in any thread.

        Args:
            name: of a file whose stream the ledger knows.
            since: what is due at the earliest.
            runs: versions that have arrived beside those of the ledger, ascending.
        """


# The receiver has to answer its sender; a database that takes longer than this is treated as away.
_ANSWER_SECONDS = 1.0
# After a failure nobody asks for so long, so that uploads keep their pace while the database is away (A4).
_PAUSE_SECONDS = 5.0


class LedgerOutlook:
    """Looks at the real ledger, and looks away for a while when it does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._scope = settings.sequence.scope
        self._spool = Spool(settings.inbox.spool)
        self._database = Database(
            settings.database_url, timeout_seconds=_ANSWER_SECONDS, answer_seconds=_ANSWER_SECONDS
        )
        self._ask_again_at = 0.0

    def look(self, name: FileName) -> View | None:
        """As `Outlook.look` says."""
        try:
            return self._ask(lambda connection: self._view(connection, name))
        except SQLAlchemyError:
            if self._spool.has_registered():
                return None
            # It answers, but the loader has yet to make its tables: no stream is known so far.
            first = streams.FIRST_EXPECTED
            return View(version=version_of(name.sequence, first), expected=first)

    def due(self, name: FileName, since: Version, runs: Sequence[Range]) -> Version | None:
        """As `Outlook.due` says."""
        return self._ask(lambda connection: self._due(connection, name, since, runs))

    def _ask(self, question: Callable[[Connection], T]) -> T | None:
        """Put a question to the ledger; None if it is away, or was a moment ago.

        Raises:
            SQLAlchemyError: it answers, and the question cannot be put to it.
        """
        if time.monotonic() < self._ask_again_at:
            return None
        try:
            with self._database.read() as connection:
                return question(connection)
        except SQLAlchemyError as error:
            if not passes_by_itself(error):
                raise
            log.warning("the ledger does not answer: %s", in_words(error), extra={"action": "look"})
            self._ask_again_at = time.monotonic() + _PAUSE_SECONDS
            return None

    def _due(self, connection: Connection, name: FileName, since: Version, runs: Sequence[Range]) -> Version:
        stream = streams.by_name(connection, stream_of(name, self._scope))
        if stream is None:
            return since
        skips = streams.skips(connection, stream.id, since)
        # Runs are given as ranges, like skips: `advance` asks only that nothing is missing.
        return advance(since, streams.arrived(connection, stream.id, since), merge(skips, runs))

    def _view(self, connection: Connection, name: FileName) -> View | None:
        stream = streams.by_name(connection, stream_of(name, self._scope))
        if stream is None and self._spool.has_registered() and not has_files(connection):
            # It is lost, and will come back or be made anew.
            return None
        if stream is None:
            first = streams.FIRST_EXPECTED
            return View(version=version_of(name.sequence, first), expected=first)
        version = version_of(name.sequence, stream.expected)
        if name.is_unsequenced and not name.is_fix:
            last = ledger.last_of(connection, stream.id, name)
            repeated = frozenset(row.sha256_lf for row in last)
            return View(version=version, expected=stream.expected, repeated=repeated)
        row = ledger.holder(connection, stream.id, version)
        if name.is_fix:
            before = ledger.fixes(connection, str(name), stream.id, int(version))
            return View(
                version=version,
                expected=stream.expected,
                holder=None if row is None else ledger.as_holder(row),
                repeated=frozenset(fix.sha256_lf for fix in before),
            )
        return View(
            version=version,
            expected=stream.expected,
            holder=None if row is None else ledger.as_holder(row),
        )
