"""`serve`: receiver, loader and mailer as child processes, started, watched, and stopped in order.

A child that dies is started again, after a pause that grows while it keeps dying; by what is noted of it in
the spool people come to know (`machine_rules.crash_loops`). One that says at its first start that it cannot
run (a port that is taken, say) ends them all: whoever started the inbox is there to read why. On SIGTERM or
SIGINT the receiver stops first, so that nothing new arrives, then the loader, which finishes what it is
loading, then the mailer, which runs only if mail is on.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from server import home, roles
from server.config import Settings
from server.database import Database
from server.errors import InboxError
from server.notices import ROLES, Noticeboard, of_child
from server.process import CANNOT_RUN, log_to_stderr
from server.spool import Spool
from server.stopping import asked_to_stop

log = logging.getLogger("server.supervisor")

_FIRST_PAUSE_SECONDS = 0.5
_LAST_PAUSE_SECONDS = 30.0
# A child that has lived so long had a good start; the next pause is a short one again.
_GOOD_LIFE_SECONDS = 60.0
_LOOK_SECONDS = 0.2
# How long the start waits for a database that is silent: files are accepted all the same.
_ANSWER_SECONDS = 3

# What C's library is told when a child starts. Else each thread would have a heap of its own, and of a dozen
# threads that adds up; and each of the receiver's that checks passwords would keep the 19 MiB that one takes.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}
_ENVIRONMENTS = {"receiver": _ENVIRONMENT | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}}


@dataclass
class _Child:
    role: str
    conf: Path
    notices: Noticeboard
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    pause_seconds: float = _FIRST_PAUSE_SECONDS
    started_at: float = 0.0
    start_at: float = field(default_factory=time.monotonic)

    def look_after(self, *, may_start: bool) -> None:
        """Start it if it is due and may be; notice if it has died.

        Raises:
            InboxError: it says at its first start that it cannot run.
        """
        now = time.monotonic()
        if self.process is None:
            if may_start and now >= self.start_at:
                self._start(now)
        elif self.process.poll() is None:
            if now - self.started_at >= _GOOD_LIFE_SECONDS:
                self.notices.clear()
        else:
            if now - self.started_at >= _GOOD_LIFE_SECONDS:
                self.pause_seconds = _FIRST_PAUSE_SECONDS
            elif self.process.returncode == CANNOT_RUN and self.starts == 1:
                raise InboxError(f"The {self.role} cannot run, so the inbox ends; it has said why above.")
            self._tell(_ending(self.process.returncode))
            self._forget()
            self.start_at = now + self.pause_seconds
            self.pause_seconds = min(self.pause_seconds * 2, _LAST_PAUSE_SECONDS)

    def _tell(self, ending: str) -> None:
        log.error(
            "the %s ended (%s); it is started again in %.1f s",
            self.role,
            ending,
            self.pause_seconds,
            extra={"action": "restart"},
        )
        self.notices.put(
            kind=f"{self.role} ended",
            subject=self.role,
            happened=f"The {self.role} ended ({ending}) within the last minute, and is started again.",
            kept="What was accepted is kept.",
            todo="If it goes on, the log says why.",
            again_seconds=self.pause_seconds,
        )

    def stop(self) -> None:
        """Ask it to finish, and wait for that as long as it takes: a load may not be cut off."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self._forget()

    def _start(self, now: float) -> None:
        # The child's standard input is the other end of a pipe that closes when this process ends, however.
        self.process = subprocess.Popen(  # noqa: S603 - our own program with our own arguments
            # -P: a folder `server` where the command happens to be run is not ours.
            [sys.executable, "-P", "-m", "server.children", self.role, str(self.conf)],
            stdin=subprocess.PIPE,
            env=_ENVIRONMENTS.get(self.role, _ENVIRONMENT) | os.environ,
        )
        self.started_at = now
        self.starts += 1

    def _forget(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None


def serve(conf: Path, settings: Settings) -> None:
    """Run the inbox until SIGTERM or SIGINT.

    Args:
        conf: the settings folder.
        settings: as read from it.

    Raises:
        SpoolTaken: another inbox runs on the spool.
        AnotherSpool, SpoolGone, DBAPIError: see `home.settle`.
        InboxError: a child cannot run, or the spool cannot be made.
    """
    log_to_stderr(settings.log.level)
    spool = Spool(settings.inbox.spool)
    database = Database(settings.database_url, timeout_seconds=_ANSWER_SECONDS)
    home.settle(database, spool)
    database.close()
    stop, is_gone = asked_to_stop(), False
    boards = {role: Noticeboard(spool, of_child(role)) for role in ROLES}
    idle = set() if settings.mail.is_on else {"mailer"}
    children = [_Child(role, conf, boards[role]) for role in ROLES if role not in idle]
    # One lock for the whole inbox, so that a second one is told once, before it has started anything.
    with roles.take(spool.root, "serve"):
        log.info("starting", extra={"action": "start"})
        # Else what is not run any more would be told of for ever: it will never have lived well.
        for role in idle:
            boards[role].clear()
        try:
            while not stop.wait(_LOOK_SECONDS):
                # None begins on another spool that has come into its place.
                gone = spool.gone()
                if gone is not None and not is_gone:
                    log.error("%s", gone, extra={"action": "wait"})
                is_gone = gone is not None
                for child in children:
                    child.look_after(may_start=not is_gone)
        finally:
            log.info("stopping", extra={"action": "stop"})
            for child in children:
                child.stop()


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
