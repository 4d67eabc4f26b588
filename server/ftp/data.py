"""FTP data connections: an upload's bytes in, and how one tells that they are all there (contract A5, A8).

pyftpdlib calls everything complete that ends, answers 226 before anyone is asked, and rewrites line ends in
type A. Here only an orderly end counts as complete, the reply waits for the acceptance, and nothing is
rewritten. `ftp.tls` tells in `next_bytes` the end of a TLS connection from a cut one, and changes no more.

What is relied on of pyftpdlib is named in `tests/test_pyftpdlib_internals.py`.
"""

import logging
import select
import socket
from typing import Any

from pyftpdlib.handlers import DTPHandler
from pyftpdlib.handlers.ftp.dispatchers import PassiveDTP

from server import proofs
from server.answers import Answer, failure, shown
from server.upload import TooLarge, Upload, UploadCut

log = logging.getLogger("server.ftp")

LOST = "the control connection was closed before the file was safe"
ABORTED = "the transfer was aborted"

# Measured: with 64 KiB a gigabyte comes in at less than half the speed.
_RECEIVE_BYTES = 256 * 1024


class DataChannel(DTPHandler):  # type: ignore[misc] # pyftpdlib is untyped
    """One data connection; while it receives, `upload` is where the bytes go."""

    ac_in_buffer_size = _RECEIVE_BYTES

    # Set by pyftpdlib, which is untyped.
    file_obj: Any
    _lastdata: int

    def __init__(self, sock: socket.socket, cmd_channel: Any) -> None:
        self.timeout = cmd_channel.timeout
        self.upload: Upload | None = None
        self._complete = False
        # Why nothing more can be taken. What comes all the same is passed over: were it closed,
        # clients would tell of a reset and not of the reply.
        self._refusal: Answer | None = None
        # How the connection itself was cut; if it ends for another reason, its sender is told elsewhere.
        self._why = ""
        super().__init__(sock, cmd_channel)

    def enable_receiving(self, type: str, cmd: str) -> None:  # noqa: A002, ARG002 - pyftpdlib's names
        """Begin to receive what the control channel has put into `file_obj`."""
        self.upload, self.file_obj = self.file_obj, None
        # Type I whatever was asked for: the wrapper of type A loses a final CR (A8).
        super().enable_receiving("i", cmd)

    def handle_read(self) -> None:
        """Take what has come, or notice the end."""
        if self.upload is None:
            super().handle_read()
            return
        try:
            chunk = self.next_bytes()
        except OSError as error:
            self._cut(error.strerror or "it was lost")
            return
        if chunk is None:
            return
        if not chunk:
            self._complete = True
            self.upload.proofs[proofs.CONNECTION] = proofs.passed(self.orderly_end())
            self.close()
            return
        self.tot_bytes_received += len(chunk)
        if self._refusal is not None:
            return
        try:
            self.upload.write(chunk)
        except TooLarge as error:
            self._fail(Answer(552, f"{shown(self.upload.sender.name)} not accepted: {error.happened}."))
        except OSError as error:
            self._fail(failure(self.upload.sender.name, error))

    def orderly_end(self) -> str:
        """What an orderly end shows: little, as a killed client's looks the same."""
        return proofs.ORDERLY

    def next_bytes(self) -> bytes | None:
        """The next bytes, none at an orderly end; None if nothing has come yet.

        Raises:
            OSError: the connection is cut.
        """
        try:
            chunk: bytes = self.socket.recv(self.ac_in_buffer_size)
        except BlockingIOError:
            return None
        return chunk

    def handle_read_event(self) -> None:
        """What the loop calls."""
        self.handle_read()

    def handle_close(self) -> None:
        """The loop has seen an error on the connection; an orderly end is seen by `handle_read` alone."""
        if self.upload is None:
            super().handle_close()
        else:
            self._cut("it was lost")

    def handle_timeout(self) -> None:
        """Called every `timeout` seconds: end a transfer that stands still."""
        if self.upload is None:
            super().handle_timeout()
        elif self.tot_bytes_received > self._lastdata:
            self._lastdata = self.tot_bytes_received
        else:
            self._cut(f"nothing came for {self.timeout:g} s")

    def transfer_in_progress(self) -> bool:
        """Whether ABOR has something to abort: also an upload of which nothing has come."""
        return self.upload is not None or bool(super().transfer_in_progress())

    def close(self) -> None:
        """End the connection, for whatever reason, and hand the upload over."""
        if self._closed:
            return
        super().close()
        upload, self.upload = self.upload, None
        if upload is None:
            return
        if self._refusal is not None:
            self.cmd_channel.upload_refused(upload, self._refusal, self._why)
        elif self._complete:
            self.cmd_channel.upload_complete(upload)
        else:
            self.cmd_channel.upload_cut(upload, self._why)

    def abort(self) -> None:
        """The sender wants no more of the upload that is under way."""
        self._why = ABORTED
        self.close()

    def _cut(self, why: str) -> None:
        self._why = f"the data connection was cut ({why})"
        self.close()

    def _fail(self, refusal: Answer) -> None:
        self._refusal = refusal
        self.cmd_channel.upload_unwanted(self.upload, refusal)


class PassivePort(PassiveDTP):  # type: ignore[misc] # pyftpdlib is untyped
    """Where the client is waited for after PASV or EPSV."""

    def handle_accepted(self, sock: socket.socket, addr: Any) -> None:
        """Take the connection; one that was reset before it was taken must not leave its sender waiting."""
        super().handle_accepted(sock, addr)
        session = self.cmd_channel
        if self._closed and session.connected and session.data_channel is None:
            session.passive_port_timed_out()

    def handle_timeout(self) -> None:
        """Give up; only a command that waits for the connection gets a reply, or replies would shift."""
        if self.cmd_channel.connected:
            self.cmd_channel.passive_port_timed_out()
        self.close()


class LastLook:
    """Looks from a worker thread whether a sender is still there (contract A5).

    A killed client closes both connections at once, and the end of the data alone looks orderly. The socket
    is a duplicate: the loop may close its own at any time, and its number may be another session's by then.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control.dup()

    def __call__(self) -> None:
        """Return if the sender is there.

        Raises:
            UploadCut: the control connection is closed, or an ABOR has come.
        """
        ended = select.poll()
        # Also behind commands that nobody has read yet.
        ended.register(self._control, select.POLLRDHUP)
        if ended.poll(0):
            raise UploadCut(LOST, proofs.SENDER)
        try:
            ahead = self._control.recv(2048, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            raise UploadCut(LOST, proofs.SENDER) from None
        if not ahead:
            raise UploadCut(LOST, proofs.SENDER)
        # Some clients send Telnet signals in front.
        if any(line.endswith(b"ABOR") and b" " not in line for line in ahead.upper().splitlines()):
            raise UploadCut(ABORTED, proofs.SENDER)

    def close(self) -> None:
        """Give the duplicate back."""
        self._control.close()
