"""The operator's verbs, as functions; the command line and `scripts/` only call these (contract section 8).

Each verb that changes something names the files that it would touch, changes them unless it is a dry run, is
safe to repeat, and wakes the loader.
"""

import getpass
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select

from loaders.full import undo
from loaders.shapes import Catalog
from server import explanation, hours, incidents, journal, ledger, schema, views
from server.apis import load_catalog
from server.conditions import Facts
from server.config import Settings, load_settings
from server.database import Database
from server.errors import InboxError, UsageError
from server.intake import Intake
from server.journal import Journal, must_have_ledger
from server.migrate import is_prepared, prepare
from server.names import FIRST_SEQUENCE, LAST_SEQUENCE, Mode, parse_shown
from server.rebuild import Progress, Rebuilt, rebuild
from server.sequence import REPLACEABLE, Range, Scope, Version, gaps, stream_called, version_of
from server.spool import Spool
from server.states import Cause, Event, State, leaving_by
from server.upload import Sender, Upload

_BLOCK_BYTES = 256 * 1024

REPLAYABLE = leaving_by(Event.REPLAYED)
WITHDRAWABLE = leaving_by(Event.WITHDRAWN)

_RELEASABLE = (State.HELD, State.DEFERRED, State.READY)

# Numbers are given up ahead of time by the dozen; by the hundred thousand, a digit was mistyped.
FAR_AHEAD = 100_000


@dataclass(frozen=True)
class Decision:
    """Who decides, why, and whether it is only tried."""

    by: str = field(default_factory=getpass.getuser)
    reason: str = "no reason was given"
    dry_run: bool = False


@dataclass(frozen=True)
class Touched:
    """One file and what happens to it."""

    id: int
    name: str
    was: str
    becomes: str


class _DryRun(Exception):
    """Ends a transaction that was only tried."""


