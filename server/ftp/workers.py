"""Work off the FTP loop: what waits for a disk, a database or a password hash (architecture, fact 5).

pyftpdlib's loop is not safe in other threads. A worker puts what it has found into a letterbox, and a byte
through a socket pair makes the loop empty it: the only way back.
"""

import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger("server.ftp")

# Threads that mostly wait for fsync: more of them do not make one disk faster.
_ACCEPTANCES = 8
# Who lists a hundred thousand answers takes a second of the disk, and no upload's turn.
_LOOKS = 2
# Checking passwords is pure CPU, and 19 MiB each.
_LOGINS = 2


class Letterbox:
    """Calls that other threads and signal handlers want made in the loop's thread."""

    def __init__(self, ioloop: Any) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._ioloop = ioloop
        # What `IOLoop.close` sorts by.
        self._fileno = self._reader.fileno()
        ioloop.register(self._fileno, self, ioloop.READ)

    def post(self, call: Callable[[], None]) -> None:
        """Have something called in the loop soon. Safe in any thread, and in a signal handler."""
        self._calls.append(call)
        # A full pair is readable already; a closed one has no loop any more.
        with contextlib.suppress(OSError):
            self._writer.send(b"!")

    # --- what the loop asks of everything that is registered with it

    def readable(self) -> bool:
        """Always interested."""
        return True

    def writable(self) -> bool:
        """Nothing is ever written through the loop."""
        return False

    def handle_read_event(self) -> None:
        """Make the calls that have come."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)
        while self._calls:
            try:
                self._calls.popleft()()
            except Exception:
                log.exception("a call in the FTP loop failed", extra={"action": "fault"})

    def handle_close(self) -> None:
        """The loop's word for an error on the pair, of which there is none."""

    def handle_error(self) -> None:
        """As `handle_close`."""

    def close(self) -> None:
        """End it; what is posted later is dropped."""
        if self._reader.fileno() != -1:
            self._ioloop.unregister(self._fileno)
            self._reader.close()
            self._writer.close()


class Workers:
    """Threads for the kinds of slow work, and how many things they still have to do."""

    def __init__(self, letterbox: Letterbox) -> None:
        self._letterbox = letterbox
        self._acceptances = ThreadPoolExecutor(_ACCEPTANCES, "acceptance")
        self._looks = ThreadPoolExecutor(_LOOKS, "look")
        self._logins = ThreadPoolExecutor(_LOGINS, "login")
        self.unfinished = 0

    def accept(self, work: Callable[[], T], then: Callable[[T], None], otherwise: T) -> None:
        """Do something that waits for the disk, then `then` in the loop with its result.

        Args:
            work: called on a thread.
            then: called in the loop.
            otherwise: the result if `work` fails unforeseen, which is logged.
        """
        self._run(self._acceptances, work, then, otherwise)

    def look(self, work: Callable[[], T], then: Callable[[T], None], otherwise: T) -> None:
        """As `accept`, for what only reads."""
        self._run(self._looks, work, then, otherwise)

    def log_in(self, work: Callable[[], T], then: Callable[[T], None], otherwise: T) -> None:
        """As `accept`, for what costs CPU."""
        self._run(self._logins, work, then, otherwise)

    def post(self, call: Callable[[], None]) -> None:
        """From a worker: have something called in the loop soon."""
        self._letterbox.post(call)

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._acceptances.shutdown()
        self._looks.shutdown()
        self._logins.shutdown()

    def _run(
        self, pool: ThreadPoolExecutor, work: Callable[[], T], then: Callable[[T], None], otherwise: T
    ) -> None:
        self.unfinished += 1
        pool.submit(self._work, work, then, otherwise)

    def _work(self, work: Callable[[], T], then: Callable[[T], None], otherwise: T) -> None:
        try:
            result = work()
        except Exception:
            log.exception("unforeseen", extra={"action": "fault"})
            result = otherwise
        self._letterbox.post(partial(self._finish, then, result))

    def _finish(self, then: Callable[[T], None], result: T) -> None:
        self.unfinished -= 1
        then(result)
