"""The loader process: register what is new, take a wave, load it, record the ending, try again what must be.

It wakes up by hint (the receiver's nudge) and works by scan, so a lost nudge costs a second, never a file.
Only the holder of the lease works (contract D3). Several small files share one transaction; each has a
savepoint, so that a bad one leaves the others untouched (contract L1). Between transactions operators'
commands have their turn.
"""

import logging
import os
import secrets
import select
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import SQLAlchemyError

from loaders.load import Delivery, NeedsApproval, NotLoaded, Outcome, load
from loaders.options import SourceOptions
from loaders.records import forget_rows, reject_rows
from loaders.shapes import Catalog
from server import fixes, gaps, incidents, ledger, unjoined
from server.config import Settings
from server.database import Database, is_away, passes_by_itself
from server.intake import Intake, strangers
from server.ledger import now_utc
from server.migrate import prepare
from server.names import parse_shown, split
from server.spool import Spool
from server.states import Cause, Event, State
from server.waves import Ready, is_stuck, wave

log = logging.getLogger("server.dispatcher")

# Who does what no person asked for, in the history.
OURSELVES = "kore-inbox"

# Renewed by every transaction; an idle loader renews it now and then, not each second: the disk may sleep.
LEASE_SECONDS = 60.0
RENEW_SECONDS = 20.0
SCAN_SECONDS = 1.0
REGISTER_AT_ONCE = 500

# Files up to this size are grouped until a group has this many bytes; larger ones are marked *loading* in a
# transaction of their own first, so that operators see what takes so long.
SMALL_BYTES = 256 * 1024
GROUP_BYTES = 1024 * 1024

RETRY_FIRST_SECONDS = 1.0
RETRY_LAST_SECONDS = 300.0
AWAY_LAST_SECONDS = 15.0

# Incidents and counts are brought up to date so often while there is work, and when it ends.
BUSY_REVIEW_SECONDS = 5.0
IDLE_REVIEW_SECONDS = 60.0


