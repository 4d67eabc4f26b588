"""The operator's verbs, as functions; the command line and `scripts/` only call these (contract section 8).

Each verb that changes something names the files that it would touch, changes them unless it is a dry run, is
safe to repeat, and wakes the loader.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import DBAPIError

from loaders.full import undo
from loaders.shapes import Catalog
from server import (
    approval,
    copies,
    explanation,
    fixes,
    home,
    hours,
    incidents,
    journal,
    ledger,
    numbering,
    overview,
    roles,
    row_replay,
    schema,
    streams,
    views,
    waits,
)
from server.apis import load_catalog
from server.conditions import Facts
from server.config import Settings, load_settings
from server.database import Database, passes_by_itself, trouble
from server.decisions import Approved, Corrected, Decision, Touched
from server.errors import InboxError, UsageError
from server.intake import Intake
from server.journal import Journal, LedgerLost, must_have_file, must_have_ledger
from server.kinds import Kind
from server.loading import Loading
from server.migrate import is_prepared, prepare
from server.names import FIRST_SEQUENCE, Mode
from server.nudges import nudge
from server.rebuild import Progress, Rebuilt, rebuild
from server.receipt import DROP_FOLDER
from server.row_replay import TriedRow
from server.sequence import Range, Scope
from server.spool import Spool
from server.states import Cause, Event, State, leaving_by
from server.users import User, list_users

__all__ = ["Approved", "Corrected", "Decision", "Inbox", "Touched", "TriedRow"]

_CAN_BE_REPLAYED = (State.HELD, *leaving_by(Event.REPLAYED))
WITHDRAWABLE = leaving_by(Event.WITHDRAWN)

_RELEASABLE = (State.HELD, State.DEFERRED, State.READY)


class _DryRun(Exception):
    """Ends a transaction that was only tried."""


@dataclass(frozen=True)
class Inbox:
    """An inbox as its operator sees it, whether the server runs or not.

    Attributes:
        waiting: told what is ahead when a command has to wait for its turn to write.
        conf: the settings folder, where its users are; without one it has none.
    """

    settings: Settings
    spool: Spool
    database: Database
    catalog: Catalog
    waiting: Callable[[str], None] | None = None
    conf: Path | None = None

    @classmethod
    def open(
        cls,
        conf: Path,
        waiting: Callable[[str], None] | None = None,
        *,
        may_be_lost: bool = False,
        any_spool: bool = False,
    ) -> "Inbox":
        """The inbox of a settings folder; its schema is made when missing, and so is its spool.

        Where it may be `any_spool`, none is made: `adopt` does it.

        Raises:
            SettingsError: the settings cannot be used.
            LedgerLost: the ledger knows nothing of what is in the spool, unless it `may_be_lost`.
            AnotherSpool: the ledger belongs to another spool, unless it may be `any_spool`.
            SpoolGone: the ledger's spool is not in its place.
        """
        inbox = cls._of(conf, waiting, timeout_seconds=30)
        if not any_spool:
            home.settle(inbox.database, inbox.spool)
        elif inbox.spool.is_made:
            inbox.spool.enter()
        inbox._prepare(may_be_lost=may_be_lost, any_spool=any_spool)
        return inbox

    @classmethod
    def beside(
        cls, conf: Path, waiting: Callable[[str], None] | None = None, timeout_seconds: float = 30
    ) -> "Inbox":
        """The same without asking the database anything, of a spool that is there.

        Args:
            conf: the settings folder.
            waiting: see `Inbox`.
            timeout_seconds: see `Database`.

        Raises:
            SettingsError: the settings cannot be used.
            SpoolGone: the spool is not there, or not yet.
        """
        inbox = cls._of(conf, waiting, timeout_seconds)
        inbox.spool.enter()
        return inbox

    @classmethod
    def _of(cls, conf: Path, waiting: Callable[[str], None] | None, timeout_seconds: float) -> "Inbox":
        settings = load_settings(conf)
        spool = Spool(settings.inbox.spool)
        database = Database(settings.database_url, timeout_seconds=timeout_seconds)
        return cls(settings, spool, database, load_catalog(settings), waiting, conf)

    def _prepare(self, *, may_be_lost: bool = False, any_spool: bool = False) -> None:
        if not may_be_lost:
            must_have_file(self.database, self.spool)
        if not is_prepared(self.database):
            prepare(self.database, self.catalog)
        if not may_be_lost:
            with self.database.read() as connection:
                must_have_ledger(connection, self.spool)
        if not any_spool:
            home.claim(self.database, self.spool)

    @property
    def intake(self) -> Intake:
        """Judges files as the loader does."""
        return Intake(self.settings, lambda: frozenset(self.catalog), self.spool, self._may_push)

    def _may_push(self, user: str, address: str, source: str) -> bool:
        if user == DROP_FOLDER:
            return self.settings.drop_folder.may_hold(address, source)
        return any(source in found.sources for found in self._users() if found.name == user)

    def _users(self) -> list[User]:
        return [] if self.conf is None else list_users(self.conf)

    def _sources(self) -> set[str]:
        """The sources whose files somebody may send today, by FTP or in a drop folder."""
        of_users = (found.sources for found in self._users())
        return set(chain(*of_users, *self.settings.drop_folder.folders.values()))

    # --- looking -------------------------------------------------------------------------------------

    def find(self, connection: Connection, text: str) -> Row[Any]:
        """A file by id or name; see `views.find_file`."""
        return views.find_file(connection, text, self.settings.sequence.scope)

    def status(self) -> views.Record:
        """The whole inbox at a glance; while the database is away, what can be seen without it."""
        waiting = list(waits.beside(self.spool, self.settings.inbox))
        try:
            self._prepare()
            with self.database.read() as connection:
                found = overview.status(connection)
                waiting += waits.inside(connection, ledger.now_utc())
        except DBAPIError as error:
            if not passes_by_itself(error):
                raise
            # What the loader has noted says more: since when, and when it tries again.
            if all(wait.kind != trouble(error) for wait in waiting):
                waiting.append(waits.no_answer(error, self.database.place))
            found = overview.UNKNOWN | {"exceptions": 1}
        except LedgerLost:
            # Unless the inbox runs, there is nothing else to say.
            if all(wait.kind != Kind.DATABASE_AWAY for wait in waiting):
                raise
            found = overview.UNKNOWN | {"exceptions": 1}
        return {
            "waits": [asdict(wait) for wait in waiting],
            "loader": "running" if roles.is_taken(self.spool.root, "loader") else "not running",
            "unregistered": len(self.spool.pending_ids()),
            "unfinished": [
                {
                    "name": note.name,
                    "user": note.user,
                    "size_bytes": note.size_bytes,
                    "since": note.received_at,
                    "cut": note.cut,
                }
                for note in self.spool.staged_receipts()
            ],
            **found,
        }

    def next_number(self, source: str, integration: str) -> int:
        """What a source would number its next file with: behind all that has come, whatever is missing.

        Where each API counts by itself, the highest of their numbers.
        """
        parts = (source, integration)[: 1 if self.settings.sequence.scope is Scope.SOURCE else 2]
        with self.database.read() as connection:
            numbers = [
                max(stream.expected, highest.next if highest else stream.expected).sequence
                for stream in streams.by_rank(connection)
                if tuple(stream.name.split("_")[: len(parts)]) == parts
                for highest in [streams.highest(connection, stream.id)]
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
        self,
        names: Sequence[str],
        states: Sequence[State],
        sources: Sequence[str],
        decision: Decision,
        *,
        apis: Sequence[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Touched]:
        """Judge held files anew, try quarantined ones again, load loaded ones again.

        Args:
            names: files by id or name.
            states: and all files in these states,
            sources: of these sources, if any are named,
            decision: who and why.
            apis: and of these APIs, if any are named,
            since: and received then or later, UTC,
            until: and received then or before, UTC.

        Returns:
            the files in the order in which they load, and then those that do not.

        Raises:
            UsageError: a named file, or no file of a state, can be replayed; or nobody knows a source.
        """
        for state in states:
            if state not in _CAN_BE_REPLAYED:
                can = ", ".join(_CAN_BE_REPLAYED)
                raise UsageError(f"There is nothing to replay of {state} files; there is of those: {can}.")
        wanted = views.Filter(states=states, sources=sources, apis=apis, since=since, until=until)
        with self._deciding("replaying", decision) as (connection, now):
            self._must_know(connection, sources)
            rows = [self.find(connection, name) for name in names]
            for row in rows:
                if row.state == State.REFUSED and not row.data:
                    raise UsageError(
                        f"The bytes of {row.name} (file {row.id}) were not kept when it was refused: "
                        "`refused_quota` was used up.",
                        todo=f"Have it sent again; `kore-inbox withdraw {row.id}` sets this one aside.",
                    )
                if row.state not in _CAN_BE_REPLAYED:
                    raise UsageError(
                        f"{row.name} (file {row.id}) is {row.state}; there is nothing to replay."
                    )
            if states:
                query = wanted.apply(select(schema.file)).order_by(schema.file.c.id)
                rows += connection.execute(query)
            # A fix loads with its file, and so does that file again.
            concerned = {row.id: row for row in [*rows, *_mended_by(connection, rows)]}
            for row in rows:
                self.intake.rejudge(connection, row, now, by=decision.by, reason=decision.reason)
            return sorted(
                _touched(connection, list(concerned.values())), key=self._turn(connection, concerned)
            )

    def replay_rows(self, names: Sequence[str], wanted: views.Filter, decision: Decision) -> list[TriedRow]:
        """Judge refused and parked rows again, without the other rows of their files; see `row_replay`.

        Args:
            names: loaded files by id or name; if there are none,
            wanted: all loaded ones of these.
            decision: who and why.

        Returns:
            the rows that were not in, file by file in the order of loading.

        Raises:
            UsageError: a named file is not loaded, or has no rows of its own.
        """
        with self._deciding("replaying rows", decision) as (connection, now):
            self._must_know(connection, wanted.sources)
            if names:
                rows = [self.find(connection, name) for name in names]
            else:
                rows = row_replay.files(connection, wanted, self.catalog)
            for row in rows:
                row_replay.must_have_rows(row, self.catalog)
            order = self._order(connection)
            return row_replay.replay_rows(
                connection,
                sorted({row.id: row for row in rows}.values(), key=order),
                Loading(self.settings, self.spool, self.catalog),
                now,
                by=decision.by,
                reason=decision.reason,
            )

    def _must_know(self, connection: Connection, sources: Sequence[str]) -> None:
        """UsageError for a source that nobody may send, and of which nothing has come: it is mistyped."""
        known = {*self._sources(), *self.settings.sources} if sources else set()
        for source in {source.upper() for source in sources} - known:
            has_come = select(schema.file.c.id).where(schema.file.c.source == source).limit(1)
            if connection.execute(has_come).first() is None:
                raise UsageError(
                    f"Nothing has come from a source {source}, and no user or drop folder may have its "
                    "files.",
                    todo="`kore-inbox user list` has the sources of users, `[drop_folder] folders` those of "
                    "folders.",
                )

    def _turn(self, connection: Connection, rows: Mapping[int, Row[Any]]) -> Callable[[Touched], Any]:
        """By what files are sorted so that those that will load come first, in their order."""
        order = self._order(connection)

        def turn(file: Touched) -> Any:
            row = rows[file.id]
            if file.becomes != State.READY or row.api not in self.catalog:
                return 1, file.id
            return 0, *order(row)

        return turn

    def _order(self, connection: Connection) -> Callable[[Row[Any]], tuple[int, int, int]]:
        """By what files of known APIs are sorted so that they are in the order of loading (contract D1)."""
        ranks = streams.places(connection)
        return lambda row: (self.catalog.level(row.api), ranks.get(row.stream_id, 0), row.version or 0)

    def replace_with(self, text: str, path: Path, decision: Decision) -> Touched:
        """Accept a corrected copy of a file from this machine, as if its sender had sent it; see `copies`.

        Raises:
            UsageError: the file has no number, or one that no corrected copy can take.
            OSError: the copy cannot be read, or the spool cannot be written.
        """
        with path.open("rb"):
            # That it is missing is told before all else.
            pass
        with self.database.read() as connection:
            row = self.find(connection, text)
            return copies.take(
                connection,
                row,
                path,
                settings=self.settings,
                spool=self.spool,
                catalog=self.catalog,
                decision=decision,
            )

    def withdraw(self, names: Sequence[str], decision: Decision) -> list[Touched]:
        """Set files aside that shall not load; their numbers stay taken.

        Raises:
            UsageError: a file is loading, or has been loaded, so that it is too late.
        """
        with self._deciding("withdrawing", decision) as (connection, now):
            rows = [self.find(connection, name) for name in names]
            for row in rows:
                if row.state not in (*WITHDRAWABLE, State.WITHDRAWN):
                    raise UsageError(
                        f"{row.name} (file {row.id}) is {row.state} and cannot be withdrawn.",
                        todo="What is in is corrected by a newer file; `kore-inbox undo` makes active again "
                        "what a FULL has made inactive."
                        if row.state == State.LOADED
                        else "",
                    )
                if row.loaded_at is not None:
                    raise UsageError(
                        f"{row.name} (file {row.id}) is to be loaded again; its rows are in since "
                        f"{row.loaded_at:%Y-%m-%d %H:%M:%S} UTC, and it cannot be withdrawn."
                    )
                ledger.move(connection, row.id, Event.WITHDRAWN, now, by=decision.by, reason=decision.reason)
                if row.reason and decision.reason == Decision.reason:
                    # What was wrong with it says more than that nobody said why it was set aside.
                    ledger.change(connection, row.id, reason=row.reason)
                ledger.reinstate(connection, row, now)
            return _touched(connection, rows)

    def dismiss(self, names: Sequence[str], decision: Decision) -> list[Touched]:
        """Say that nobody needs to look at the refused rows of files any more (contract E1).

        Raises:
            UsageError: a file is not loaded, or none of its rows was refused.
        """
        with self._deciding("dismissing refused rows", decision) as (connection, now):
            rows = [self.find(connection, name) for name in names]
            for row in rows:
                if row.state != State.LOADED or not row.rows_rejected:
                    raise UsageError(f"{row.name} (file {row.id}) is {_without_refused_rows(row)}.")
                if row.rows_dismissed == row.rows_rejected:
                    continue
                ledger.change(connection, row.id, rows_dismissed=row.rows_rejected)
                ledger.note(
                    connection, now, event="dismissed", file_id=row.id, by=decision.by, reason=decision.reason
                )
            return _touched(connection, rows)

    def approve(self, names: Sequence[str], decision: Decision) -> list[Approved]:
        """Let FULLs load whatever they make inactive (contract L6), also ahead of time; see `approval`.

        Raises:
            UsageError: a file is no FULL, or can load no more.
        """
        loading = Loading(self.settings, self.spool, self.catalog)
        with self._deciding("approving", decision) as (connection, now):
            told = []
            for row in [self.find(connection, name) for name in names]:
                losses = approval.approve(
                    connection, row, self.catalog, now, by=decision.by, reason=decision.reason
                )
                why_not = None
                if decision.dry_run and not losses:
                    losses, why_not = approval.preview(connection, row, self.catalog, loading)
                [touched] = _touched(connection, [row])
                told.append(Approved(**{**vars(touched), "reason": why_not}, losses=losses))
            return told

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
            UsageError: there can be no such stream, or the numbers are far ahead of all that has come or
                end before they begin.
        """
        with self._deciding(f"skipping in {stream_name}", decision) as (connection, now):
            stream = self._stream(connection, stream_name, now)
            return numbering.skip(
                connection, stream, first, last, now, by=decision.by, reason=decision.reason
            )

    def set_sequence(self, stream_name: str, number: int, decision: Decision) -> numbering.Setting:
        """Say which number is due (contract S1); see `numbering.set_due`.

        Raises:
            UsageError: the number is none, or there can be no such stream.
        """
        with self._deciding(f"setting {stream_name}", decision) as (connection, now):
            stream = self._stream(connection, stream_name, now)
            return numbering.set_due(connection, stream, number, now, by=decision.by, reason=decision.reason)

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

    def adopt(self, decision: Decision) -> str | None:
        """Let the ledger go on with this spool, as the one that it had is lost.

        Returns:
            where that was; None if the ledger had no other.

        Raises:
            UsageError: an inbox is at work on the other one.
        """
        with self._deciding("adopting a spool", decision) as (connection, now):
            return home.adopt(
                connection,
                self.spool,
                now,
                by=decision.by,
                reason=decision.reason,
                dry_run=decision.dry_run,
            )

    def _stream(self, connection: Connection, name: str, now: datetime) -> streams.Stream:
        return numbering.open_stream(
            connection, name, self.settings, sources=self._sources(), apis=self.catalog.keys(), now=now
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
        except _DryRun:
            return
        try:
            Journal(self.spool).catch_up(self.database, since)
        except OSError as error:
            raise InboxError(
                f"It is done, but the spool's journal cannot be written: {error.strerror}.",
                todo="Look after the spool's disk. The inbox notes it with what happens next; if the ledger "
                "is lost before, it is forgotten.",
            ) from error
        finally:
            nudge(self.spool.root)


def _mended_by(connection: Connection, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    """The files that load again with those fixes among some files that are replayed."""
    found = [
        fixes.mended(connection, row)
        for row in rows
        if row.state in (State.HELD, State.LOADED) and fixes.name_of(row) is not None
    ]
    return [row for row in found if row is not None and fixes.loads_again(row)]


def _touched(connection: Connection, rows: Sequence[Row[Any]]) -> list[Touched]:
    now = [ledger.file_by_id(connection, row.id) for row in rows]
    return [
        Touched(row.id, row.name, row.state, then.state, then.reason)
        for row, then in zip(rows, now, strict=True)
    ]


def _without_refused_rows(row: Row[Any]) -> str:
    if row.state != State.LOADED:
        return f"{row.state}; `kore-inbox withdraw` sets it aside"
    return "loaded whole; there is nothing to dismiss"
