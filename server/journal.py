"""The journal: what only the ledger knows of files and streams, kept beside the receipts too.

A lost ledger is made anew from it (`rebuild`): which number a file was given, what was a duplicate, a
conflict or a replacement, what an operator has decided. None of that can be worked out from receipts alone,
because it depended on what had been loaded, and on who had decided what, when the file came.

`journal` in the spool has a line of JSON for each transaction that mattered: the rows of the ledger that it
changed, and the last event that it knew. The last image of a row counts. A line is written after the commit,
so that nothing is in it that did not happen, and before receipts leave `new/`. What a crash or a full disk
has kept out is caught up with by whoever writes the next line, at the latest when the loader starts.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, func, or_, select
from sqlalchemy.exc import DBAPIError

from loaders.records import barrier
from server import schema
from server.database import Database, in_words, passes_by_itself, trouble
from server.errors import InboxError, TemporaryFault
from server.names import Mode
from server.spool import Spool
from server.states import Event

Image = Mapping[str, Any]

_file, _stream, _skip, _event = schema.file, schema.stream, schema.skip, schema.event

TABLES: Mapping[str, Table] = {table.name: table for table in (_stream, _file, _skip, barrier)}

# What a load finds out again, and what senders are told then.
_LEFT_OUT = {
    *("attempts", "retry_at", "rows_read", "rows_loaded", "rows_rejected", "rows_parked", "ack_due"),
}

# After these a file is another one to the ledger; all else that happens to it happens again.
_FATEFUL = (
    Event.IN_TURN,
    Event.TOO_EARLY,
    Event.SAME_AGAIN,
    Event.REFUSED,
    Event.UNKNOWN_API,
    Event.REPLACED,
    Event.REINSTATED,
    Event.WITHDRAWN,
    "number given back",
    "approved",
    "dismissed",
    "released early",
)

_BLOCK_BYTES = 64 * 1024


class LedgerLost(InboxError):
    """The ledger does not know what it knew by the spool's account."""


class JournalBehind(TemporaryFault):
    """What was committed could not be written down; it counts all the same, and is written down later."""

    def __init__(self, error: OSError | DBAPIError) -> None:
        super().__init__(in_words(error))
        self.kind = trouble(error)


@dataclass(frozen=True)
class Entry:
    """One line: by table the rows that a transaction changed, and the last event that it knew."""

    event: int
    rows: Mapping[str, Sequence[Image]]


def columns(table: Table) -> list[str]:
    """The columns of a table that the journal keeps."""
    return [column.name for column in table.columns if column.name not in _LEFT_OUT]


def must_have_file(database: Database, spool: Spool) -> None:
    """Let nobody make a new file where the ledger's is missing: the old one may be put back there.

    Raises:
        LedgerLost: SQLite's file is missing, and the spool has receipts that it had registered.
    """
    if database.is_sqlite and not Path(database.place).exists() and spool.has_registered():
        raise LedgerLost(
            f"The ledger {database.place} is missing, and the spool {spool.root} has files that were "
            "registered in it.",
            kept="They are all kept, and nothing was changed.",
            todo="Put it back, or mend [database] url. If it is lost, stop the inbox and run "
            "`kore-inbox rebuild`.",
        )


def must_have_ledger(connection: Connection, spool: Spool) -> None:
    """Let nobody begin from number 1 where files were received before.

    Args:
        connection: that has asked nothing yet, so that it sees all that is in the journal.
        spool: of this ledger.

    Raises:
        LedgerLost: the ledger has no file, and the spool has receipts that it had registered; or it is older
            than the spool's journal.
    """
    known = Journal(spool).known_event()
    if has_files(connection):
        if last_event(connection) < known:
            raise LedgerLost(
                f"The ledger is older than the spool {spool.root}, whose journal tells of what came later.",
                kept="Everything is kept in the spool, and nothing was changed.",
                todo="If the database was restored from an older copy, or a power cut took back what it had "
                "committed, stop the inbox and run `kore-inbox rebuild`: all is loaded again. If [database] "
                "url names the wrong database, mend it.",
            )
    elif spool.has_registered():
        raise LedgerLost(
            f"The ledger is empty, but the spool {spool.root} has files that were registered in one.",
            kept="They are all kept, and nothing was changed.",
            todo="If [database] url names the wrong database, mend it. If the ledger is lost, stop the inbox "
            "and run `kore-inbox rebuild`.",
        )


def has_files(connection: Connection) -> bool:
    """Whether the ledger knows any file."""
    return connection.execute(select(_file.c.id).limit(1)).first() is not None


def last_event(connection: Connection) -> int:
    """The number of the newest event, 0 if there is none."""
    last: int = connection.execute(select(func.coalesce(func.max(_event.c.id), 0))).scalar_one()
    return last


