"""The loader process: register what is new, take a wave, load it, record the ending, try again what must be.

It wakes up by hint (the receiver's nudge) and works by scan, so a lost nudge costs a second, never a file.
Only the holder of the lease works (contract D3). Several small files share one transaction (`loading`).
Between transactions operators' commands have their turn.
"""

import logging
import os
import secrets
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import SQLAlchemyError

from loaders.shapes import Catalog
from server import absence, gaps, home, hours, incidents, journal, lease, ledger, streams, waits
from server.acknowledging import Acknowledging
from server.acks import Acks
from server.config import Settings
from server.database import Database, in_words, is_away, passes_by_itself, trouble
from server.intake import Intake, set_aside, strangers
from server.journal import Journal, JournalBehind, must_have_ledger
from server.ledger import now_utc
from server.loading import RETRY_LAST_SECONDS, Loading, Sayings, postpone
from server.machine_rules import crash_loops
from server.migrate import prepare
from server.names import Mode, parse_shown, split
from server.notices import Noticeboard
from server.nudges import listen
from server.receipt import Receipt
from server.reviewing import Reviewing
from server.sequence import source_of
from server.spool import Spool, SpoolGone
from server.states import Event, State
from server.waves import SMALL_BYTES, Ready, groups, wave

log = logging.getLogger("server.dispatcher")

# Who does what no person asked for, in the history.
OURSELVES = "kore-inbox"

# Renewed by every transaction; an idle loader renews it now and then, not each second: the disk may sleep.
LEASE_SECONDS = 60.0
RENEW_SECONDS = 20.0
SCAN_SECONDS = 1.0
REGISTER_AT_ONCE = 500

AWAY_FIRST_SECONDS = 1.0
AWAY_LAST_SECONDS = 15.0

# In a long wave senders are answered so often, and no longer at once.
ANSWER_SECONDS = 1.0
# After the disk refused an answer.
ANSWER_AGAIN_SECONDS = 30.0
SWEEP_SECONDS = 3600.0
# What a power cut may take back of the answers; Linux flushes after half a minute.
UNFLUSHED_SECONDS = 120.0


