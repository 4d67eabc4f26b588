"""The FTP server's port, and what all its sessions share."""

from typing import Any

from pyftpdlib.servers import FTPServer

from server.acceptance import Acceptance
from server.acks import Acks
from server.certificate import Certificate
from server.ftp.folders import folders_of
from server.ftp.session import Session
from server.ftp.tls import SecureSession
from server.ftp.workers import Workers
from server.settings.ftp import Ftp, Tls
from server.users import Users


class Server(FTPServer):  # type: ignore[misc] # pyftpdlib is untyped
    """Listens, and holds what its sessions share.

    Raises:
        OSError: the address cannot be listened on.
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
        super().__init__((settings.host, settings.port), kind, ioloop=ioloop)

    def _accept_new_cons(self) -> bool:
        """Whether a session may begin: sessions count, not sockets, or a listing could take the last one."""
        return len(self.ip_map) <= self.max_cons

    def stop_listening(self) -> None:
        """Take no more sessions; those that are there go on."""
        self.close()