def entry(connection: Connection, since: int) -> Entry | None:
    """What a transaction has to leave in the journal, if anything.

    Args:
        connection: in the transaction, at its end.
        since: `last_event` at its beginning.
    """
    last = last_event(connection)
    if last == since:
        return None
    new = _event.c.id > since
    # Who gives up a number comes before who takes it: no two rows may hold it at once.
    files = _images(connection, _changed_files(since).order_by(_file.c.holder.is_not(None), _file.c.id))
    of_events = select(_event.c.stream_id).where(new, _event.c.stream_id.is_not(None)).distinct()
    ids = {row["stream_id"] for row in files if "stream_id" in row}
    ids |= set(connection.execute(of_events).scalars())
    skipped = and_(new, _event.c.event == "skipped", _event.c.stream_id == _skip.c.stream_id)
    skips = select(_skip).where(
        select(_event.c.id).where(skipped, _event.c.at == _skip.c.at).correlate(_skip).exists()
    )
    undone = (
        select(barrier)
        .join(_file, and_(_file.c.stream_id == barrier.c.stream, _file.c.version == barrier.c.version))
        .join(_event, _event.c.file_id == _file.c.id)
        .where(new, _event.c.event.in_(["undone", "approved"]), barrier.c.api == _file.c.api)
    )
    rows = {
        _stream.name: _images(connection, select(_stream).where(_stream.c.id.in_(ids))) if ids else [],
        _file.name: files,
        _skip.name: _images(connection, skips) if ids else [],
        barrier.name: _images(connection, undone),
    }
    rows = {name: images for name, images in rows.items() if images}
    return Entry(last, rows) if rows else None


def _changed_files(since: int) -> Select[Any]:
    # A FULL that has loaded is not asked about again: what it makes inactive was looked at (L6).
    loaded_full = and_(_event.c.event == Event.COMMITTED, _file.c.mode == Mode.FULL)
    fateful = or_(_event.c.event.in_(_FATEFUL), loaded_full)
    return (
        select(_file).join(_event, _event.c.file_id == _file.c.id).where(_event.c.id > since, fateful)
    ).distinct()


def _images(connection: Connection, query: Select[Any]) -> list[Image]:
    return [
        {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in row._mapping.items()
            if value is not None and name not in _LEFT_OUT
        }
        for row in connection.execute(query)
    ]


class Journal:
    """The journal of a spool. Its methods that write are safe in any process.

    They raise OSError if the disk does not take a line; what is half written is not read.
    """

    def __init__(self, spool: Spool) -> None:
        self._path: Path = spool.root / "journal"
        # How long it was when nothing was missing up to which event, whether or not that left a line. Only a
        # line of another process is read then, which may be long.
        self._known = (0, 0)

    def catch_up(self, database: Database, since: int | None = None) -> None:
        """Write down what has been committed since the last line, also by others who could not.

        What is read is read in the turn of who writes it, so that a later line never has an earlier image.

        Args:
            database: of the ledger; not in a transaction.
            since: `last_event` before the caller's own transaction. Another one may have written a line with
                a higher number while that was not committed.

        Raises:
            JournalBehind: disk or database are in the way for a while.
        """
        try:
            self._catch_up(database, since)
        except (OSError, DBAPIError) as error:
            if not passes_by_itself(error):
                raise
            raise JournalBehind(error) from error

    def _catch_up(self, database: Database, since: int | None) -> None:
        with self._in_turn() as handle:
            size_bytes = handle.seek(0, os.SEEK_END)
            known = self._known[1] if self._known[0] == size_bytes else self.known_event()
            with database.read() as connection:
                last = last_event(connection)
                missed = entry(connection, _begin(known, last, since))
            if missed is not None:
                self._append(handle, missed)
            self._known = (handle.seek(0, os.SEEK_END), last)

    def append(self, entry: Entry) -> None:
        """Write a line."""
        with self._in_turn() as handle:
            self._append(handle, entry)

    @contextmanager
    def _in_turn(self) -> Iterator[FileIO]:
        with self._path.open("a+b", buffering=0) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle

    def _append(self, handle: FileIO, entry: Entry) -> None:
        line = json.dumps(vars(entry), ensure_ascii=False, separators=(",", ":")).encode()
        # A line that a crash has cut ends here.
        before = b"\n" if handle.seek(0, os.SEEK_END) and not self._ends_well(handle.fileno()) else b""
        rest = memoryview(before + line + b"\n")
        while rest:
            rest = rest[handle.write(rest) or 0 :]
        os.fdatasync(handle.fileno())

    def known_event(self) -> int:
        """The last event that the journal knew, 0 if it is empty."""
        for line in self._lines_backwards():
            if (found := _parsed(line)) is not None:
                return found.event
        return 0

    def size_bytes(self) -> int:
        """How long it is."""
        return self._path.stat().st_size if self._path.exists() else 0

    def read(self) -> Iterator[tuple[Entry, int]]:
        """Every line in order, with its length in bytes."""
        with suppress(FileNotFoundError), self._path.open("rb") as handle:
            for line in handle:
                if (found := _parsed(line)) is not None:
                    yield found, len(line)

    @staticmethod
    def _ends_well(descriptor: int) -> bool:
        return os.pread(descriptor, 1, os.lseek(descriptor, 0, os.SEEK_END) - 1) == b"\n"

    def _lines_backwards(self) -> Iterator[bytes]:
        with suppress(FileNotFoundError), self._path.open("rb") as handle:
            at, rest, block = handle.seek(0, os.SEEK_END), b"", _BLOCK_BYTES
            while at:
                start = max(0, at - block)
                handle.seek(start)
                first, *lines = (handle.read(at - start) + rest).split(b"\n")
                yield from reversed(lines)
                # A line may have the whole ledger: it is not to be put together from thousands of pieces.
                at, rest, block = start, first, block * 2
            yield rest


def _begin(known: int, last: int, since: int | None) -> int:
    """Behind which event is looked for what a journal misses that knows of `known`; see `catch_up`."""
    if known > last:
        # The ledger was made anew and counts its events from 1; or an older copy of it was put in its place
        # beneath a running loader, whose images must not come after those of the newer one.
        return since or 0
    return known if since is None else min(known, since)


def _parsed(line: bytes) -> Entry | None:
    """A line, unless it was cut."""
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError):
        return None
