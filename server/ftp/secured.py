"""A connection of pyftpdlib's loop that goes over to TLS, by Python's own `ssl`.

pyftpdlib has a TLS of its own, over pyOpenSSL, which cannot leave out the session tickets of TLS 1.3. A
client that only sends never reads them, so that its close becomes a reset, which throws away the end of what
it has sent.
"""

import ssl
from contextlib import suppress
from typing import Any

from pyftpdlib.ioloop import AsyncChat


class Secured(AsyncChat):  # type: ignore[misc] # pyftpdlib is untyped
    """A connection of the loop that can go over to TLS."""

    # Set by pyftpdlib, which is untyped.
    socket: Any

    secured = False
    _handshaking = False

    def secure(self, context: ssl.SSLContext, tickets: int) -> None:
        """Begin the handshake; `handshake_done` or `handshake_failed` follows, in the loop.

        Args:
            context: the server's side.
            tickets: how many the client gets, to resume the session by.
        """
        # Copied when a connection is made; the loop is the only thread that makes them.
        context.num_tickets = tickets
        try:
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
        except (OSError, ValueError):
            # The client has gone, or has sent something before its turn.
            self.close()
        else:
            self._handshaking = True

    def handshake_done(self) -> None:
        """The connection is secured."""

    def handshake_failed(self, why: str) -> None:
        """It will not be."""
        raise NotImplementedError

    def _shake_hands(self) -> None:
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            self._await(self.ioloop.READ)
        except ssl.SSLWantWriteError:
            self._await(self.ioloop.WRITE)
        except (OSError, ValueError) as error:
            self._handshaking = False
            self.handshake_failed(getattr(error, "reason", None) or "the connection was lost")
        else:
            self._handshaking, self.secured = False, True
            self._await(self._wanted_io_events)
            self.handshake_done()

    def _await(self, events: int) -> None:
        self.ioloop.modify(self._fileno, events)
        self._current_io_events = events

    # --- what the loop asks and calls

    def readable(self) -> bool:
        """Whether something may be read."""
        return self._handshaking or bool(super().readable())

    def writable(self) -> bool:
        """Whether something may be written."""
        return self._handshaking or bool(super().writable())

    def handle_read_event(self) -> None:
        """Something has come."""
        if self._handshaking:
            self._shake_hands()
        else:
            super().handle_read_event()

    def handle_write_event(self) -> None:
        """Something can go."""
        if self._handshaking:
            self._shake_hands()
        else:
            super().handle_write_event()

    # --- what pyftpdlib reads and writes by

    def recv(self, size: int) -> bytes:
        """The next bytes, or none after the end."""
        if not self.secured:
            return bytes(super().recv(size))
        try:
            data: bytes = self.socket.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except OSError:
            data = b""
        if not data:
            self.handle_close()
        return data

    def send(self, data: bytes) -> int:
        """Send what can be sent now; returns how much that was."""
        if self._handshaking:
            return 0
        if not self.secured:
            return int(super().send(data))
        try:
            return int(self.socket.send(data))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except OSError:
            self.handle_close()
            return 0

    def close(self) -> None:
        """End it, with the closing notice and without waiting for the other side's."""
        if self.secured and not self._closed:
            self.secured = False
            with suppress(OSError, ValueError):
                self.socket.unwrap()
        super().close()
