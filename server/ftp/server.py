"""The FTP server's port, and what all its sessions share."""

import errno
import socket
from typing import Any

from pyftpdlib.servers import FTPServer

from server.acceptance import Acceptance
from server.acks import Acks
from server.certificate import Certificate
from server.errors import InboxError
from server.ftp.folders import folders_of
from server.ftp.session import Session
from server.ftp.tls import SecureSession
from server.ftp.workers import Workers
from server.settings.ftp import Ftp, Tls
from server.users import Users

_ONE_OF_OURS = (
    "Set [ftp] host to 127.0.0.1 for this machine alone, to another of its addresses (`ip address` lists "
    "them), or to 0.0.0.0 for all of them."
)
_NO_SUCH_NAME = ("nobody knows an address of that name", _ONE_OF_OURS)
# What the system has against an address, by its number: why, and what to do.
_WHY = {
    socket.EAI_NONAME: _NO_SUCH_NAME,
    socket.EAI_NODATA: _NO_SUCH_NAME,
    socket.EAI_AGAIN: (
        "whoever knows the addresses of names does not answer",
        "Start it again when names can be looked up, or set [ftp] host to an address.",
    ),
    errno.EADDRNOTAVAIL: ("that is no address of this machine", _ONE_OF_OURS),
    errno.EADDRINUSE: (
        "another program listens there",
        "Stop it (`ss -ltnp` lists it), or set another [ftp] port.",
    ),
    errno.EACCES: (
        "ports below 1024 need a right that this user lacks",
        "Give it (CAP_NET_BIND_SERVICE), or set [ftp] port to 1024 or more.",
    ),
}


class Server(FTPServer):  # type: ignore[misc] # pyftpdlib is untyped
    """Listens, and holds what its sessions share.

    Raises:
        InboxError: the address cannot be listened on.
    """

    def __init__(
        self,
        settings: Ftp,
        acceptance: Acceptance,
        users: Users,
        workers: Workers,
        acks: Acks,
        *,
        certificate: Certificate | None,
        ioloop: Any,
    ) -> None:
        self.settings = settings
        self.certificate = certificate
        self.acceptance = acceptance
        self.users = users
        self.workers = workers
        self.acks = acks
        self.folders = folders_of(settings.aliases)
        first_last = settings.passive_ports
        self.passive_ports = None if first_last is None else range(first_last[0], first_last[1] + 1)
        self.sessions: set[Session] = set()
        self.max_cons = settings.max_connections
        self.max_cons_per_ip = settings.max_connections_per_ip
        kind = Session if settings.tls is Tls.OFF else SecureSession
        try:
            super().__init__((settings.host, settings.port), kind, ioloop=ioloop)
        except OSError as error:
            raise _cannot_listen(settings, error) from error

    def _accept_new_cons(self) -> bool:
        """Whether a session may begin: sessions count, not sockets, or a listing could take the last one."""
        return len(self.ip_map) <= self.max_cons

    def stop_listening(self) -> None:
        """Take no more sessions; those that are there go on."""
        self.close()


def _cannot_listen(settings: Ftp, error: OSError) -> InboxError:
    """Why, in words; pyftpdlib wraps what the system says of the last address that it tried."""
    cause = next((said for said in error.args if isinstance(said, OSError)), error)
    why, todo = _WHY.get(cause.errno or 0, (cause.strerror or str(cause), "Set [ftp] host and port."))
    return InboxError(f"Port {settings.port} of {settings.host} cannot be listened on: {why}.", todo=todo)
