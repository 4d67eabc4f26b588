"""The commands that look: at the inbox, and at the answers in `/acks` (RFC 959, RFC 3659, contract A12, E3).

What is in the inbox is known in memory. Answers are files, and may be a hundred thousand: a worker thread
looks first, then the command is carried out with what it has found.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pyftpdlib.handlers.ftp.producers import FileProducer

from server.answers import shown
from server.ftp.uploading import Uploading
from server.sent import Shown


class Answering(Uploading):
    """A session that shows what was sent, and what became of it."""

    # It would go past TLS, in clear.
    use_sendfile = False

    # Set by pyftpdlib, which is untyped.
    _out_dtp_queue: Any

    def ftp_LIST(self, path: str) -> None:
        """List a folder, or a file."""
        self._look(path, super().ftp_LIST)

    def ftp_NLST(self, path: str) -> None:
        """Name files; a script that reads names alone could take a folder for one."""
        self._look(path, self._nlst)

    def ftp_MLSD(self, path: str) -> None:
        """List a folder for machines (RFC 3659 section 7)."""
        self._look(path, super().ftp_MLSD)

    def ftp_MLST(self, path: str) -> None:
        """Tell the facts of one file."""
        self._look(path, super().ftp_MLST)

    def ftp_MDTM(self, path: str) -> None:
        """When a file was accepted or written (RFC 3659 section 3)."""
        self._look(path, super().ftp_MDTM)

    def ftp_SIZE(self, path: str) -> None:
        """Bytes as they came over the wire, which is right in either type (RFC 3659 section 4)."""
        command = super().ftp_SIZE

        def in_type_i(path: str) -> None:
            current, self._current_type = self._current_type, "i"
            command(path)
            self._current_type = current

        self._look(path, in_type_i)

    def ftp_STAT(self, path: str) -> None:
        """The session's state, or a listing over the control connection."""
        if path and self._receiving:
            self.respond("450 Ask again when the upload is over.")
        else:
            self._look(path, super().ftp_STAT)

    def ftp_RETR(self, path: str) -> None:
        """Send an answer; of what was sent, nothing is sent back."""
        offset = self._restart_position
        self._forget_announcements()
        if self.fs.answer_name(path):
            self._suspend()
            self.server.workers.look(
                partial(self.fs.open_answer, path), partial(self._opened, path, offset), None
            )
        else:
            self.respond(f"550 {shown(path)} cannot be fetched: the inbox only takes files.")

    def _opened(self, path: str, offset: int, found: tuple[Any, int] | None) -> None:
        if self._closed and found is not None:
            found[0].close()
        self._resume(partial(self._send, path, offset, found))

    def _send(self, path: str, offset: int, found: tuple[Any, int] | None) -> None:
        if found is None:
            self.respond(f"550 There is no {shown(path)}.")
            return
        file, size = found
        if offset > size or not self._has_data_connection():
            file.close()
            if offset > size:
                self.respond(f"554 {shown(path)} has only {size} bytes.")
            return
        file.seek(offset)
        producer = FileProducer(file, self._current_type)
        self.push_dtp_data(producer, isproducer=True, file=file, cmd="RETR")

    def _nlst(self, path: str) -> None:
        if self.fs.isdir(path):
            names = self.fs.file_names(path)
        elif self.fs.isfile(path):
            names = [path.rpartition("/")[2]]
        else:
            self.respond("550 No such file.")
            return
        listing = "".join(f"{name}\r\n" for name in names)
        self.push_dtp_data(listing.encode(self.encoding, self.unicode_errors), cmd="NLST")

    def _look(self, path: str, command: Callable[[str], object]) -> None:
        """Carry out a command when its answers have been looked at."""
        if self.fs.answer_name(path) is None:
            command(path)
        else:
            self._suspend()
            self.server.workers.look(partial(self.fs.look, path), partial(self._looked, path, command), {})

    def _looked(self, path: str, command: Callable[[str], object], found: Mapping[str, Shown]) -> None:
        def go_on() -> None:
            self.fs.answers = found
            command(path)

        self._resume(go_on)