@dataclass
class Dispatcher:
    """The one active loader of an installation, or one that stands by.

    Attributes:
        settings: of the inbox.
        spool: where files arrive.
        database: ledger and tables.
        catalog: the APIs.
        stop: set by whoever wants it to end after what is loading.
    """

    settings: Settings
    spool: Spool
    database: Database
    catalog: Catalog
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        apis = frozenset(self.catalog)
        self.intake = Intake(self.settings, lambda: apis, self.spool)
        self._token = secrets.token_hex(16)
        self._owner = self.spool.node()
        self._renew_at = 0.0
        self._review_at = 0.0
        self._changed = True

    # --- the process ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stop` is set; faults that pass are waited out, whatever they are (contract L9)."""
        nudges = self.spool.listen()
        away_seconds = RETRY_FIRST_SECONDS
        started = False
        try:
            while not self.stop.is_set():
                try:
                    if not started:
                        prepare(self.database, self.catalog)
                    if not self.take_lease():
                        self.stop.wait(SCAN_SECONDS)
                        continue
                    if not started:
                        self.recover()
                        started = True
                    worked = self.work()
                    away_seconds = RETRY_FIRST_SECONDS
                    if not worked:
                        self._wait(nudges)
                except ledger.LeaseLost:
                    log.warning("another loader has taken over; standing by", extra={"action": "stand_by"})
                    started = False
                    self._renew_at = 0.0
                except Exception as error:
                    if not passes_by_itself(error):
                        raise
                    what = "the database is away" if is_away(error) else "a fault that passes"
                    log.warning(
                        "%s, next try in %.0f s: %s", what, away_seconds, error, extra={"action": "wait"}
                    )
                    self.stop.wait(away_seconds)
                    away_seconds = min(away_seconds * 2, AWAY_LAST_SECONDS)
                    started = False
                    self._renew_at = 0.0
        finally:
            os.close(nudges)
        self._give_back_lease()

    def work(self) -> bool:
        """Register what is new and load one wave; returns whether there was anything to do."""
        registered = self.register()
        self._give_up_gaps()
        if self._ready():
            self._settle()
        files = self._cut_wave()
        for group in _groups(files):
            if self.stop.is_set():
                break
            self._load_group(group)
            self.register()
        worked = bool(registered or files)
        self._review(worked)
        return worked

    def recover(self) -> None:
        """Put back what a loader that died had begun, and judge anew what the catalog knows now."""
        with self._transaction("recovering") as (connection, now):
            for row in ledger.files_in(connection, State.LOADING):
                reason = "the loader stopped before it had committed"
                ledger.move(connection, row.id, Event.POSTPONED, now, reason=reason)
            for row in strangers(connection):
                if split(parse_shown(row.name), self.catalog).api in self.catalog:
                    reason = "the catalog may know it now"
                    self.intake.rejudge(connection, row, now, by=OURSELVES, reason=reason)

    def register(self) -> int:
        """Enter the receipts that the ledger does not know; returns how many there were."""
        ids = self.spool.pending_ids()
        for start in range(0, len(ids), REGISTER_AT_ONCE):
            receipts = [self.spool.read(receipt_id) for receipt_id in ids[start : start + REGISTER_AT_ONCE]]
            found = [receipt for receipt in receipts if receipt is not None]
            with self._transaction("registering what is new") as (connection, now):
                spare = self.intake.register(connection, found, now)
            self.spool.registered([receipt.id for receipt in found])
            for data_id in spare:
                self.spool.discard_data(data_id)
        return len(ids)

    # --- waves ---------------------------------------------------------------------------------------

    def _ready(self) -> list[Ready]:
        with self.database.read() as connection:
            ranks = ledger.ranks(connection)
            return [
                Ready(
                    file_id=row.id,
                    name=row.name,
                    api=row.api,
                    stream_id=row.stream_id,
                    rank=ranks[row.stream_id],
                    version=row.version,
                    size_bytes=row.size_bytes,
                )
                for row in ledger.ready_files(connection, now_utc())
            ]

    def _settle(self) -> None:
        """Let a burst arrive before its wave is cut (contract D4)."""
        if self.settings.dispatch.settle:
            self.stop.wait(self.settings.dispatch.settle)
            self.register()

    def _cut_wave(self) -> list[Ready]:
        with self.database.read() as connection:
            stuck = self._stuck(connection)
        return wave(self._ready(), self.catalog.level, stuck)

    def _stuck(self, connection: Connection) -> Mapping[tuple[int, str], int]:
        return ledger.stuck(connection) if self.settings.dispatch.on_quarantine == "wait" else {}

    def _give_up_gaps(self) -> None:
        """Go on without what is missing for too long, if the settings say so (contract S3)."""
        limit = self.settings.sequence.gap_give_up_after
        if limit is None:
            return
        with self.database.read() as connection:
            old = [gap for gap in gaps.find(connection) if gap.age_seconds(now_utc()) >= limit]
        for gap in old:
            with self._transaction(f"giving up {gap.missing} of {gap.stream}") as (connection, now):
                stream = ledger.open_stream(connection, gap.stream, None, now)
                reason = f"missing for longer than gap_give_up_after ({limit:.0f} s)"
                ledger.give_up(connection, stream, [gap.missing], now, by=OURSELVES, reason=reason)

    # --- loading -------------------------------------------------------------------------------------

    def _load_group(self, files: Sequence[Ready]) -> None:
        purpose = f"loading {files[0].name}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        if files[0].size_bytes > SMALL_BYTES:
            with self._transaction(purpose) as (connection, now):
                self._begin(connection, files[0], now)
        try:
            with self._transaction(purpose) as (connection, now):
                ranks = ledger.ranks(connection)
                for file in files:
                    self._load(connection, file, ranks, now)
        except ledger.LeaseLost:
            raise
        except Exception as error:
            if is_away(error) or not passes_by_itself(error):
                raise
            self._postpone(files, error)

    def _load(self, connection: Connection, file: Ready, ranks: Mapping[int, int], now: datetime) -> None:
        """Load one file within its group's transaction; what is wrong with the file itself ends here."""
        if not self._begin(connection, file, now):
            return
        row = ledger.file_by_id(connection, file.file_id)
        started = time.monotonic()
        savepoint = connection.begin_nested()
        try:
            options = self.settings.reading(row.source)
            mending = fixes.of(connection, row, self.spool, options)
            with self.spool.data_path(row.data).open("rb") as data:
                delivery = self._delivery(row, ranks, options, fixes.rows_of(mending))
                outcome = load(connection, self.catalog, delivery, data)
        except NotLoaded as fault:
            savepoint.rollback()
            forget_rows(connection, row.id)
            reject_rows(connection, row.id, fault.rejects)
            ledger.change(connection, row.id, rows_read=fault.rows_read, rows_rejected=fault.rows_rejected)
            if isinstance(fault, NeedsApproval):
                self._defer(connection, row, fault.reason, now)
            else:
                self._quarantine(connection, row, Cause.REJECTED_ROWS, fault.reason, now)
        except FileNotFoundError:
            savepoint.rollback()
            self._quarantine(
                connection, row, Cause.BYTES_MISSING, "its bytes are not in the spool any more", now
            )
        except Exception as error:
            if passes_by_itself(error):
                raise
            savepoint.rollback()
            log.exception("%s cannot be loaded", row.name, extra={"action": "load", "file_id": row.id})
            self._quarantine(connection, row, Cause.INTERNAL, f"{type(error).__name__}: {error}", now)
        else:
            savepoint.commit()
            self._record(connection, row, outcome, now)
            fixes.record(connection, row, mending, outcome, now)
            log.info(
                "%s loaded: %d rows in %.3f s",
                row.name,
                outcome.rows_loaded,
                time.monotonic() - started,
                extra={"action": "load", "api": row.api, "sequence": row.sequence, "file_id": row.id},
            )

    def _begin(self, connection: Connection, file: Ready, now: datetime) -> bool:
        """Whether a file of the wave may still load; an operator or an earlier file may be in its way."""
        if not is_stuck(file, self._stuck(connection)):
            ledger.move(connection, file.file_id, Event.STARTED, now)
        return bool(ledger.file_by_id(connection, file.file_id).state == State.LOADING)

    def _delivery(
        self, row: Row[Any], ranks: Mapping[int, int], options: SourceOptions, corrections: Mapping[int, str]
    ) -> Delivery:
        return Delivery(
            file_id=row.id,
            api=row.api,
            mode=row.mode,
            stream=row.stream_id,
            version=row.version,
            ranks=ranks,
            options=options,
            max_rejected=self.settings.max_rejected(self.catalog[row.api]),
            shrink_limit_percent=self.settings.load.full_shrink_limit,
            is_approved=bool(row.approved),
            corrections=corrections,
        )

    def _record(self, connection: Connection, row: Row[Any], outcome: Outcome, now: datetime) -> None:
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

    def _quarantine(
        self, connection: Connection, row: Row[Any], cause: str, reason: str, now: datetime
    ) -> None:
        ledger.move(connection, row.id, Event.BAD_CONTENT, now, reason=reason, cause=cause)
        log.warning("%s not loaded: %s", row.name, reason, extra={"action": "quarantine", "file_id": row.id})

    def _defer(self, connection: Connection, row: Row[Any], reason: str, now: datetime) -> None:
        """Keep a FULL back until an operator has approved it (contract L6)."""
        ledger.move(connection, row.id, Event.DEFERRED, now, reason=reason, cause=Cause.NEEDS_APPROVAL)
        log.warning(
            "%s waits for approval: %s", row.name, reason, extra={"action": "defer", "file_id": row.id}
        )

    def _postpone(self, files: Sequence[Ready], error: Exception) -> None:
        """Try a group again later; it is nobody's work (contract L9)."""
        with self._transaction("putting off a load") as (connection, now):
            for file in files:
                row = ledger.file_by_id(connection, file.file_id)
                delay = min(RETRY_FIRST_SECONDS * 2**row.attempts, RETRY_LAST_SECONDS)
                log.warning(
                    "%s is tried again in %.0f s: %s",
                    row.name,
                    delay,
                    error,
                    extra={"action": "retry", "file_id": row.id},
                )
                ledger.move(connection, row.id, Event.POSTPONED, now, reason=str(error))
                again = now + timedelta(seconds=delay)
                ledger.change(connection, row.id, attempts=row.attempts + 1, retry_at=again)

    # --- around it -----------------------------------------------------------------------------------

    def _review(self, worked: bool) -> None:
        """Open and close incidents, and count what has not joined, without doing so at every step."""
        self._changed = self._changed or worked
        clock = time.monotonic()
        due = clock >= self._review_at
        if not due and (worked or not self._changed):
            return
        self._review_at = clock + (BUSY_REVIEW_SECONDS if worked else IDLE_REVIEW_SECONDS)
        self._changed = worked
        found = None
        if not worked:
            with self.database.read() as connection:
                found = unjoined.count(connection, self.catalog)
        with self._transaction("reviewing incidents") as (connection, now):
            incidents.review(incidents.Facts(connection, self.settings, self.catalog, now))
            if found is not None:
                unjoined.record(connection, found, now)

    def take_lease(self) -> bool:
        """Become or stay the active loader; False while another one is."""
        clock = time.monotonic()
        if clock < self._renew_at:
            return True
        with self.database.write("taking the lease") as connection:
            now = ledger.database_now(connection)
            if not ledger.take_lease(connection, self._owner, self._token, now, LEASE_SECONDS):
                return False
        self._renew_at = clock + RENEW_SECONDS
        return True

    def _give_back_lease(self) -> None:
        """Let a loader that stands by go on at once."""
        try:
            with self.database.write("giving back the lease") as connection:
                ledger.take_lease(connection, self._owner, self._token, ledger.database_now(connection), 0)
        except SQLAlchemyError as error:
            log.warning("the lease runs out by itself: %s", error, extra={"action": "stop"})

    @contextmanager
    def _transaction(self, purpose: str) -> Iterator[tuple[Connection, datetime]]:
        """A write transaction of the lease's holder, with the time at which it began."""
        with self.database.write(purpose) as connection:
            ledger.check_lease(connection, self._token, ledger.database_now(connection), LEASE_SECONDS)
            yield connection, now_utc()

    def _wait(self, nudges: int) -> None:
        readable, _, _ = select.select([nudges], [], [], SCAN_SECONDS)
        if readable:
            os.read(nudges, 65536)


def _groups(files: Sequence[Ready]) -> Iterator[list[Ready]]:
    """Small neighbours together, large ones alone."""
    group: list[Ready] = []
    size = 0
    for file in files:
        if group and (file.size_bytes > SMALL_BYTES or size + file.size_bytes > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size_bytes
        if file.size_bytes > SMALL_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
