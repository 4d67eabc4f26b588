"""The commands of an upload, from STOR to its reply (RFC 959 section 4.1.3, RFC 3659 section 5).

STOR ─► 150 ─► bytes (data) ─► acceptance on a worker thread ─► 226, 553, 45x, or 426 if it was cut
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from server.answers import Answer, shown
from server.ftp.conversation import Conversation
from server.ftp.data import ABORTED, LOST, LastLook
from server.upload import Sender, Upload
from server.uploads import Uploads
from server.users import User

log = logging.getLogger("server.ftp")

# Longer numbers are no sizes.
_LONGEST_SIZE = 19

_FAULT = Answer(451, "Not accepted: the inbox failed. Send it again later.")


class Uploading(Conversation):
    """A session that takes uploads."""

    # Who is logged in.
    user: User

    # Set by pyftpdlib, which is untyped.
    _current_type: str
    _in_dtp_queue: Any
    data_channel: Any

    # What ALLO has said of the next upload.
    _announced: int | None = None

    def ftp_STOR(self, path: str, mode: str = "w") -> None:  # noqa: ARG002 - pyftpdlib's signature
        """Begin an upload, or go on with one after REST (RFC 959 section 4.1.3, RFC 3659 section 5)."""
        offset, announced = self._restart_position, self._announced
        begin = self._uploads.begin if not offset else partial(self._uploads.resume, offset=offset)
        self._store(path, partial(begin, announced=announced), reads=bool(offset))

    def ftp_APPE(self, path: str) -> None:
        """Go on with an upload that was cut; nothing else can be added to."""
        resume = partial(
            self._uploads.resume, offset=self._restart_position or None, announced=self._announced
        )
        self._store(path, resume, reads=True)

    def ftp_REST(self, line: str) -> None:
        """Where the next STOR goes on, in bytes (RFC 3659 section 5)."""
        if self._current_type == "a":
            self.respond("504 In TYPE A nobody can count the bytes of what is kept; send TYPE I first.")
        else:
            super().ftp_REST(line)

    def ftp_ALLO(self, line: str) -> None:
        """How large the next upload is (RFC 959 section 4.1.3); a shorter one was cut (A5)."""
        size = line.partition(" ")[0]
        if size.isascii() and size.isdecimal() and len(size) < _LONGEST_SIZE:
            self._announced = int(size)
            self.respond("200 The next upload has at least so many bytes.")
        else:
            self.respond("501 Send the size in bytes.")

    def ftp_ABOR(self, line: str) -> None:
        """End an upload, with a reply for each of the two commands (RFC 959 section 4.1.3)."""
        if self._receiving:
            self.data_channel.abort()
            self.data_channel = None
        else:
            super().ftp_ABOR(line)

    def _store(self, path: str, begin: Callable[..., Upload | Answer], *, reads: bool) -> None:
        """Answer STOR or APPE; on a worker thread if beginning reads what was kept."""
        self._forget_announcements()
        name = self.fs.file_name(path)
        if name is None:
            self.respond("553 Files are sent to / and to no other folder.")
            return
        if not self._has_data_connection():
            return
        begin = partial(begin, Sender(self.user.name, self.remote_ip, name, self._current_type.upper()))
        if reads:
            self._suspend()
            self.server.workers.accept(begin, self._begun_on_worker, _FAULT)
        else:
            self._begun(begin())

    def _begun_on_worker(self, begun: Upload | Answer) -> None:
        if self._closed and isinstance(begun, Upload):
            self._uploads.abandon(begun)
        self._resume(partial(self._begun, begun))

    def _begun(self, begun: Upload | Answer) -> None:
        """Let the data come; the reply after it follows its acceptance."""
        if isinstance(begun, Answer):
            self.respond(str(begun))
        elif not self._has_data_connection():
            self._uploads.abandon(begun)
        elif self.data_channel is not None:
            self.respond("125 Data connection already open; transfer starting.")
            self.data_channel.file_obj = begun
            self.data_channel.enable_receiving(self._current_type, "STOR")
        else:
            if self._in_dtp_queue is not None:
                # Two of them, and no data connection yet: it is taken for the later one's.
                self._uploads.abandon(self._in_dtp_queue[0])
                self.respond("425 No data connection came before the next upload.")
            self.respond("150 File status okay; about to open data connection.")
            self._in_dtp_queue = (begun, "STOR")

    @property
    def _uploads(self) -> Uploads:
        uploads: Uploads = self.server.acceptance.uploads
        return uploads

    def _forget_announcements(self) -> None:
        """What REST and ALLO have said holds for one command."""
        self._restart_position, self._announced = 0, None

    def upload_complete(self, upload: Upload) -> None:
        """The data connection has ended in order: accept the file on a worker thread."""
        self._decide(partial(self.server.acceptance.finish, upload, self.user))

    def upload_cut(self, upload: Upload, why: str) -> None:
        """The data connection has ended otherwise: keep what came (A5).

        Args:
            upload: of which some bytes may have come.
            why: empty if whatever has ended it also tells the sender.
        """
        keep = partial(self._uploads.cut, upload, why or (LOST if self._closed else ABORTED))
        if not self._closed:
            # What he asks next, he asks of what is kept.
            self._suspend()
        self.server.workers.accept(keep, partial(self._tell_of_cut, why=why), _FAULT)

    def _tell_of_cut(self, answer: Answer, why: str) -> None:
        self._resume(partial(self._say_what_became_of_it, answer, why) if why else lambda: None)

    def _say_what_became_of_it(self, answer: Answer, why: str) -> None:
        self.respond(str(answer))
        if why == ABORTED:
            self.respond("226 ABOR command successful.")

    def upload_unwanted(self, upload: Upload, refusal: Answer) -> None:
        """The disk, or a limit, does not take more: give back the room, though more may come."""
        log.warning("%s", refusal.text, extra={"action": "refuse", "user": self.user.name})
        self.server.workers.accept(partial(self._uploads.drop, upload), lambda _: None, None)

    def upload_refused(self, upload: Upload, refusal: Answer, why: str) -> None:
        """Tell the sender of one that was unwanted, now that he has sent all, or when the room is given back.

        Args:
            upload: takes nothing more.
            refusal: the reply.
            why: what has ended the data connection, if it did not end in order.
        """
        self._suspend()
        told = partial(self._say_what_became_of_it, refusal, why)
        # Once more, as the first time may not be over; it does no harm.
        self.server.workers.accept(partial(self._uploads.drop, upload), lambda _: self._resume(told), None)

    def ftp_RNFR(self, path: str) -> None:
        """Name a staged file that is to be renamed (contract N6)."""
        name = self.fs.file_name(path)
        sent = self.server.acceptance.sent
        if name is not None and sent.find_staged(self.user.name, name):
            self._rnfr = name
            self.respond("350 Ready for its real name.")
        elif name is not None and sent.find_cut(self.user.name, name):
            self.respond(f"550 {shown(name)} was cut and is not whole; go on with it, or send it again.")
        elif name is not None and sent.find(self.user.name, name):
            self.respond(f"550 {shown(name)} is accepted and stays as it is.")
        else:
            self.respond("550 Nothing of that name is staged.")

    def ftp_RNTO(self, path: str) -> None:
        """Accept a staged file under its real name; the 250 promises what a 226 promises."""
        name, old, self._rnfr = self.fs.file_name(path), self._rnfr, None
        if not old:
            self.respond("503 Send RNFR first.")
        elif name is None:
            self.respond("553 Files are renamed within / and to no other folder.")
        else:
            self._decide(partial(self.server.acceptance.rename, self.user, self.remote_ip, old, name))

    def _decide(self, work: Callable[[LastLook], Answer]) -> None:
        look = self._last_look()
        self._suspend()
        self.server.workers.accept(partial(work, look), partial(self._answer, look), _FAULT)

    def _last_look(self) -> LastLook:
        """What a worker looks with whether the sender is still there."""
        return LastLook(self.socket)

    def _answer(self, look: LastLook, answer: Answer) -> None:
        look.close()
        self._resume(partial(self.respond, str(answer)))

    def _has_data_connection(self) -> bool:
        """Whether there is one, or one to wait for; if not, the client is told."""
        if self.data_channel is not None or self._dtp_acceptor is not None:
            return True
        self.respond("425 Use PASV or EPSV first.")
        return False
