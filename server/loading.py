"""One ready file becomes rows, and the ledger says so in the same transaction (contract L1).

The caller holds the transaction and the lease. A file has a savepoint of its own, so that what is wrong with
it ends there: it is quarantined or deferred with the reason, and its neighbours stay untouched. A fault that
passes is not the file's; it goes up to the caller, who has the group put off (contract L9).
"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from loaders.leftovers import take_out
from loaders.load import Delivery, NeedsApproval, NotLoaded, Outcome, load
from loaders.options import SourceOptions
from loaders.records import forget_rows, reject_rows
from loaders.shapes import Catalog
from server import fixes, hours, ledger, streams
from server.config import Settings
from server.database import in_words, passes_by_itself
from server.spool import Spool
from server.states import Cause, Event, State
from server.waves import Ready, is_stuck
from server.wording import counted

log = logging.getLogger("server.dispatcher")

RETRY_FIRST_SECONDS = 1.0
RETRY_LAST_SECONDS = 300.0


class Sayings:
    """What the log is to say of files once their transaction is committed; before, it may turn out untrue."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, str, dict[str, Any]]] = []

    def add(self, level: int, line: str, **extra: Any) -> None:
        """Keep a line, with the further fields of its record."""
        self._lines.append((level, line, extra))

    def write(self) -> None:
        """Log the lines, in their order."""
        for level, line, extra in self._lines:
            log.log(level, "%s", line, extra=extra)


