"""A receiver in a thread, on a port of its own, with a ledger that answers what the test says."""

import ftplib
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from server import users
from server.config import Inbox, Settings
from server.names import FileName
from server.outlook import View
from server.receipt import Receipt
from server.receiver import Receiver
from server.sequence import Holder, Range, Version, advance
from server.settings.ftp import Ftp
from server.settings.source import Source
from server.spool import Spool


class Told:
    """A ledger that knows one stream: what is expected, and who holds which number."""

    def __init__(self) -> None:
        self.away = False
        self.expected = 5
        self.holders: dict[int, Holder] = {}
        self.asked_again = 0

    def look(self, name: FileName) -> View | None:
        if self.away:
            return None
        holder = self.holders.get(name.sequence)
        return View(Version(0, name.sequence), Version(0, self.expected), holder)

    def due(self, _name: FileName, since: Version, runs: Sequence[Range]) -> Version | None:
        self.asked_again += 1
        versions = (Version(0, number) for number in sorted(self.holders))
        held = (version for version in versions if version >= since)
        return None if self.away else advance(since, held, runs)


class Running:
    """A receiver in a thread; `inbox`, `ftp` and `sources` are settings of these sections."""

    def __init__(
        self,
        folder: Path,
        ftp: dict[str, object] | None = None,
        sources: dict[str, Source] | None = None,
        **inbox: object,
    ) -> None:
        self.outlook = Told()
        conf = folder / "conf"
        conf.mkdir(exist_ok=True)
        users.add_user(conf, "erp", "secret", ["DT"])
        users.add_user(conf, "other", "secret", ["XX"])
        facts = {"spool": folder / "spool", "min_free_disk": 0, **inbox}
        settings = Settings(
            ftp=Ftp.model_validate({"port": 0, **(ftp or {})}),
            inbox=Inbox.model_validate(facts),
            sources=sources or {},
        )
        self.spool = Spool(folder / "spool")
        Spool(settings.inbox.spool).create()
        self.receiver = Receiver(settings, conf, self.outlook, lambda: frozenset({"ORDERS", "CATEGORY"}))
        self.receiver.start()
        self.thread = threading.Thread(target=self.receiver.serve_forever)
        self.thread.start()

    def stop(self) -> None:
        self.receiver.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def ftp(self, user: str = "erp") -> ftplib.FTP:
        session = ftplib.FTP(timeout=30)
        session.connect(*self.receiver.address)
        session.login(user, "secret")
        return session

    def store(self, name: str, data: bytes, user: str = "erp") -> str:
        """The reply, whatever it is."""
        with self.ftp(user) as session:
            try:
                session.voidcmd("TYPE I")
                # A refusal may come before all is sent.
                with session.transfercmd(f"STOR {name}") as connection, suppress(OSError):
                    connection.sendall(data)
                return session.voidresp()
            except ftplib.Error as error:
                return str(error)

    def receipts(self) -> list[Receipt]:
        return [receipt for name in self.spool.pending_ids() if (receipt := self.spool.read(name))]

    def uploads(self) -> list[Path]:
        """Bytes in the spool."""
        return [path for path in self.spool.data.iterdir() if path.is_file()]

    def came(self) -> list[Path]:
        """As `uploads`, where something has come."""
        return [path for path in self.uploads() if path.stat().st_size]

    def accepted(self) -> list[str]:
        return [receipt.name for receipt in self.receipts() if receipt.refusal is None]

    def cut(self) -> list[Receipt]:
        """The notes of cut uploads, as they are on disk."""
        return [note for note in self.spool.staged_receipts() if note.cut]
