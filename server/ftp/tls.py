"""FTPS: sessions and data connections that go over to TLS (contract X2, RFC 4217).

Data connections send no session tickets (see `ftp.secured`); those of the control connection resume them too.

A TLS connection that ends without its closing notice was cut: there the end itself tells what a plain
connection leaves to guessing (A5).
"""

import logging
import queue
import socket
import ssl
from contextlib import suppress
from typing import Any

from server import proofs
from server.ftp.data import ABORTED, LOST, DataChannel
from server.ftp.secured import Secured
from server.ftp.session import Session
from server.settings.ftp import Tls
from server.upload import UploadCut

log = logging.getLogger("server.ftp")

# No TLS record holds more, and no read returns more than one.
_RECORD_BYTES = 16 * 1024

# OpenSSL's own number; one is used up by each data connection that resumes a session.
_TICKETS = 2

# By then the loop has answered, or it is gone.
_LOOK_SECONDS = 30.0


class SecureDataChannel(Secured, DataChannel):
    """A data connection, secured where the session says so (`PROT P`)."""

    def __init__(self, sock: Any, cmd_channel: Any) -> None:
        super().__init__(sock, cmd_channel)
        if cmd_channel.protects_data and self.connected:
            self.secure(cmd_channel.context, tickets=0)

    def next_bytes(self) -> bytes | None:
        """As `DataChannel.next_bytes`; an end without closing notice is a cut."""
        if not self.secured:
            return super().next_bytes()
        try:
            chunk: bytes = self.socket.recv(_RECORD_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLEOFError:
            raise ConnectionAbortedError(0, "TLS ended without its closing notice") from None
        return chunk

    def orderly_end(self) -> str:
        """As `DataChannel.orderly_end`; with TLS it is a proof."""
        return "TLS was ended by its closing notice" if self.secured else super().orderly_end()

    def handshake_done(self) -> None:
        """Acknowledge at once: without tickets nothing goes back to the client that would carry it."""
        # Measured: a client that waits for it before its first bytes (Nagle) lost 40 ms a file.
        with suppress(OSError):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def handshake_failed(self, why: str) -> None:
        """Tell the command that waits, if one does; a reply to none would be taken for the next one's."""
        log.warning("no TLS on a data connection: %s", why, extra={"action": "tls"})
        if self.upload is not None or self.producer_fifo:
            self._resp = ("522 TLS could not be agreed upon for the data connection.", log.debug)
        self.close()


class SecureSession(Secured, Session):
    """A control connection, secured by `AUTH TLS` or from its beginning."""

    dtp_handler = SecureDataChannel
    proto_cmds = {  # noqa: RUF012 - pyftpdlib's habit
        **Session.proto_cmds,
        "AUTH": {
            "perm": None,
            "auth": False,
            "arg": True,
            "help": "Syntax: AUTH <SP> TLS (secure what follows).",
        },
        "PBSZ": {
            "perm": None,
            "auth": False,
            "arg": True,
            "help": "Syntax: PBSZ <SP> 0 (of no meaning in TLS).",
        },
        "PROT": {
            "perm": None,
            "auth": False,
            "arg": True,
            "help": "Syntax: PROT <SP> P|C (data secured, or not).",
        },
    }

    def __init__(self, conn: Any, server: Any, ioloop: Any = None) -> None:
        self._implicit = server.settings.tls is Tls.IMPLICIT
        self._required = server.settings.tls is not Tls.ALLOWED
        self.protects_data = self._implicit
        # For the whole session: its data connections resume what began with this certificate.
        self.context = server.certificate.context()
        super().__init__(conn, server, ioloop)
        self._extra_feats = ["AUTH TLS", "PBSZ", "PROT"]

    def handle(self) -> None:
        """Greet the client, after the handshake if that comes first."""
        if self._implicit:
            self.secure(self.context, _TICKETS)
        else:
            super().handle()

    def handshake_done(self) -> None:
        """After AUTH it is the client's turn."""
        if self._implicit:
            super().handle()

    def handshake_failed(self, why: str) -> None:
        """Nothing can be said on half a handshake."""
        log.warning("no TLS: %s", why, extra=self._fields("tls"))
        self.close()

    def handle_timeout(self) -> None:
        """The client is silent."""
        if self._handshaking:
            self.close()
        else:
            super().handle_timeout()

    # --- commands, RFC 4217 sections 4 and 8 to 12, RFC 2228 section 3

    def ftp_AUTH(self, line: str) -> None:
        """Go over to TLS; whoever is logged in logs in again."""
        mechanism = line.upper()
        if self.secured:
            self.respond("503 The connection is secured already.")
        elif mechanism not in _MECHANISMS:
            self.respond("504 Not known here; use AUTH TLS.")
        else:
            self.respond("234 Begin the handshake.")
            # What came behind it in clear may be anybody's.
            self.ac_in_buffer = b""
            self._ahead.clear()
            self.flush_account()
            self.protects_data = _MECHANISMS[mechanism]
            self.secure(self.context, _TICKETS)

    def ftp_PBSZ(self, line: str) -> None:  # noqa: ARG002 - pyftpdlib's signature
        """TLS has no such buffer; RFC 4217 wants the command all the same."""
        self.respond("200 PBSZ=0" if self.secured else "503 Send AUTH TLS first.")

    def ftp_PROT(self, line: str) -> None:
        """Whether data connections are secured from now on."""
        level = line.upper()
        if not self.secured:
            self.respond("503 Send AUTH TLS first.")
        elif level == "P":
            self.protects_data = True
            self.respond("200 Data connections are secured.")
        elif level == "C" and self._required:
            self.respond("534 Data in clear is not taken here; use PROT P.")
        elif level == "C":
            self.protects_data = False
            self.respond("200 Data connections are in clear.")
        else:
            self.respond(f"{536 if level in ('S', 'E') else 504} Use PROT P.")

    def ftp_USER(self, line: str) -> None:
        """Begin a login, but no password in clear where TLS is required."""
        if self._required and not self.secured:
            self.respond("530 Passwords in clear are not taken here; send AUTH TLS first.")
        else:
            super().ftp_USER(line)

    def flush_account(self) -> None:
        """After AUTH, REIN or another USER."""
        super().flush_account()
        self.protects_data = self._implicit

    def _has_data_connection(self) -> bool:
        if self._required and not self.protects_data:
            self.respond("521 Data in clear is not taken here; send PROT P first.")
            return False
        return super()._has_data_connection()

    # --- the last look, contract A5

    def _last_look(self) -> Any:
        return _LoopLook(self) if self.secured else super()._last_look()

    def look(self) -> str:
        """Read what came while a worker was busy; returns how the sender has left, if he has. In the loop."""
        if not self._closed:
            self.handle_read_event()
        if self._closed:
            return LOST
        if any(cmd[-4:] == "ABOR" for _, cmd, _ in self._ahead):
            return ABORTED
        return ""


# The mechanisms of AUTH, and whether they secure data connections without PROT (as older clients expect).
_MECHANISMS = {"TLS": False, "TLS-C": False, "TLS-P": True, "SSL": True}


class _LoopLook:
    """As `LastLook`, for a connection that the loop alone can decipher."""

    def __init__(self, session: SecureSession) -> None:
        self._session = session
        self._found: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __call__(self) -> None:
        self._session.server.workers.post(lambda: self._found.put(self._session.look()))
        try:
            gone = self._found.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            gone = "the inbox is stopping"
        if gone:
            raise UploadCut(gone, proofs.SENDER)

    def close(self) -> None:
        """There is nothing to give back."""