class Loading:
    """Loads files of one spool by one catalog.

    Args:
        settings: limits, and how each source writes.
        spool: where the bytes are.
        catalog: the APIs.
    """

    def __init__(self, settings: Settings, spool: Spool, catalog: Catalog) -> None:
        self._settings = settings
        self._spool = spool
        self._catalog = catalog

    def stuck(self, connection: Connection) -> Mapping[tuple[int, str], int]:
        """For (stream, API), the version of a file that later ones have to wait for (contract D2)."""
        return ledger.stuck(connection) if self._settings.dispatch.on_quarantine == "wait" else {}

    def load(
        self, connection: Connection, file: Ready, ranks: Mapping[int, int], now: datetime, sayings: Sayings
    ) -> None:
        """Load one file within its group's transaction; what is wrong with the file itself ends here.

        Args:
            connection: in the group's transaction.
            file: of the wave.
            ranks: see `Delivery`.
            now: UTC.
            sayings: gets what became of the file; the caller writes it after the commit.
        """
        if not self.begin(connection, file, now):
            return
        row = ledger.file_by_id(connection, file.file_id)
        started = time.monotonic()
        savepoint = connection.begin_nested()
        try:
            outcome, gone = self._into_tables(connection, row, ranks, now)
        except NotLoaded as fault:
            savepoint.rollback()
            _not_loaded(connection, row, fault, now, sayings)
        except FileNotFoundError:
            savepoint.rollback()
            reason = "its bytes are not in the spool any more"
            _quarantine(connection, row, now, sayings, cause=Cause.BYTES_MISSING, reason=reason)
        except Exception as error:
            if passes_by_itself(error):
                raise
            savepoint.rollback()
            log.exception("%s cannot be loaded", row.name, extra={"action": "load", "file_id": row.id})
            reason = f"{type(error).__name__}: {in_words(error)}"
            if new := fixes.set_aside(connection, row, reason, now):
                sayings.add(logging.WARNING, f"{row.name} is tried without {', '.join(new)}", action="load")
                self.load(connection, file, ranks, now, sayings)
            else:
                _quarantine(connection, row, now, sayings, cause=Cause.INTERNAL, reason=reason)
        else:
            savepoint.commit()
            if gone is not None:
                sayings.add(logging.WARNING, f"{row.name}: {gone}", action="load", file_id=row.id)
            seconds = time.monotonic() - started
            sayings.add(
                logging.INFO,
                f"{row.name} loaded: {counted(outcome.rows_loaded, 'row')} in {seconds:.3f} s",
                action="load",
                api=row.api,
                sequence=row.sequence,
                file_id=row.id,
            )

    def attempt(self, connection: Connection, row: Row[Any], named_keys: int) -> Outcome:
        """What loading a FULL would do that is approved; the caller undoes it.

        Args:
            connection: in a write transaction, or a savepoint of one, that is rolled back afterwards.
            row: of `inbox_file`; the catalog has its API.
            named_keys: how many keys of the rows that become inactive are to be told, by table.

        Raises:
            NotLoaded: it would not load.
            FileNotFoundError: its bytes are gone.
        """
        ranks = streams.places(connection)
        _, outcome = self._read_in(connection, row, ranks, is_approved=True, named_keys=named_keys)
        return outcome

    def load_rows(
        self,
        connection: Connection,
        row: Row[Any],
        lines: Collection[int],
        ranks: Mapping[int, int],
        now: datetime,
        *,
        by: str,
        reason: str,
    ) -> None:
        """Load a loaded file again in some of its lines, and leave its other rows as they are.

        Args:
            connection: in a write transaction, beside which no loader works.
            row: of `inbox_file`; it is loaded, and the catalog has its API.
            lines: all that were refused, or are parked.
            ranks: see `Delivery`.
            now: UTC.
            by: who wants it,
            reason: and why.

        Raises:
            NotLoaded: its rows stay as they were, if the caller rolls back.
            FileNotFoundError: its bytes are gone.
        """
        ledger.move(
            connection, row.id, Event.REPLAYED, now, by=by, reason=f"refused and parked rows: {reason}"
        )
        ledger.move(connection, row.id, Event.STARTED, now)
        mending, outcome = self._read_in(connection, row, ranks, lines=lines)
        _record(connection, row, outcome, now)
        fixes.record(connection, row, mending, outcome, now)

    def _into_tables(
        self, connection: Connection, row: Row[Any], ranks: Mapping[int, int], now: datetime
    ) -> tuple[Outcome, str | None]:
        """Load a file with its fixes, in the place of those that it has replaced, and write it all down.

        Returns:
            what came of it, and what is to be said of rows that were taken out, if any were.
        """
        replaced = ledger.replaced_by(connection, row)
        for before in replaced:
            forget_rows(connection, before.id)
        mending, outcome = self._read_in(connection, row, ranks)
        _record(connection, row, outcome, now)
        fixes.record(connection, row, mending, outcome, now)
        if replaced:
            ids = [before.id for before in replaced]
            gone = take_out(connection, self._catalog, self._catalog[row.api], ids)
            if gone:
                return outcome, _note_taken_out(connection, row, ids, gone, now)
        return outcome, None

    def _read_in(
        self, connection: Connection, row: Row[Any], ranks: Mapping[int, int], **delivered: Any
    ) -> tuple[list[fixes.Fix], Outcome]:
        options = self._settings.reading(row.source)
        mending = fixes.of(connection, row, self._spool, options)
        with self._spool.read_data(row.data) as data:
            delivery = self._delivery(row, ranks, options, [fix.corrections.rows for fix in mending])
            return mending, load(connection, self._catalog, replace(delivery, **delivered), data)

    def begin(self, connection: Connection, file: Ready, now: datetime) -> bool:
        """Whether a file of the wave may load still: an operator, an earlier file or the hour may forbid."""
        is_kept = file.is_full and hours.is_kept(
            ledger.file_by_id(connection, file.file_id), self._settings, now
        )
        if not is_kept and not is_stuck(file, self.stuck(connection)):
            ledger.move(connection, file.file_id, Event.STARTED, now)
        return bool(ledger.file_by_id(connection, file.file_id).state == State.LOADING)

    def _delivery(
        self,
        row: Row[Any],
        ranks: Mapping[int, int],
        options: SourceOptions,
        corrections: Sequence[Mapping[int, str]],
    ) -> Delivery:
        return Delivery(
            file_id=row.id,
            api=row.api,
            mode=row.mode,
            stream=row.stream_id,
            version=row.version,
            ranks=ranks,
            options=options,
            max_rejected=self._settings.max_rejected(self._catalog[row.api]),
            shrink_limit_percent=self._settings.load.full_shrink_limit,
            is_approved=bool(row.approved),
            corrections=corrections,
        )


