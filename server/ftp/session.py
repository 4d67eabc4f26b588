"""The FTP server: sessions over pyftpdlib in which a 226 is a promise (contract section 3, RFC 959).

    Conversation (one command after the other) ─► Uploading ─► Answering ─► Session ─► SecureSession (TLS)

Only what the job needs is offered (X3).

What is relied on of pyftpdlib is named in `tests/test_pyftpdlib_internals.py`.
"""

import logging
import socket
from functools import partial
from typing import Any

from pyftpdlib.handlers.ftp.control import proto_cmds as all_commands

from server.answers import printable, shown
from server.ftp.answering import Answering
from server.ftp.data import DataChannel, PassivePort
from server.ftp.folders import Folders
from server.users import User

log = logging.getLogger("server.ftp")

OFFERED = (
    *("ABOR", "ALLO", "APPE", "CDUP", "CWD", "EPSV", "FEAT", "HELP", "LIST", "MDTM", "MLSD", "MLST", "MODE"),
    *("NLST", "NOOP", "OPTS", "PASS", "PASV", "PWD", "QUIT", "REIN", "REST", "RETR", "RNFR", "RNTO", "SIZE"),
    *("STAT", "STOR", "STRU", "SYST", "TYPE", "USER", "XCUP", "XCWD", "XPWD"),
)


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


class Session(Answering):
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

    def __init__(self, conn: socket.socket, server: Any, ioloop: Any = None) -> None:
        self.timeout = server.settings.idle_timeout
        self.masquerade_address = server.settings.masquerade_address
        self.passive_ports = server.passive_ports
        self.user = NOBODY
        super().__init__(conn, server, ioloop)
        self._current_facts = ["type", "size", "modify"]
        self._available_facts = self._current_facts[:]
        server.sessions.add(self)

    def close(self) -> None:
        """End the session; an upload that is under way is cut."""
        super().close()
        self.server.sessions.discard(self)

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

    # --- data connections

    def push_dtp_data(self, data: Any, isproducer: bool = False, file: Any = None, cmd: str = "") -> None:
        """Send a listing or an answer."""
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
        waiting, sending = self._in_dtp_queue, self._out_dtp_queue
        self._in_dtp_queue = self._out_dtp_queue = None
        if waiting is not None:
            self._uploads.abandon(waiting[0])
        if sending is not None and sending[2] is not None:
            sending[2].close()

    # --- smaller differences

    def flush_account(self) -> None:
        """After REIN or another USER."""
        super().flush_account()
        self._forget_announcements()
        self.user = NOBODY

    def _fields(self, action: str) -> dict[str, str]:
        return {"action": action, "user": printable(self.username), "address": self.remote_ip}
