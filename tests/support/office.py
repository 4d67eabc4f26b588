"""A whole inbox in the test's own process, as its operator has it: senders, loader, mail, commands, a clock.

The receiver is a real one, in a thread, with its sessions and its ledger; the loader and the mailer live when
the test says so, until they have nothing more to do. So nothing is waited for, and a week is over at once.
"""

import ftplib
import json
import shlex
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pymysql
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from loaders.shapes import Catalog
from server import ledger, supervisor, users
from server import spool as spool_module
from server.acceptance import Acceptance
from server.apis import load_catalog
from server.config import Settings, load_settings
from server.database import Database
from server.dispatcher import Dispatcher
from server.drop_watch import Watch
from server.mail.mailer import Mailer
from server.notices import Noticeboard, of_child
from server.outlook import LedgerOutlook
from server.receiver import Receiver
from server.spool import Spool
from tests.support.commands import Run, runner
from tests.support.faults import live
from tests.support.inboxes import Bench
from tests.support.prepared import CATALOG

USER, PASSWORD = "erp", "a password for tests"
ROOM_BYTES = 2_000_000_000


class Clock:
    """What time it is for the inbox: the machine's, and what a test lets pass besides."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._passed = timedelta()
        for module in (ledger, spool_module):
            asked = SimpleNamespace(now=self.now, fromisoformat=datetime.fromisoformat)
            patch.setattr(module, "datetime", asked)

    def now(self, zone: tzinfo | None = UTC) -> datetime:
        return datetime.now(zone) + self._passed

    def later(self, **time: float) -> None:
        """Let time pass."""
        self._passed += timedelta(**time)


class Office:
    """Used by `with`; one user, `erp`, may push sources DT and XX.

    Args:
        folder: has `conf` and, unless the settings say otherwise, `data`; commands are typed there.
        url: of an empty database.
        settings: more of `inbox.toml`.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        patch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        settings: str = "",
    ) -> None:
        self.folder = folder
        self.conf = folder / "conf"
        self.conf.mkdir(exist_ok=True)
        self.toml = self.conf / "inbox.toml"
        self.toml.write_text(
            f'database.url = "{url}"\nftp.port = 0\ndispatch.settle = 0\ninbox.min_free_disk = 0\n{settings}',
            encoding="utf-8",
        )
        users.add_user(self.conf, USER, PASSWORD, ["DT", "XX"])
        self.clock = Clock(patch)
        self.run: Run = runner(self.conf, patch, capsys)
        self.patch = patch
        self._receiver: tuple[Receiver, threading.Thread] | None = None
        self._session: ftplib.FTP | None = None
        # Of a machine's own disk nothing is expected.
        patch.setattr(Spool, "free_bytes", lambda _: ROOM_BYTES)
        patch.setattr("server.admin.opened.load_catalog", _catalog)
        patch.chdir(folder)
        self._open()
        self.bench.spool.create()

    def _open(self) -> None:
        settings = load_settings(self.conf)
        database = Database(settings.database_url)
        self.bench = Bench(settings, Spool(settings.inbox.spool), database, _catalog(settings))

    def __enter__(self) -> "Office":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- the inbox

    def stop(self) -> None:
        """End the receiver."""
        if self._session is not None:
            self._session.close()
        if self._receiver is not None:
            receiver, thread = self._receiver
            receiver.stop()
            thread.join(60)
            assert not thread.is_alive()
        self._session = self._receiver = None
        self.bench.database.close()

    def restart(self, settings: str = "") -> None:
        """End it, and begin anew with settings that have changed, or with more of them."""
        self.stop()
        with self.toml.open("a", encoding="utf-8") as handle:
            handle.write(settings)
        self._open()

    @property
    def port(self) -> int:
        """Where the receiver listens; it is started if it does not."""
        if self._receiver is None:
            settings = self.bench.settings
            apis = frozenset(self.bench.catalog)
            receiver = Receiver(settings, self.conf, LedgerOutlook(settings), lambda: apis)
            receiver.start()
            thread = threading.Thread(target=receiver.serve_forever)
            thread.start()
            self._receiver = receiver, thread
        return self._receiver[0].address[1]

    def push(self, name: str, data: bytes = b"A\tone\n") -> str:
        """Store one file, in a session that lasts; returns the reply, whatever it is."""
        if self._session is None:
            self._session = ftplib.FTP(timeout=60)
            self._session.connect("127.0.0.1", self.port)
            self._session.login(USER, PASSWORD)
        try:
            return self._session.storbinary(f"STOR {name}", BytesIO(data))
        except ftplib.Error as error:
            return str(error)

    def look_at_folders(self) -> None:
        """Look at the drop folders once, in place of the receiver, which does so as the settings say."""
        settings, apis = self.bench.settings, frozenset(self.bench.catalog)
        acceptance = Acceptance(self.bench.spool, settings, LedgerOutlook(settings), lambda: apis)
        acceptance.load()
        watch = Watch(settings, self.bench.spool, acceptance)
        for folder in settings.drop_folder.folders:
            watch.look(folder)

    def work(self) -> None:
        """The loader's life, and then the mailer's, until there is nothing to do."""
        live(self.bench, self.patch)
        self.mail()

    def work_in_vain(self) -> None:
        """A loader's life while the database is away: it says so. Then the mailer's."""
        bench = self.bench
        loader = Dispatcher(bench.settings, bench.spool, bench.database, bench.catalog)
        tell = loader._tell

        def tell_and_end(error: BaseException, again_seconds: float) -> None:
            tell(error, again_seconds)
            loader.stop.set()

        self.patch.setattr(loader, "_tell", tell_and_end)
        loader.run()
        self.mail()

    def dies_at_every_start(self, role: str) -> Noticeboard:
        """What the supervisor notes of a child that does; whoever clears it has let the child live."""
        board = Noticeboard(self.bench.spool, of_child(role))
        child = supervisor._Child(role, self.conf, board)
        for _ in range(3):
            child._tell("exit code 1")
        return board

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """The database takes no connection."""
        if self.bench.database.is_sqlite:
            error: Exception = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN  # type: ignore[attr-defined]
        else:
            error = pymysql.err.OperationalError(2003, "Can't connect to MySQL server")

        def refuse(_: Engine) -> NoReturn:
            raise OperationalError("connect", {}, error)

        with self.patch.context() as patch:
            patch.setattr(Engine, "connect", refuse)
            yield

    def mail(self) -> None:
        """The mailer's life."""
        if self.bench.settings.mail.is_on:
            mailer = Mailer(self.bench.settings, self.bench.spool, self.bench.database)
            mailer.tell_of_absence()
            with suppress(DBAPIError):
                mailer.work()

    # --- its operator

    def type(self, line: str, *, code: int = 0) -> str:
        """What is said to a line that is typed; `kore-inbox serve` is a life of the loader."""
        words = shlex.split(line)
        if words[:2] == ["kore-inbox", "serve"]:
            self.restart()
            self.work()
            return ""
        if words[0] == "kore-inbox":
            stdin = ""
            if "<" in words:
                *words, _, path = words
                stdin = (self.folder / path).read_text(encoding="utf-8")
            ending, out, messages = self.run(*words[1:], stdin=stdin)
            said = out + messages
        else:
            if "127.0.0.1:2121" in line:
                line = line.replace("127.0.0.1:2121", f"127.0.0.1:{self.port}")
            done = subprocess.run(
                ["sh", "-c", line], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
            )
            ending, said = done.returncode, done.stdout + done.stderr
        assert ending == code, f"{line}: {said}"
        return said

    def exceptions(self) -> dict[str, dict[str, Any]]:
        """What is open, by kind; of each kind one. Of all but its own absence the database has to tell."""
        _, out, _ = self.run("exceptions", "--json")
        found = json.loads(out)
        by_kind = {exception["kind"]: exception for exception in found}
        assert len(by_kind) == len(found), found
        return by_kind


def _catalog(settings: Settings) -> Catalog:
    """Of the catalog that comes with the program one is enough, with the tables that are made of it."""
    return load_catalog(settings) if settings.catalog.folder else CATALOG
