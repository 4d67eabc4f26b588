"""One command after the other: a session that does not wait for what takes time, and answers in order.

One loop serves every session, so nothing in it waits: while a verdict or a password is pending the session
answers no other command, and its control connection is not read. Commands that came with it are kept.
"""

import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from pyftpdlib.handlers import FTPHandler
from pyftpdlib.handlers.ftp.control import proto_cmds as all_commands

from server.answers import printable

log = logging.getLogger("server.ftp")

# What RFC 959 allows during a transfer. QUIT is answered after it, which the RFC wants as well.
_DURING_TRANSFER = ("ABOR", "STAT")

# More commands than these ahead of a reply are no client's habit.
_QUEUE_LIMIT = 100


class Conversation(FTPHandler):  # type: ignore[misc] # pyftpdlib is untyped
    """A control connection whose commands may be answered by other threads."""

    def __init__(self, conn: socket.socket, server: Any, ioloop: Any = None) -> None:
        self._busy = False
        self._winding_up = False
        self._ahead: deque[tuple[str, str, str]] = deque()
        super().__init__(conn, server, ioloop)

    def wind_up(self) -> None:
        """End the session; if an acceptance is under way, when its sender has been answered."""
        self._ahead.clear()
        self._winding_up = True
        if not self._busy:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        self.respond("421 The inbox is stopping; come back later.")
        self.close_when_done()
        self.close()

    def collect_incoming_data(self, data: bytes) -> None:
        """Take a part of a command; one that is too long ends the session."""
        length = self._in_buffer_len + len(data)
        super().collect_incoming_data(data)
        if self._in_buffer_len < length:
            # Its rest would be taken for the next command, and every reply from then on for the wrong one.
            self.close_when_done()

    def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
        """Answer a command now, or after what is pending."""
        if self._busy or (self._receiving and cmd[-4:] not in _DURING_TRANSFER):
            self._ahead.append((line, cmd, arg))
            if len(self._ahead) > _QUEUE_LIMIT:
                self.respond("421 Too many commands ahead of a reply.")
                self.close_when_done()
        elif cmd not in self.proto_cmds and (cmd in all_commands or cmd == "SITE"):
            hint = "; use PASV or EPSV" if cmd in ("PORT", "EPRT") else ""
            self.respond(f"502 {cmd} is not offered here{hint}.")
        else:
            super().pre_process_command(line, cmd, arg)

    @property
    def _receiving(self) -> bool:
        return self.data_channel is not None and self.data_channel.upload is not None

    def _suspend(self) -> None:
        """Stop reading commands until a worker has answered."""
        self._busy = True
        self.del_channel()
        if self._idler is not None and not self._idler.cancelled:
            self._idler.cancel()

    def _resume(self, reply: Callable[[], None]) -> None:
        """Answer, then go on with what came meanwhile. In the loop."""
        if self._closed:
            return
        try:
            self._busy = False
            self.add_channel()
            if self.timeout:
                self._idler = self.ioloop.call_later(
                    self.timeout, self.handle_timeout, _errback=self.handle_error
                )
            reply()
            if self._winding_up:
                self._say_goodbye()
            else:
                self._go_on()
        except Exception:
            self.handle_error()

    def _go_on(self) -> None:
        while self._ahead and not (self._busy or self._receiving or self._closed):
            self.pre_process_command(*self._ahead.popleft())

    def _on_dtp_close(self) -> None:
        """A transfer is over, and its reply given; whoever was found gone by that is not waited for."""
        if not self._closed:
            super()._on_dtp_close()

    def respond(self, resp: str, logfun: Any = log.debug) -> None:
        """Send a reply of one line in printable ASCII, whatever a client has put into it (X4)."""
        super().respond(printable(resp), logfun)
