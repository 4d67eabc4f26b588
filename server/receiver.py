"""The receiver process: one spool, one FTP server, one loop, and a thread for each drop folder.

It holds the spool's lock, so a second receiver waits and gives up; it answers from the spool what an earlier
one has accepted; and when it is told to stop it takes nothing new, lets running acceptances finish, answers
them, and closes. Whoever is cut by that has no 226 and sends again.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from server import roles
from server.acceptance import Acceptance
from server.acks import Acks
from server.answers import printable
from server.certificate import Certificate, Pair
from server.config import Settings
from server.drop_watch import Watch
from server.ftp.loop import Loop
from server.ftp.server import Server
from server.ftp.workers import Letterbox, Workers
from server.outlook import Outlook
from server.spool import Spool
from server.users import Users

log = logging.getLogger("server.ftp")

_TIDY_SECONDS = 3600.0
_WARN_SECONDS = 86_400.0


class Receiver:
    """Receives files until it is stopped.

    Args:
        settings: of the inbox.
        conf: the folder of `users.toml`.
        outlook: what the ledger says.
        known_apis: the catalog's APIs.
    """

    def __init__(
        self, settings: Settings, conf: Path, outlook: Outlook, known_apis: Callable[[], frozenset[str]]
    ) -> None:
        self._settings = settings
        self._conf = conf
        self._outlook = outlook
        self._known_apis = known_apis
        self._stop = threading.Event()
        self._resources = ExitStack()
        self._letterbox: Letterbox | None = None

    def start(self) -> None:
        """Take the spool and listen; `serve_forever` does it if it was not done.

        Raises:
            SettingsError: `users.toml`, or the certificate, cannot be used.
            SpoolTaken: another receiver is running.
            InboxError: the port cannot be listened on, or the spool cannot be made.
        """
        with ExitStack() as undo:
            pair = Pair.of(self._settings.ftp)
            certificate = None if pair is None else Certificate(pair)
            spool = Spool(self._settings.inbox.spool)
            spool.enter()
            undo.enter_context(roles.take(spool.root, "receiver"))
            users = Users(self._conf)
            self.acceptance = Acceptance(spool, self._settings, self._outlook, self._known_apis)
            self.acceptance.load()
            self._bridge_pyftpdlib_log()
            self._ioloop: Any = Loop()
            undo.callback(self._ioloop.close)
            letterbox = Letterbox(self._ioloop)
            self._workers = Workers(letterbox)
            undo.callback(self._workers.close)
            self._server = Server(
                self._settings.ftp,
                self.acceptance,
                users,
                self._workers,
                Acks(spool),
                certificate=certificate,
                ioloop=self._ioloop,
            )
            self._tidy()
            self._ioloop.call_every(_TIDY_SECONDS, self._tidy)
            if certificate is not None:
                self._ioloop.call_every(_WARN_SECONDS, certificate.warn)
            self._letterbox = letterbox
            watch = Watch(self._settings, spool, self.acceptance)
            undo.callback(watch.stop)
            watch.start()
            self._resources = undo.pop_all()
        log.info("listening on %s port %d", *self.address, extra={"action": "start"})

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; the port that was given by the system where the settings say 0."""
        host, port = self._server.address
        return host, port

    def serve_forever(self) -> None:
        """Serve until `stop`; then everything is closed."""
        if self._letterbox is None:
            self.start()
        soonest = None
        with self._resources:
            # Asked before the loop waits: a `stop` during the start had no letterbox to wake it by.
            while not self._stop.is_set():
                soonest = self._ioloop.loop(soonest, blocking=False)
            log.info("stopping", extra={"action": "stop"})
            self._wind_up()
            while self._workers.unfinished:
                soonest = self._ioloop.loop(soonest, blocking=False)
        log.info("stopped", extra={"action": "stop"})

    def stop(self) -> None:
        """Have `serve_forever` end soon. Safe in any thread, in a signal handler, and at any time."""
        self._stop.set()
        if self._letterbox is not None:
            self._letterbox.post(lambda: None)

    def _wind_up(self) -> None:
        self._server.stop_listening()
        for session in list(self._server.sessions):
            session.wind_up()

    def _tidy(self) -> None:
        self._workers.accept(self.acceptance.tidy, lambda _: None, None)

    def _bridge_pyftpdlib_log(self) -> None:
        library = logging.getLogger("pyftpdlib")
        library.handlers = [_Bridge()]
        library.propagate = False
        # What pyftpdlib says at INFO is ours at DEBUG: we have a sentence for every event that matters.
        library.setLevel(logging.INFO if log.isEnabledFor(logging.DEBUG) else logging.WARNING)


class _Bridge(logging.Handler):
    """Passes on what pyftpdlib says, with what clients sent escaped (X4)."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelno if record.levelno >= logging.WARNING else logging.DEBUG
        log.log(level, "%s", printable(record.getMessage()), exc_info=record.exc_info)
