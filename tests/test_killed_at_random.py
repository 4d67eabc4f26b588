"""Whoever is killed, senders or the inbox itself, at any moment: what is in is whole, and once (A5, L1)."""

import ftplib
import os
import queue
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select

from server import schema
from server.certificate import make_self_signed
from server.simulator import Disturbed, Mishaps, Plan, push, simulate
from server.spool import Spool
from server.states import Event, State
from tests.support.inboxes import Bench
from tests.support.mariadb import PrivateMariaDB
from tests.support.oracle import broken_references, differences
from tests.support.running import PASSWORD, USER, RunningInbox, until
from tests.support.steps import Forked

# --- senders ---------------------------------------------------------------------------------------------

LINES = [b"CUT%05d\tof a file that never comes whole\n" % number for number in range(4000)]
AT_ONCE = 10


def _secured() -> ftplib.FTP_TLS:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return ftplib.FTP_TLS(timeout=60, context=context)


def _closes_first(session: ftplib.FTP) -> None:
    """Have the system close the control connection before the data connection when the process dies.

    It closes high numbers first. The other way round it may stop between the two, on a busy machine for
    longer than the inbox takes, and nothing would tell of the death.
    """
    assert session.sock is not None
    assert session.file is not None
    high = os.dup2(session.sock.fileno(), 200)
    session.file.close()
    session.sock.close()
    session.sock = socket.socket(fileno=high)
    session.sock.settimeout(session.timeout)
    session.file = session.sock.makefile("r", encoding=session.encoding)


def _dies_uploading(port: int, number: int, lines: int) -> None:
    """Send some whole lines of a file, every second one by TLS, and die; the system closes all at once."""
    session = _secured() if number % 2 else ftplib.FTP(timeout=60)
    session.connect("127.0.0.1", port)
    if not number % 2:
        _closes_first(session)
    session.login(USER, PASSWORD)
    if isinstance(session, ftplib.FTP_TLS):
        session.prot_p()
    session.voidcmd("TYPE I")
    connection = session.transfercmd(f"STOR XX_{number:07d}_KS_CATEGORY.NET")
    connection.sendall(b"".join(LINES[:lines]))
    os.kill(os.getpid(), signal.SIGKILL)


def _is_honest(inbox: RunningInbox, share: int) -> None:
    """One of four sends his part of a day's exports, and hears of each that it is accepted."""
    exports = list(simulate(Plan(files=60, rows_per_file=10)))[share::4]
    for reply in push(exports, inbox.server):
        assert reply.accepted, reply


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.long)])
def test_what_killed_clients_sent_is_never_loaded_and_what_honest_ones_sent_is_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_self_signed(certificate, key, datetime.now(UTC))
    for name, value in {"TLS": "allowed", "CERTIFICATE": certificate, "KEY": key}.items():
        monkeypatch.setenv(f"KORE_INBOX_FTP__{name}", str(value))
    random = Random(1)
    with RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox:
        honest = [Forked(partial(_is_honest, inbox, share)) for share in range(4)]
        for first in range(1, count + 1, AT_ONCE):
            dying = [
                Forked(partial(_dies_uploading, inbox.port, number, random.randrange(len(LINES))))
                for number in range(first, first + AT_ONCE)
            ]
            assert all(client.wait() for client in dying)
        assert [client.wait() for client in honest] == [None] * 4
        look = Bench.make(tmp_path / "look", inbox.url)
        until(lambda: _loads(look).total() == 60, "what the honest ones sent is loaded")
        until(lambda: not Spool(inbox.spool).pending_ids(), "all is registered")
    assert set(_loads(look).values()) == {1}
    assert not any(name.startswith("XX") for name in look.states()), "cut, and yet it got in"
    assert not [row for row in look.rows("category") if row["category_id"].startswith("CUT")]
    assert differences(look, Spool(inbox.spool)) == []
    look.database.close()


def _loads(bench: Bench) -> Counter[str]:
    """How often each file was loaded."""
    e, f = schema.event.c, schema.file.c
    query = (
        select(f.name, func.count())
        .join(schema.event, e.file_id == f.id)
        .where(e.event == Event.COMMITTED)
        .group_by(f.name)
    )
    with bench.database.read() as connection:
        return Counter(dict(connection.execute(query).all()))


# --- the inbox -------------------------------------------------------------------------------------------


class Erp:
    """Sends files in order over some sessions, each again and again until it is accepted."""

    def __init__(self, inbox: RunningInbox, disturbed: Disturbed, sessions: int = 3) -> None:
        self.accepted = 0
        self._inbox = inbox
        self._files: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self.files = 0
        for export in disturbed.first():
            self._files.put((export.name, export.data))
            self.files += 1
        self._threads = [threading.Thread(target=self._send) for _ in range(sessions)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while True:
            try:
                name, data = self._files.get_nowait()
            except queue.Empty:
                return
            while not self._is_accepted(name, data):
                time.sleep(0.05)
            self.accepted += 1

    def _is_accepted(self, name: str, data: bytes) -> bool:
        # A refusal for good would be a mistake: it is not caught.
        with suppress(OSError, EOFError, ftplib.error_temp), self._inbox.ftp() as session:
            return session.storbinary(f"STOR {name}", BytesIO(data)).startswith("226")
        return False

    def is_at(self, part: float) -> bool:
        """Whether so much is accepted, of 1."""
        return self.accepted >= part * self.files or not any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def _kill(inbox: RunningInbox, role: str) -> None:
    until(partial(inbox.runs, role), f"the {role} runs")
    inbox.kill(role)


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[tuple[str, Callable[[], None] | None]]:
    """A database's URL, and how its server is killed, if it has one."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'inbox.sqlite'}", None
        return
    with PrivateMariaDB() as server:

        def kill() -> None:
            server.kill()
            server.start()

        yield server.create_schema("inbox"), kill


@pytest.mark.parametrize(
    ("kills", "files"), [(8, 60), pytest.param(200, 1200, marks=pytest.mark.long)], ids=["some", "200"]
)
@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
@pytest.mark.timeout(3600)
def test_a_week_in_which_processes_are_killed_at_random_ends_as_the_contract_says(
    tmp_path: Path, kind: str, kills: int, files: int
) -> None:
    random = Random(kills)
    week = Disturbed(Plan(files=files, rows_per_file=10, days=7), Mishaps(bad_rows=files // 4))
    with _server(kind, tmp_path) as (url, kill_database), RunningInbox(tmp_path, url) as inbox:
        victims: dict[str, Callable[[], object]] = {
            "receiver": partial(_kill, inbox, "receiver"),
            "loader": partial(_kill, inbox, "loader"),
            "supervisor": inbox.kill_supervisor,
        }
        if kill_database is not None:
            victims["database"] = kill_database
        erp = Erp(inbox, week)
        # Each of them has its turn, in an order and at moments drawn by lot.
        for number in range(kills):
            if number % len(victims) == 0:
                turns = random.sample(sorted(victims), len(victims))
            moment = (number + random.random()) / kills
            until(partial(erp.is_at, moment), "so much has come", timeout_seconds=120)
            victims[turns.pop()]()
        erp.join()
        look = Bench.make(tmp_path / "look", url)
        until(lambda: _loads(look).total() >= files, "all are loaded", timeout_seconds=120)
        until(lambda: not Spool(inbox.spool).pending_ids(), "all is registered")
        assert set(look.states().values()) <= {State.LOADED, State.DUPLICATE}
        assert _loads(look).total() == files, "none twice"
        assert differences(look, Spool(inbox.spool)) == []
        assert broken_references(look) == []
        look.database.close()