@dataclass(frozen=True)
class Inbox:
    """An inbox as its operator sees it, whether the server runs or not.

    Attributes:
        waiting: told what is ahead when a command has to wait for its turn to write.
    """

    settings: Settings
    spool: Spool
    database: Database
    catalog: Catalog
    waiting: Callable[[str], None] | None = None

    @classmethod
    def open(
        cls, conf: Path, waiting: Callable[[str], None] | None = None, *, may_be_lost: bool = False
    ) -> "Inbox":
        """The inbox of a settings folder; its schema and spool are made when missing.

        Raises:
            SettingsError: the settings cannot be used.
            LedgerLost: the ledger knows nothing of what is in the spool, unless it `may_be_lost`.
        """
        settings = load_settings(conf)
        spool = Spool(settings.inbox.spool)
        spool.create()
        inbox = cls(settings, spool, Database(settings.database_url), load_catalog(settings), waiting)
        if not is_prepared(inbox.database):
            prepare(inbox.database, inbox.catalog)
        if not may_be_lost:
            with inbox.database.read() as connection:
                must_have_ledger(connection, spool)
        return inbox

    @property
    def intake(self) -> Intake:
        """Judges files as the loader does."""
        return Intake(self.settings, lambda: frozenset(self.catalog), self.spool)

    # --- looking -------------------------------------------------------------------------------------

    def find(self, connection: Connection, text: str) -> Row[Any]:
        """A file by id or name; see `views.find_file`."""
        return views.find_file(connection, text, self.settings.sequence.scope)

    def next_number(self, source: str, integration: str) -> int:
        """What a source would number its next file with: behind all that has come, whatever is missing.

        Where each API counts by itself, the highest of their numbers.
        """
        parts = (source, integration)[: 1 if self.settings.sequence.scope is Scope.SOURCE else 2]
        with self.database.read() as connection:
            numbers = [
                max(stream.expected, highest.next if highest else stream.expected).sequence
                for stream in ledger.streams(connection)
                if tuple(stream.name.split("_")[: len(parts)]) == parts
                for highest in [ledger.highest(connection, stream.id)]
            ]
        return max(numbers, default=FIRST_SEQUENCE)

    def why(self, text: str) -> list[str]:
        """What a file waits for."""
        with self.database.read() as connection:
            waits = self.settings.dispatch.on_quarantine == "wait"
            row = self.find(connection, text)
            opens = hours.opens(self.settings.window(row.source), ledger.now_utc())
            return explanation.why(connection, row, waits_on_quarantine=waits, opens=opens)

    # --- changing ------------------------------------------------------------------------------------

    def replay(
        self, names: Sequence[str], states: Sequence[State], sources: Sequence[str], decision: Decision
    ) -> list[Touched]:
        """Judge held files anew, try quarantined ones again, load loaded ones again.

        Args:
            names: files by id or name.
            states: and all files that hold a number in these states,
            sources: of these sources, if any are named.
            decision: who and why.

        Raises:
            UsageError: a named file cannot be replayed.
        """
        with self._deciding("replaying", decision) as (connection, now):
            rows = [self.find(connection, name) for name in names]
            for row in rows:
                if row.state not in (*REPLAYABLE, State.HELD):
                    raise UsageError(
                        f"{row.name} (file {row.id}) is {row.state}; there is nothing to replay."
                    )
            rows += _files_in(connection, states, sources)
            for row in rows:
                self.intake.rejudge(connection, row, now, by=decision.by, reason=decision.reason)
            return _touched(connection, rows)

    def replace_with(self, text: str, path: Path, decision: Decision) -> Touched:
        """Accept a corrected copy of a file from this machine, as if its sender had sent it (A7, E3).

        Args:
            text: a file by id or name.
            path: the whole file, or corrected rows of it if it ends in `.fix`.
            decision: who and why.

        Raises:
            UsageError: the file has no number, or one that no corrected copy can take.
            OSError: the copy cannot be read, or the spool cannot be written.
        """
        with self.database.read() as connection:
            row = self.find(connection, text)
        name = None if row.api is None else parse_shown(row.name)
        if name is None or not row.holder:
            raise UsageError(f"{row.name} (file {row.id}) has no number that a corrected copy could take.")
        if path.suffix.lower() == ".fix":
            name = name.fix
        elif row.state not in REPLACEABLE:
            raise UsageError(
                f"{row.name} (file {row.id}) is {row.state}, and another file cannot take its number.",
                todo="Corrected rows of it can come in a file that ends in .fix.",
            )
        if not decision.dry_run:
            self._accept_copy(path, str(name), decision)
        return Touched(row.id, row.name, row.state, State.REPLACED if not name.is_fix else row.state)

    def _accept_copy(self, path: Path, name: str, decision: Decision) -> None:
        with path.open("rb") as copied:
            upload = Upload(self.spool, Sender(decision.by, "", name), self.settings.inbox.max_file_size)
            try:
                for block in iter(lambda: copied.read(_BLOCK_BYTES), b""):
                    upload.write(block)
                receipt = upload.make_durable()
            except (OSError, InboxError):
                upload.discard()
                raise
        self.spool.accept(replace(receipt, id=self.spool.new_id(receipt.data)))
        self.spool.nudge()

    def withdraw(self, names: Sequence[str], decision: Decision) -> list[Touched]:
        """Set files aside that shall not load; their numbers stay taken.

        Raises:
            UsageError: a file is loaded or loading, so that it is too late.
        """
        with self._deciding("withdrawing", decision) as (connection, now):
            rows = [self.find(connection, name) for name in names]
            for row in rows:
                if row.state not in (*WITHDRAWABLE, State.WITHDRAWN):
                    raise UsageError(f"{row.name} (file {row.id}) is {row.state} and cannot be withdrawn.")
                ledger.move(connection, row.id, Event.WITHDRAWN, now, by=decision.by, reason=decision.reason)
            return _touched(connection, rows)

    def approve(self, names: Sequence[str], decision: Decision) -> list[Touched]:
        """Let FULLs load whatever they make inactive (contract L6), also ahead of time.

        Raises:
            UsageError: a file is no FULL, or can load no more.
        """
        with self._deciding("approving", decision) as (connection, now):
            rows = [self.find(connection, name) for name in names]
            for row in rows:
                if row.mode != Mode.FULL or row.state in (State.DUPLICATE, State.REPLACED):
                    what = row.state if row.mode == Mode.FULL else "no FULL"
                    raise UsageError(f"{row.name} (file {row.id}) is {what}; there is nothing to approve.")
                if row.approved:
                    continue
                ledger.change(connection, row.id, approved=1)
                ledger.note(
                    connection, now, event="approved", file_id=row.id, by=decision.by, reason=decision.reason
                )
                if row.cause == Cause.NEEDS_APPROVAL:
                    ledger.move(connection, row.id, Event.RELEASED, now, by=decision.by, cause=None)
            return _touched(connection, rows)

    def release(self, names: Sequence[str], decision: Decision) -> list[Touched]:
        """Let FULLs load before their hours (contract D5), also ahead of time.

        Raises:
            UsageError: a file is no FULL, waits for approval, or waits for nothing.
        """
        with self._deciding("releasing", decision) as (connection, now):
            rows = [self.find(connection, name) for name in names]
            for row in rows:
                if row.mode != Mode.FULL or row.state not in _RELEASABLE:
                    what = row.state if row.mode == Mode.FULL else "no FULL"
                    raise UsageError(f"{row.name} (file {row.id}) is {what}; there is nothing to release.")
                if row.cause == Cause.NEEDS_APPROVAL:
                    raise UsageError(
                        f"{row.name} (file {row.id}) waits for approval, not for its hours.",
                        todo=f"If the export is right, run `kore-inbox approve {row.id}`.",
                    )
                if row.released:
                    continue
                ledger.change(connection, row.id, released=1)
                ledger.note(
                    connection,
                    now,
                    event="released early",
                    file_id=row.id,
                    by=decision.by,
                    reason=decision.reason,
                )
                if row.state == State.DEFERRED:
                    ledger.move(connection, row.id, Event.RELEASED, now, by=decision.by, cause=None)
            return _touched(connection, rows)

    def undo(self, name: str, decision: Decision) -> int:
        """Make active again what a FULL made inactive; the rows that it holds stay (contract L6).

        Returns:
            how many rows became active.

        Raises:
            UsageError: the file is no FULL that is loaded and makes rows inactive.
        """
        with self._deciding("undoing a FULL", decision) as (connection, now):
            row = self.find(connection, name)
            api = self.catalog.get(row.api or "")
            if row.mode != Mode.FULL or row.state != State.LOADED or api is None:
                raise UsageError(f"{row.name} (file {row.id}) is no FULL that is loaded.")
            if not api.deactivates:
                raise UsageError(f"A FULL of {row.api} makes nothing inactive; there is nothing to undo.")
            reactivated = undo(connection, api, row.stream_id, row.version)
            if reactivated is not None:
                ledger.note(
                    connection, now, event="undone", file_id=row.id, by=decision.by, reason=decision.reason
                )
            return reactivated or 0

    def skip(self, stream_name: str, first: int, last: int, decision: Decision) -> list[Range]:
        """Give up missing numbers, also ahead of time (contract S4); returns those that were missing.

        Numbers that have arrived or were skipped already are passed over.

        Raises:
            UsageError: no stream can have that name, or the numbers are far ahead of all that has come.
        """
        with self._deciding(f"skipping in {stream_name}", decision) as (connection, now):
            stream = self._stream(connection, stream_name, now)
            wanted = Range(version_of(first, stream.expected), version_of(last, stream.expected))
            highest = max(ledger.highest(connection, stream.id) or stream.expected, stream.expected)
            if int(wanted.last) - int(highest) > FAR_AHEAD:
                raise UsageError(
                    f"{wanted.last} is more than {FAR_AHEAD:,} ahead of {highest}, where {stream.name} is.",
                    kept="Nothing was skipped.",
                    todo=f"If {stream.name} goes on so high, run "
                    f"`kore-inbox sequence set {stream.name} {wanted.last.next.sequence:07d}`.",
                )
            found = _missing_in(connection, stream, wanted)
            ledger.give_up(connection, stream, found, now, by=decision.by, reason=decision.reason)
            return found

    def set_sequence(self, stream_name: str, number: int, decision: Decision) -> Version:
        """Say which number is due; returns it with its epoch, moved on past what has arrived.

        Forwards, what is missing before it is skipped; backwards, a new epoch begins (contract S1).

        Raises:
            UsageError: the number is none.
        """
        if not FIRST_SEQUENCE <= number <= LAST_SEQUENCE:
            raise UsageError(f"{number} is no number from 0000001 to 9999999.")
        with self._deciding(f"setting {stream_name}", decision) as (connection, now):
            stream = self._stream(connection, stream_name, now)
            due = Version(stream.expected.epoch, number)
            if due > stream.expected:
                missing = _missing_in(connection, stream, Range(stream.expected, due.previous))
                stream, _ = ledger.give_up(
                    connection, stream, missing, now, by=decision.by, reason=decision.reason
                )
            elif due < stream.expected:
                start = Version(stream.expected.epoch + 1, number)
                stream, _ = ledger.move_on(connection, stream, now, start=start)
                ledger.note(
                    connection,
                    now,
                    event="sequence set",
                    stream_id=stream.id,
                    by=decision.by,
                    reason=f"{start}: {decision.reason}",
                )
            return stream.expected

    def rebuild(self, decision: Decision, progress: Progress) -> Rebuilt:
        """Make a lost ledger anew from the spool; see `rebuild.rebuild`."""
        return rebuild(
            self.settings,
            self.spool,
            self.database,
            self.catalog,
            by=decision.by,
            reason=decision.reason,
            dry_run=decision.dry_run,
            progress=progress,
        )

    def _stream(self, connection: Connection, name: str, now: datetime) -> ledger.Stream:
        try:
            stream = stream_called(name, self.settings.sequence.scope)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return ledger.open_stream(
            connection, stream, self.settings.source(stream.partition("_")[0]).rank, now
        )

    @contextmanager
    def _deciding(self, purpose: str, decision: Decision) -> Iterator[tuple[Connection, datetime]]:
        """A write transaction that is undone if it was only tried; the loader hears of it if not."""
        try:
            with self.database.write(purpose, self.waiting) as connection:
                now, since = ledger.now_utc(), journal.last_event(connection)
                yield connection, now
                if decision.dry_run:
                    raise _DryRun
                incidents.review(Facts(connection, self.settings, self.catalog, self.spool, now))
                entry = journal.entry(connection, since)
        except _DryRun:
            return
        Journal(self.spool).append(entry)
        self.spool.nudge()


def _files_in(connection: Connection, states: Sequence[State], sources: Sequence[str]) -> list[Row[Any]]:
    if not states:
        return []
    wanted = views.Filter(states=states, sources=sources)
    return list(connection.execute(wanted.apply(select(schema.file)).order_by(schema.file.c.id)))


def _touched(connection: Connection, rows: Sequence[Row[Any]]) -> list[Touched]:
    return [Touched(row.id, row.name, row.state, ledger.file_by_id(connection, row.id).state) for row in rows]


def _missing_in(connection: Connection, stream: ledger.Stream, wanted: Range) -> list[Range]:
    first = max(wanted.first, stream.expected)
    if first > wanted.last:
        return []
    arrived = takewhile(lambda version: version <= wanted.last, ledger.arrived(connection, stream.id, first))
    # One number beyond the range is taken for arrived, so that the range's own end counts as missing.
    return list(gaps(first, chain(arrived, [wanted.last.next]), ledger.skips(connection, stream.id, first)))