def postpone(
    connection: Connection, files: Sequence[Ready], error: Exception, now: datetime, sayings: Sayings
) -> None:
    """Have files tried again later; it is nobody's work (contract L9)."""
    for file in files:
        row = ledger.file_by_id(connection, file.file_id)
        delay = min(RETRY_FIRST_SECONDS * 2**row.attempts, RETRY_LAST_SECONDS)
        said = in_words(error)
        line = f"{row.name} is tried again in {delay:.0f} s: {said}"
        sayings.add(logging.WARNING, line, action="retry", file_id=row.id)
        moved = ledger.move(connection, row.id, Event.POSTPONED, now, reason=said)
        if moved is None and row.state == State.READY:
            # A small file: that it was begun was undone with its load.
            ledger.change(connection, row.id, reason=said)
            ledger.note(
                connection, now, event=Event.POSTPONED, file_id=row.id, state=State.READY, reason=said
            )
        again = now + timedelta(seconds=delay)
        ledger.change(connection, row.id, attempts=row.attempts + 1, retry_at=again)


def _record(connection: Connection, row: Row[Any], outcome: Outcome, now: datetime) -> None:
    ledger.move(
        connection,
        row.id,
        Event.COMMITTED,
        now,
        cause=None,
        loaded_at=now,
        attempts=0,
        retry_at=None,
        rows_read=outcome.rows_read,
        rows_loaded=outcome.rows_loaded,
        rows_rejected=outcome.rows_rejected,
        rows_parked=outcome.rows_parked,
    )
    for file_id, rows in outcome.unparked.items():
        ledger.count_unparked(connection, file_id, rows)
        reason = (
            f"{counted(rows, 'row')} that waited went in, or became void, with {row.name} (file {row.id})"
        )
        ledger.note(connection, now, event="unparked", file_id=file_id, reason=reason)


def _note_taken_out(
    connection: Connection, row: Row[Any], replaced: Sequence[int], gone: int, now: datetime
) -> str:
    said = (
        f"{counted(gone, 'row')} of file {', '.join(map(str, replaced))}, cut within a key, taken out; "
        "if another file had brought that key before, `kore-inbox replay --loaded` brings it back"
    )
    ledger.note(connection, now, event="cut row taken out", file_id=row.id, reason=said)
    return said


def _not_loaded(
    connection: Connection, row: Row[Any], fault: NotLoaded, now: datetime, sayings: Sayings
) -> None:
    """Write down what was found in a file that is not loaded as it is, and have a person look at it."""
    if row.loaded_at is None:
        forget_rows(connection, row.id)
        reject_rows(connection, row.id, fault.rejects)
        ledger.change(connection, row.id, rows_read=fault.rows_read, rows_rejected=fault.rows_rejected)
    if isinstance(fault, NeedsApproval):
        _defer(connection, row, now, sayings, reason=fault.reason)
    else:
        _quarantine(connection, row, now, sayings, cause=Cause.REJECTED_ROWS, reason=fault.reason)


def _quarantine(
    connection: Connection, row: Row[Any], now: datetime, sayings: Sayings, *, cause: str, reason: str
) -> None:
    if _keep(connection, row, now, sayings, cause=cause, reason=reason):
        return
    ledger.move(connection, row.id, Event.BAD_CONTENT, now, reason=reason, cause=cause)
    ledger.reinstate(connection, row, now)
    sayings.add(logging.WARNING, f"{row.name} not loaded: {reason}", action="quarantine", file_id=row.id)


def _defer(connection: Connection, row: Row[Any], now: datetime, sayings: Sayings, *, reason: str) -> None:
    """Keep a FULL back until an operator has approved it (contract L6)."""
    if _keep(connection, row, now, sayings, cause=Cause.NEEDS_APPROVAL, reason=reason):
        return
    ledger.move(connection, row.id, Event.DEFERRED, now, reason=reason, cause=Cause.NEEDS_APPROVAL)
    sayings.add(logging.WARNING, f"{row.name} waits for approval: {reason}", action="defer", file_id=row.id)


def _keep(
    connection: Connection, row: Row[Any], now: datetime, sayings: Sayings, *, cause: str, reason: str
) -> bool:
    """Leave a file that was loaded before as it was; whether it was (contract L1, L7)."""
    if row.loaded_at is None:
        return False
    said = f"loading it again failed, and its rows stay as they are: {reason}"
    ledger.move(connection, row.id, Event.KEPT, now, reason=said, cause=cause, attempts=0, retry_at=None)
    sayings.add(logging.WARNING, f"{row.name}: {said}", action="keep", file_id=row.id)
    return True
