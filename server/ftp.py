"""The FTP server: sessions over pyftpdlib in which a 226 is a promise (contract section 3, RFC 959).

    STOR ─► 150 ─► bytes (ftp_data) ─► acceptance on a worker thread ─► 226, 553, 45x, or 426 if it was cut

One loop serves every session, so nothing in it waits: while a verdict or a password is pending the session
answers no other command, and its control connection is not read. Commands that came with it are kept and
answered in order. Only what the job needs is offered (X3).

What is relied on of pyftpdlib is named in `tests/test_pyftpdlib_internals.py`.
"""

import logging
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from pyftpdlib.handlers import FTPHandler
from pyftpdlib.handlers.ftp.control import proto_cmds as all_commands

from server.answers import Answer, printable, shown
from server.ftp_data import ABORTED, LOST, DataChannel, LastLook, PassivePort
from server.ftp_folders import Folders
from server.upload import Sender, Upload
from server.uploads import Uploads
from server.users import User

log = logging.getLogger("server.ftp")

OFFERED = (
    *("ABOR", "ALLO", "APPE", "CDUP", "CWD", "EPSV", "FEAT", "HELP", "LIST", "MDTM", "MLSD", "MLST", "MODE"),
    *("NLST", "NOOP", "OPTS", "PASS", "PASV", "PWD", "QUIT", "REIN", "REST", "RETR", "RNFR", "RNTO", "SIZE"),
    *("STAT", "STOR", "STRU", "SYST", "TYPE", "USER", "XCUP", "XCWD", "XPWD"),
)

# What RFC 959 allows during a transfer. QUIT is answered after it, which the RFC wants as well.
_DURING_TRANSFER = ("ABOR", "STAT")

# Longer numbers are no sizes.
_LONGEST_SIZE = 19

# More commands than these ahead of a reply are no client's habit.
_QUEUE_LIMIT = 100

_FAULT = Answer(451, "Not accepted: the inbox failed. Send it again later.")


# Who a session is before its login; pyftpdlib lets nothing that needs a user pass until then.
NOBODY = User("", ())


class Permissions:
    """What pyftpdlib asks of an authorizer once a user is logged in; who may push what is judged later."""

    def has_perm(self, username: str, perm: str, path: str) -> bool:  # noqa: ARG002
        """Whatever is offered is allowed."""
        return True

    def get_perms(self, username: str) -> str:  # noqa: ARG002
        """Told by no listing."""
        return ""

    def get_msg_quit(self, username: str) -> str:  # noqa: ARG002
        """After QUIT."""
        return "Goodbye."

    def impersonate_user(self, username: str, password: str) -> None:
        """There is no system user behind an FTP user."""

    def terminate_impersonation(self, username: str) -> None:
        """As `impersonate_user`."""


