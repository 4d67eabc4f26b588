"""The mailer process: tell people of incidents, and see to it that they get the letters (contract E2).

It looks at the ledger every second, queues what is due, and sends what is queued. No transaction is open
while it talks to the mail server, so neither a slow server nor none at all can hold up a load.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from server import absence, incidents, lease
from server.config import Settings
from server.database import Database, is_away, passes_by_itself
from server.kinds import Kind
from server.ledger import now_utc
from server.machine_rules import crash_loops
from server.mail import queue
from server.mail.courier import Refusals, Unreachable, connected
from server.mail.enclosure import Enclosure, pack
from server.mail.letter import From, Letter, write
from server.mail.plan import Planned, Purpose, Told, plan
from server.migrate import is_prepared
from server.spool import Spool

log = logging.getLogger("server.mail")

_LOOK_SECONDS = 1.0
_AWAY_SECONDS = 5.0
# A mail server that hangs is not waited for when the inbox stops; the letter is sent at the next start.
_GRACE_SECONDS = 2.0
_ABSENCE_AGAIN = timedelta(seconds=30)
_FORGET_EVERY = timedelta(hours=1)


@dataclass
class Mailer:
    """Queues letters and sends them.

    Attributes:
        settings: of the inbox; mail is on.
        spool: where it says that the database is away.
        database: the ledger.
        stop: set by whoever wants it to end.
    """

    settings: Settings
    spool: Spool
    database: Database
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        mail = self.settings.mail
        self._sender = From(mail.sender or "", mail.name)
        self._is_prepared = False
        self._forget_at = self._absence_at = now_utc()
        self._absence_told = self.spool.root / "mailer.told"

    def run(self) -> None:
        """Work until `stop` is set; faults that pass are waited out."""
        while not self.stop.wait(_LOOK_SECONDS):
            try:
                self.tell_of_absence()
                self.work()
            except Exception as error:
                if not passes_by_itself(error):
                    raise
                what = "the database is away" if is_away(error) else "a fault that passes"
                log.warning("%s: %s", what, error, extra={"action": "wait"})
                self.stop.wait(_AWAY_SECONDS)

    def work(self) -> None:
        """Queue what is due and send what is queued, once."""
        if not self._is_prepared:
            # The loader makes the tables.
            self._is_prepared = is_prepared(self.database)
            if not self._is_prepared:
                return
        self.open_crash_loops()
        self.enqueue()
        self.send()
        if now_utc() >= self._forget_at:
            self._forget_at = now_utc() + _FORGET_EVERY
            with self.database.write("forgetting old mail") as connection:
                queue.forget_old(connection, now_utc())

    def tell_of_absence(self) -> None:
        """Tell people that the database is away, once, past the queue, which is in it."""
        now = now_utc()
        notice = absence.now_away(self.spool, self.settings, now)
        since = "" if notice is None else notice.first_seen.isoformat()
        if notice is None or now < self._absence_at or _read(self._absence_told) == since:
            return
        said = {name: getattr(notice, name) for name in ("subject", "happened", "kept", "todo")}
        about = Told(
            kind=Kind.DATABASE_AWAY, **said, first_seen=notice.first_seen, last_seen=notice.last_seen
        )
        recipients = self.settings.mail.to(about.kind, None)
        letter = write(Planned(Purpose.OPENED, recipients, (about,)), self._sender, now)
        try:
            with connected(self.settings.mail) as courier:
                later, never = courier.deliver(letter.message, recipients)
        except Unreachable as error:
            later, never = dict.fromkeys(recipients, str(error)), {}
        for address, why in {**later, **never}.items():
            log.warning("mail %s for %s: %s", letter.message_id, address, why, extra={"action": "mail"})
        if len(later) == len(recipients):
            self._absence_at = now + _ABSENCE_AGAIN
        else:
            self._absence_told.write_text(since)

    def open_crash_loops(self) -> None:
        """Write down which child ends again and again: if it is the loader, it may not get so far itself."""
        found = list(crash_loops(self.spool))
        if not found:
            return
        with self.database.read() as connection:
            if not incidents.not_open(connection, found):
                return
        with self.database.write("telling which child ends again and again") as connection:
            lease.exclude_loader(connection)
            # Looked for again: a loader that lives well may just have closed it.
            incidents.add(connection, crash_loops(self.spool), now_utc())

    def enqueue(self) -> None:
        """Queue a letter for whatever people have yet to be told."""
        mail, now = self.settings.mail, now_utc()
        with self.database.read() as connection:
            untold = queue.untold(connection)
            if not untold:
                return
            lately = queue.since(connection, now - timedelta(seconds=mail.digest_interval))
            letters = [
                write(planned, self._sender, now, self._enclosure(planned))
                for planned in plan(untold, mail.to, list(lately), now, mail.digest_interval)
            ]
        for letter in letters:
            self._queue(letter)

    def _queue(self, letter: Letter) -> None:
        try:
            with self.database.write("queueing mail") as connection:
                queue.put(connection, letter, now_utc())
        except queue.ToldMeanwhile:
            return
        log.info("queued: %s", letter.subject, extra={"action": "mail"})

    def _enclosure(self, planned: Planned) -> Enclosure | None:
        """The refused rows that a first letter about a file brings with it."""
        file_id = planned.about[0].file_id
        if planned.purpose is not Purpose.OPENED or file_id is None:
            return None
        with self.database.read() as connection:
            file, rejects = queue.rejected(connection, file_id)
        if not rejects:
            return None
        codec = self.settings.reading(file.source).codec
        limit = self.settings.mail.attach_at_most
        total = file.rows_rejected or 0
        return pack(file.id, file.name, rejects, total=total, codec=codec, limit_bytes=limit)

    def send(self) -> None:
        """Send the letters that are due, over one connection."""
        with self.database.read() as connection:
            if not queue.is_due(connection, now_utc()):
                return
        try:
            with connected(self.settings.mail) as courier:
                while not self.stop.is_set() and self._send_one(courier.deliver):
                    pass
        except Unreachable as error:
            # Each letter that is due counts this as a try, and so makes its own pauses longer.
            why = error.happened
            log.warning("mail is not sent: %s", error, extra={"action": "mail"})
            while self._send_one(lambda _, recipients: (dict.fromkeys(recipients, why), {})):
                pass

    def _send_one(self, deliver: Callable[[bytes, tuple[str, ...]], Refusals]) -> bool:
        """Send the next letter; False if none is due."""
        with self.database.write("taking a mail from the queue") as connection:
            letter = queue.claim(connection, now_utc())
        if letter is None:
            return False
        try:
            later, never = deliver(letter.message, letter.recipients)
        except Unreachable as error:
            with self.database.write("putting off a mail") as connection:
                later = dict.fromkeys(letter.recipients, error.happened)
                queue.record(connection, letter, now_utc(), later=later, never={})
            raise
        with self.database.write("noting that a mail was sent") as connection:
            queue.record(connection, letter, now_utc(), later=later, never=never)
        for address, why in {**later, **never}.items():
            log.warning("mail %s for %s: %s", letter.message_id, address, why, extra={"action": "mail"})
        return True


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def run(settings: Settings, spool: Spool, stop: threading.Event) -> None:
    """The mailer's life, which ends within seconds of `stop`, whatever the mail server does.

    Raises:
        Exception: what ended it before.
    """
    mailer = Mailer(settings, spool, Database(settings.database_url, timeout_seconds=_AWAY_SECONDS), stop)
    failed: list[Exception] = []

    def work() -> None:
        try:
            mailer.run()
        except Exception as error:
            failed.append(error)
            stop.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    stop.wait()
    thread.join(_GRACE_SECONDS)
    if failed:
        raise failed[0]