@dataclass
class Dispatcher:
    """The one active loader of an installation, or one that stands by.

    Attributes:
        settings: of the inbox.
        spool: where files arrive.
        database: ledger and tables.
        catalog: the APIs.
        stop: set by whoever wants it to end after what is loading.
        clock: UTC, without a zone.
    """

    settings: Settings
    spool: Spool
    database: Database
    catalog: Catalog
    stop: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], datetime] = now_utc

    def __post_init__(self) -> None:
        apis = frozenset(self.catalog)
        self.intake = Intake(self.settings, lambda: apis, self.spool)
        self._loading = Loading(self.settings, self.spool, self.catalog)
        self.reviewing = Reviewing(self.settings, self.spool, self.database, self.catalog, self._transaction)
        self._journal = Journal(self.spool)
        self._acks = Acks(self.spool)
        self._acknowledging = Acknowledging(self.settings, self._acks)
        self._answer_at = self._unwritable_until = self._sweep_at = 0.0
        self._token = secrets.token_hex(16)
        self._owner = self.spool.node()
        self._notices = Noticeboard(self.spool, "loader")
        self._renew_at = 0.0
        self._has_led = False

    # --- the process ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stop` is set; faults that pass are waited out, whatever they are (contract L9)."""
        nudges = listen(self.spool.root)
        away_seconds = AWAY_FIRST_SECONDS
        started = False
        try:
            while not self.stop.is_set():
                try:
                    # Empty folders in its place would look like files that have lost their bytes.
                    self.spool.must_be_there()
                    if not started:
                        prepare(self.database, self.catalog)
                        with self.database.read() as connection:
                            must_have_ledger(connection, self.spool)
                        home.claim(self.database, self.spool)
                    if not self.take_lease():
                        self._notices.clear()
                        self.stop.wait(SCAN_SECONDS)
                        continue
                    if not started:
                        self.recover()
                        started = True
                    worked = self.work()
                    self._notices.clear()
                    away_seconds = AWAY_FIRST_SECONDS
                    if not worked:
                        self._wait(nudges)
                except lease.LeaseLost:
                    log.warning("another loader has taken over; standing by", extra={"action": "stand_by"})
                    started = False
                    self._renew_at = 0.0
                except Exception as error:
                    # Whatever fails while the spool is gone fails for that.
                    fault = self.spool.gone() or error
                    if not passes_by_itself(fault):
                        raise
                    self._tell(fault, away_seconds)
                    self.stop.wait(away_seconds)
                    away_seconds = min(away_seconds * 2, AWAY_LAST_SECONDS)
                    started = False
                    self._renew_at = 0.0
        finally:
            os.close(nudges)
        self._give_back_lease()

    def _tell(self, error: BaseException, again_seconds: float) -> None:
        """Say what is waited for, where `status` finds it whatever becomes of the database."""
        kind, said = trouble(error), in_words(error)
        log.warning("%s, next try in %.0f s: %s", kind, again_seconds, said, extra={"action": "wait"})
        self._notices.put(
            kind=kind,
            subject=self.database.place,
            happened=f"The loader cannot go on: {said}.",
            kept=waits.kept(kind),
            todo="It goes on by itself when the cause is gone.",
            again_seconds=again_seconds,
        )

    def work(self) -> bool:
        """Register what is new and load one wave; returns whether there was anything to do."""
        registered = self.register()
        self._give_up_gaps()
        if self._ready():
            self._settle()
        self._keep_hours()
        files = self._cut_wave()
        for group in groups(files):
            if self.stop.is_set():
                break
            self._load_group(group)
            self.register()
            if time.monotonic() >= self._answer_at:
                self._answer()
        more = self._answer()
        worked = bool(registered or files or more)
        self.reviewing.go_on(worked=worked)
        return worked

    def recover(self) -> None:
        """Put back what a loader that died had begun, and judge anew what settings and catalog say now."""
        self._journal.catch_up(self.database)
        with self._transaction("recovering") as (connection, now):
            absence.record(connection, self.spool, self.settings, now)
            # Of itself too, which may not live until it reviews.
            incidents.add(connection, crash_loops(self.spool), now)
            for name, rank in streams.rank_anew(connection, self._rank, now):
                log.warning(
                    "%s ranks %d now; rows that are in keep their writers until `kore-inbox replay --loaded`",
                    name,
                    rank,
                    extra={"action": "rank"},
                )
            for row in ledger.files_in(connection, State.LOADING):
                reason = "the loader stopped before it had committed"
                ledger.move(connection, row.id, Event.POSTPONED, now, reason=reason)
            for row in strangers(connection):
                if split(parse_shown(row.name), self.catalog).api in self.catalog:
                    self._rejudge(connection, row, now)
            if self.spool.has_rebooted():
                ledger.ack_again(connection, UNFLUSHED_SECONDS)
        self.spool.note_boot()

    def _rejudge(self, connection: Connection, row: Row[Any], now: datetime) -> None:
        """Judge a file anew whose API the catalog may know now; if that fails, it stays where it is."""
        savepoint = connection.begin_nested()
        try:
            reason = "the catalog may know it now"
            self.intake.rejudge(connection, row, now, by=OURSELVES, reason=reason)
        except Exception as error:
            if passes_by_itself(error):
                raise
            savepoint.rollback()
            log.exception("%s cannot be judged anew", row.name, extra={"action": "judge", "file_id": row.id})
        else:
            savepoint.commit()

    def _rank(self, stream: str) -> int | None:
        return self.settings.source(source_of(stream)).rank

    def register(self) -> int:
        """Enter the receipts that the ledger does not know; returns how many there were."""
        ids, known = self.spool.pending_ids(), 0
        for start in range(0, len(ids), REGISTER_AT_ONCE):
            if self.stop.is_set():
                break
            receipts = [self.spool.read(receipt_id) for receipt_id in ids[start : start + REGISTER_AT_ONCE]]
            found = [receipt for receipt in receipts if receipt is not None]
            if not found:
                continue
            try:
                self._register(found)
            except Exception as error:
                if isinstance(error, lease.LeaseLost) or passes_by_itself(error):
                    raise
                for receipt in found:
                    self._register_or_set_aside(receipt)
            known += len(found)
        return known

    def _register(self, receipts: Sequence[Receipt]) -> None:
        with self._transaction("registering what is new") as (connection, now):
            spare = self.intake.register(connection, receipts, now)
        # Before the receipts are out of sight: whoever dies in between finds them again.
        for data_id in spare:
            self.spool.discard_data(data_id)
        self.spool.registered([receipt.id for receipt in receipts])

    def _register_or_set_aside(self, receipt: Receipt) -> None:
        """Let no receipt stop the others, whatever is wrong with it, or with us."""
        try:
            self._register([receipt])
        except Exception as error:
            if isinstance(error, lease.LeaseLost) or passes_by_itself(error):
                raise
            log.exception("%s cannot be registered", receipt.name, extra={"action": "register"})
            with self._transaction("setting aside what cannot be registered") as (connection, now):
                set_aside(connection, receipt, f"{type(error).__name__}: {error}", now)
            self.spool.registered([receipt.id])

    # --- waves ---------------------------------------------------------------------------------------

    def _ready(self) -> list[Ready]:
        with self.database.read() as connection:
            ranks = streams.places(connection)
            return [
                Ready(
                    file_id=row.id,
                    name=row.name,
                    api=row.api,
                    stream_id=row.stream_id,
                    rank=ranks[row.stream_id],
                    version=row.version,
                    size_bytes=row.size_bytes,
                    is_full=row.mode == Mode.FULL,
                )
                for row in ledger.ready_files(connection, self.clock(), RETRY_LAST_SECONDS)
            ]

    def _settle(self) -> None:
        """Let a burst arrive before its wave is cut (contract D4)."""
        if self.settings.dispatch.settle:
            self.stop.wait(self.settings.dispatch.settle)
            self.register()

    def _cut_wave(self) -> list[Ready]:
        with self.database.read() as connection:
            stuck = self._loading.stuck(connection)
        return wave(self._ready(), self.catalog.level, stuck)

    def _keep_hours(self) -> None:
        """Have FULLs wait for their hours, or for them no more (contract D5)."""
        with self.database.read() as connection:
            if not hours.is_due(connection, self.settings, self.clock()):
                return
        with self._transaction("keeping FULLs for their hours") as (connection, now):
            hours.keep(connection, self.settings, now)

    def _give_up_gaps(self) -> None:
        """Go on without what is missing for too long, if the settings say so (contract S3)."""
        limit = self.settings.sequence.gap_give_up_after
        if limit is None:
            return
        with self.database.read() as connection:
            old = [gap for gap in gaps.find(connection) if gap.age_seconds(self.clock()) >= limit]
        for gap in old:
            with self._transaction(f"giving up {gap.missing} of {gap.stream}") as (connection, now):
                stream = streams.open_stream(connection, gap.stream, None, now)
                reason = f"missing for longer than gap_give_up_after ({limit:.0f} s)"
                streams.give_up(connection, stream, [gap.missing], now, by=OURSELVES, reason=reason)

    # --- loading -------------------------------------------------------------------------------------

    def _load_group(self, files: Sequence[Ready]) -> None:
        purpose = f"loading {files[0].name}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        if files[0].size_bytes > SMALL_BYTES:
            # So that operators see what takes so long.
            with self._transaction(purpose) as (connection, now):
                self._loading.begin(connection, files[0], now)
        sayings = Sayings()
        try:
            with self._transaction(purpose) as (connection, now):
                ranks = streams.places(connection)
                for file in files:
                    self._loading.load(connection, file, ranks, now, sayings)
        except (lease.LeaseLost, SpoolGone):
            raise
        except JournalBehind:
            # They are loaded.
            sayings.write()
            raise
        except Exception as error:
            if is_away(error) or not passes_by_itself(error):
                raise
            sayings = Sayings()
            with self._transaction("putting off a load") as (connection, now):
                postpone(connection, files, error, now, sayings)
        sayings.write()

    # --- answers -------------------------------------------------------------------------------------

    def _answer(self) -> bool:
        """Tell senders what became of their files (contract E3); returns whether more is to be told.

        Answers hold up no load: what the disk refuses is written later.
        """
        clock = time.monotonic()
        if clock < self._unwritable_until:
            return False
        try:
            if clock >= self._sweep_at:
                self._sweep_at = clock + SWEEP_SECONDS
                self._acks.sweep(time.time() - self.settings.inbox.retention)
            while self._is_answer_due():
                if time.monotonic() >= clock + ANSWER_SECONDS or self.stop.is_set():
                    return True
                with self._transaction("answering senders") as (connection, now):
                    self._acknowledging.answer(connection, now)
        except OSError as error:
            log.warning("answers in /acks cannot be written: %s", error, extra={"action": "answer"})
            self._unwritable_until = clock + ANSWER_AGAIN_SECONDS
        self._answer_at = time.monotonic() + ANSWER_SECONDS
        return False

    def _is_answer_due(self) -> bool:
        with self.database.read() as connection:
            return ledger.is_ack_due(connection)

    # --- around it -----------------------------------------------------------------------------------

    def take_lease(self) -> bool:
        """Become or stay the active loader; False while another one is."""
        clock = time.monotonic()
        if clock < self._renew_at:
            return True
        with self.database.write("taking the lease") as connection:
            now = lease.database_now(connection)
            if not lease.take(connection, self._owner, self._token, now, LEASE_SECONDS):
                return False
        self._has_led = True
        self._renew_at = clock + RENEW_SECONDS
        return True

    def _give_back_lease(self) -> None:
        """Let a loader that stands by go on at once; who has never had it has nothing to give back."""
        if not self._has_led:
            return
        try:
            with self.database.write("giving back the lease") as connection:
                lease.take(connection, self._owner, self._token, lease.database_now(connection), 0)
        except SQLAlchemyError as error:
            log.warning("the lease runs out by itself: %s", in_words(error), extra={"action": "stop"})

    @contextmanager
    def _transaction(self, purpose: str) -> Iterator[tuple[Connection, datetime]]:
        """A write transaction of the lease's holder, with the time at which it began.

        What cannot be worked out again goes into the spool's journal.
        """
        with self.database.write(purpose) as connection:
            lease.check(connection, self._token, lease.database_now(connection), LEASE_SECONDS)
            since = journal.last_event(connection)
            yield connection, self.clock()
            something_happened = journal.last_event(connection) > since
        if something_happened:
            self._journal.catch_up(self.database, since)

    def _wait(self, nudges: int) -> None:
        readable, _, _ = select.select([nudges], [], [], SCAN_SECONDS)
        if readable:
            os.read(nudges, 65536)