class Session(FTPHandler):  # type: ignore[misc] # pyftpdlib is untyped
    """One control connection."""

    authorizer = Permissions()
    dtp_handler = DataChannel
    passive_dtp = PassivePort
    abstracted_fs = Folders
    proto_cmds = {name: all_commands[name] for name in OFFERED}  # noqa: RUF012 - pyftpdlib's habit
    banner = "kore-inbox ready."
    # A name that is no UTF-8 is read with its bytes escaped, so it can be shown and written anywhere.
    unicode_errors = "backslashreplace"
    auth_failed_timeout = 3.0

    # Set by pyftpdlib, which is untyped.
    username: str
    _current_type: str
    _in_dtp_queue: Any
    _out_dtp_queue: Any

    def __init__(self, conn: socket.socket, server: Any, ioloop: Any = None) -> None:
        self.timeout = server.settings.idle_timeout
        self.masquerade_address = server.settings.masquerade_address
        self.passive_ports = server.passive_ports
        self.user: User = NOBODY
        self._busy = False
        self._winding_up = False
        self._announced: int | None = None
        self._ahead: deque[tuple[str, str, str]] = deque()
        super().__init__(conn, server, ioloop)
        self._current_facts = ["type", "size", "modify"]
        self._available_facts = self._current_facts[:]
        server.sessions.add(self)

    def close(self) -> None:
        """End the session; an upload that is under way is cut."""
        super().close()
        self.server.sessions.discard(self)

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

    # --- one command after the other

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

    def respond(self, resp: str, logfun: Any = log.debug) -> None:
        """Send a reply of one line in printable ASCII, whatever a client has put into it (X4)."""
        super().respond(printable(resp), logfun)

    # --- logging in, contract X1

    def ftp_PASS(self, line: str) -> None:
        """Check a password on a worker thread (RFC 959 section 4.1.1)."""
        if self.authenticated or not self.username:
            self.respond("503 You are logged in." if self.authenticated else "503 Send USER first.")
            return
        check = partial(self.server.users.verify, self.username, line)
        self._suspend()
        self.server.workers.log_in(check, self._checked, None)

    def _checked(self, user: User | None) -> None:
        if user is None:
            # Guessing is slowed down; a closed loop forgets the call.
            self.ioloop.call_later(
                self.auth_failed_timeout, self._resume, self._refuse_login, _errback=self.handle_error
            )
            return
        self.user = user
        self._resume(partial(self.handle_auth_success, "/", "", "Login successful."))
        log.info("%s logged in", shown(user.name), extra=self._fields("login"))

    def _refuse_login(self) -> None:
        log.warning("login of %s refused", shown(self.username), extra=self._fields("login"))
        self.username = ""
        self.attempted_logins += 1
        if self.attempted_logins < self.max_login_attempts:
            self.respond("530 Login incorrect.")
        else:
            self.respond("530 Login incorrect. Disconnecting.")
            self.close_when_done()

    # --- uploads

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

    def _store(self, path: str, begin: Callable[..., Upload | Answer], *, reads: bool) -> None:
        """Answer STOR or APPE; on a worker thread if beginning reads what was kept."""
        self._forget_announcements()
        name = self.fs.file_name(path)
        if name is None:
            self.respond("553 There is no such folder; send to / .")
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
            why: empty if whatever has ended it also tells the sender, as ABOR does.
        """
        keep = partial(self._uploads.cut, upload, why or (LOST if self._closed else ABORTED))
        if not self._closed:
            # What he asks next, he asks of what is kept.
            self._suspend()
        self.server.workers.accept(keep, partial(self._tell_of_cut, tells=bool(why)), _FAULT)

    def _tell_of_cut(self, answer: Answer, *, tells: bool) -> None:
        self._resume(partial(self.respond, str(answer)) if tells else lambda: None)

    def upload_refused(self, upload: Upload, refusal: Answer) -> None:
        """The disk, or a limit, does not take more: give back the room, then tell the sender."""
        self._suspend()
        told = partial(self.respond, str(refusal))
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
            self.respond("553 There is no such folder; rename to / .")
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

    # --- data connections

    def _has_data_connection(self) -> bool:
        """Whether there is one, or one to wait for; if not, the client is told."""
        if self.data_channel is not None or self._dtp_acceptor is not None:
            return True
        self.respond("425 Use PASV or EPSV first.")
        return False

    def push_dtp_data(self, data: Any, isproducer: bool = False, file: Any = None, cmd: str = "") -> None:
        """Send a listing."""
        self._forget_announcements()
        if self._has_data_connection():
            super().push_dtp_data(data, isproducer, file, cmd)

    def passive_port_timed_out(self) -> None:
        """The client has not come."""
        if self._in_dtp_queue is not None or self._out_dtp_queue is not None:
            self.respond("425 No data connection came.")
        self._shutdown_connecting_dtp()

    def _shutdown_connecting_dtp(self) -> None:
        """Wait for no data connection any more, and forget the transfer that waited for it."""
        super()._shutdown_connecting_dtp()
        waiting = self._in_dtp_queue
        self._in_dtp_queue = self._out_dtp_queue = None
        if waiting is not None:
            self._uploads.abandon(waiting[0])

    # --- smaller differences

    def ftp_SIZE(self, path: str) -> None:
        """Bytes as they came over the wire, which is right in either type (RFC 3659 section 4)."""
        current, self._current_type = self._current_type, "i"
        super().ftp_SIZE(path)
        self._current_type = current

    def ftp_RETR(self, path: str) -> None:
        """Nothing is sent back."""
        self.respond(f"550 {shown(path)} cannot be fetched: the inbox only takes files.")

    def flush_account(self) -> None:
        """After REIN or another USER."""
        super().flush_account()
        self._forget_announcements()
        self.user = NOBODY

    def _fields(self, action: str) -> dict[str, str]:
        return {"action": action, "user": printable(self.username), "address": self.remote_ip}
