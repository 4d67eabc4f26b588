"""A receiver and a loader that have taken many files, from many sessions that died badly, are as they were.

Measured are the two processes of a running inbox, as the kernel tells it: open files and sockets, threads,
memory. The short run would show a leak of one of them for each session or upload, and what passwords leave of
memory; the long one also what uploads and sessions do.
"""

import ftplib
import socket
import ssl
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, make_url, select

from server import schema
from server.certificate import make_self_signed
from server.database import LOADING_CACHE_KIB, Database
from server.names import parse
from server.pending import Pending
from server.sent import SHOWN_AT_MOST
from server.sequence import Scope
from server.spool import Spool
from server.users import CHECK_KIB
from tests.support.running import PASSWORD, USER, RunningInbox, until

PUSHERS = 4
FILES_PER_SESSION = 125
PORTION = 2000
# A client that is gone for good, as its machine tells it: by a reset.
RESET = struct.pack("ii", 1, 0)
HALF = b"K1\tcut in the mid"

# As many connections as SQLAlchemy keeps open: with the database, its log and its index of each on SQLite,
# with a socket of each on MariaDB.
POOLED = 5
POOLED_FILES = POOLED * 3
# Acceptances and logins: threads come as they are needed, and stay.
POOLED_THREADS = 10
# In KiB: what garbage may be there at one time and not at another. A leak of 210 bytes an upload is more.
GROWTH_KIB = 10 * 1024
# What a page of SQLite's takes in memory, of what it takes in the file.
PAGE_SHARE = 1.2
# The port, and the pair by which threads call the loop.
LISTENING = 3


@dataclass(frozen=True)
class Measured:
    """One process when nothing is going on."""

    sockets: int
    files: int
    threads: int
    memory_kib: int

    @classmethod
    def of(cls, pid: int) -> "Measured":
        targets = list(open_files(pid))
        sockets = sum(target.startswith("socket:") for target in targets)
        status = Path(f"/proc/{pid}/status").read_text()
        facts = dict(line.split(":", 1) for line in status.splitlines())
        return cls(sockets, len(targets) - sockets, int(facts["Threads"]), int(facts["VmRSS"].split()[0]))


def open_files(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            yield str(link.readlink())


class Stand:
    """A running inbox that takes sessions with TLS and without, and is measured."""

    def __init__(self, folder: Path, url: str) -> None:
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        make_self_signed(certificate, key, datetime.now(UTC))
        self.inbox = RunningInbox(folder, url)
        settings = self.inbox.conf / "inbox.toml"
        tls = f'[ftp]\ntls = "allowed"\ncertificate = "{certificate}"\nkey = "{key}"\n'
        settings.write_text(settings.read_text().replace("[ftp]\n", tls))
        self.database = Database(make_url(url))
        self.sent = 0

    def take(self, uploads: int, bad_sessions: int) -> None:
        """Files from honest clients, while sessions of others die; returns when all files are loaded."""
        numbers = range(self.sent + 1, self.sent + uploads + 1)
        self.sent += uploads
        shares = [numbers[at : at + FILES_PER_SESSION] for at in range(0, uploads, FILES_PER_SESSION)]
        with ThreadPoolExecutor(PUSHERS + 1) as pool:
            for task in [pool.submit(self._die, bad_sessions), *(pool.submit(self._push, s) for s in shares)]:
                task.result()
        # To ask more often would be most of what a server does.
        until(lambda: self._loaded() == self.sent, "all are loaded", timeout_seconds=1800, pause_seconds=1)

    def _push(self, numbers: range) -> None:
        with self.inbox.ftp() as session:
            for number in numbers:
                row = BytesIO(b"K%d\tname %d\n" % (number % 50, number))
                session.storbinary(f"STOR DT_{number:07d}_KS_CATEGORY.NET", row)

    def _loaded(self) -> int:
        query = select(func.count()).select_from(schema.file).where(schema.file.c.state == "loaded")
        with self.database.read() as connection:
            # The loader makes the ledger, while uploads go on already.
            is_there = inspect(connection).has_table(schema.file.name)
            return int(connection.execute(query).scalar_one()) if is_there else 0

    def _die(self, sessions: int) -> None:
        """In all ways in turn; who stalls does so until each way had its second turn."""
        with ExitStack() as stalled:
            for number in range(sessions):
                way = WAYS[number % len(WAYS)]
                way(self, f"XX_{number % 50 + 1:07d}_KS_CATEGORY.NET", stalled)
                if number % (2 * len(WAYS)) == 0:
                    stalled.pop_all().close()

    def secured(self) -> ftplib.FTP_TLS:
        """A session with TLS on both connections."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        session = ftplib.FTP_TLS(timeout=60, context=context)
        session.connect("127.0.0.1", self.inbox.port)
        session.login(USER, PASSWORD)
        session.prot_p()
        return session

    def measure(self, before: dict[str, Measured] | None = None) -> dict[str, Measured]:
        """Both processes, once no upload is open and no more sockets are than before, if that comes."""
        pids = {role: self.inbox.pid(role) for role in ("receiver", "loader")}
        data = str(self.inbox.spool / "data")
        until(
            lambda: not any(path.startswith(data) for path in open_files(pids["receiver"])),
            "no upload is open",
        )
        wanted = self.pooled_sockets + (LISTENING if before is None else before["receiver"].sockets)
        until(lambda: Measured.of(pids["receiver"]).sockets <= wanted, "no more sockets are open than before")
        return {role: Measured.of(pid) for role, pid in pids.items()}

    @property
    def pooled_sockets(self) -> int:
        return 0 if self.database.is_sqlite else POOLED

    def cached_kib(self) -> int:
        """How much of the database the loader keeps in memory: of SQLite's all, up to a limit."""
        if not self.database.is_sqlite:
            return 0
        size = Path(str(self.database.url.database)).stat().st_size // 1024
        return int(min(size, LOADING_CACHE_KIB) * PAGE_SHARE)


# --- the bad ways to end ---------------------------------------------------------------------------------

Way = Callable[[Stand, str, ExitStack], None]


def is_reset(stand: Stand, name: str, _stalled: ExitStack) -> None:
    """Both connections are reset in mid-upload."""
    session = stand.inbox.ftp()
    data = session.transfercmd(f"STOR {name}")
    data.sendall(HALF)
    for connection in (data, session.sock):
        assert connection is not None
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()
    session.close()


def is_killed(stand: Stand, name: str, _stalled: ExitStack) -> None:
    """Its system closes both connections in mid-upload."""
    session = stand.inbox.ftp()
    data = session.transfercmd(f"STOR {name}")
    data.sendall(HALF)
    data.close()
    session.close()


def leaves_control(stand: Stand, name: str, stalled: ExitStack) -> None:
    """The control connection is closed in mid-upload, the data connection stays."""
    session = stand.inbox.ftp()
    data = session.transfercmd(f"STOR {name}")
    stalled.callback(data.close)
    data.sendall(HALF)
    session.close()


def never_comes(stand: Stand, name: str, stalled: ExitStack) -> None:
    """An upload is announced, and nobody connects to its port."""
    session = stand.inbox.ftp()
    stalled.callback(session.close)
    session.makepasv()
    session.putcmd(f"STOR {name}")


def stalls_in_handshake(stand: Stand, _name: str, stalled: ExitStack) -> None:
    """TLS is asked for, and begun, and nothing more comes."""
    session = ftplib.FTP(timeout=60)
    stalled.callback(session.close)
    session.connect("127.0.0.1", stand.inbox.port)
    session.sendcmd("AUTH TLS")
    assert session.sock is not None
    session.sock.sendall(b"\x16\x03\x01\x02\x00\x01")


def stalls_in_handshake_for_data(stand: Stand, name: str, stalled: ExitStack) -> None:
    """The same on the data connection."""
    session = stand.secured()
    stalled.callback(session.close)
    place = session.makepasv()
    session.putcmd(f"STOR {name}")
    data = socket.create_connection(place, timeout=60)
    stalled.callback(data.close)
    data.sendall(b"\x16\x03\x01\x02\x00\x01")


def ends_without_notice(stand: Stand, name: str, _stalled: ExitStack) -> None:
    """TLS on both connections, closed in mid-upload without a closing notice."""
    session = stand.secured()
    data = session.transfercmd(f"STOR {name}")
    data.sendall(HALF)
    data.close()
    session.close()


WAYS: tuple[Way, ...] = (
    is_reset,
    is_killed,
    leaves_control,
    never_comes,
    stalls_in_handshake,
    stalls_in_handshake_for_data,
    ends_without_notice,
)


@contextmanager
def standing(folder: Path, url: str) -> Iterator[Stand]:
    stand = Stand(folder, url)
    with stand.inbox:
        yield stand
    stand.database.close()


def check_level(stand: Stand, before: dict[str, Measured], after: dict[str, Measured]) -> None:
    """Open files, sockets and threads are as before, but for what is pooled."""
    for role, was in before.items():
        now = after[role]
        assert now.sockets <= was.sockets + stand.pooled_sockets, (role, was, now)
        assert now.files <= was.files + POOLED_FILES, (role, was, now)
        assert now.threads <= was.threads + POOLED_THREADS, (role, was, now)


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_files_and_threads_stay_level_over_a_thousand_uploads_and_seventy_sessions_that_die_badly(
    tmp_path: Path, database_url: str
) -> None:
    with standing(tmp_path, database_url) as stand:
        started = stand.measure()["receiver"]
        stand.take(50, len(WAYS))
        before = stand.measure()
        passwords_kib = before["receiver"].memory_kib - started.memory_kib
        assert passwords_kib < CHECK_KIB, "what they took is given back"
        stand.take(950, 70)
        check_level(stand, before, stand.measure(before))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_memory_stays_level_too_over_50_000_uploads_and_2_000_sessions_that_die_badly(
    tmp_path: Path, database_url: str
) -> None:
    with standing(tmp_path, database_url) as stand:
        # After this the listings of a day and SQLAlchemy's statements are there. Only so many files wait at a
        # time, or the heaps would be as large as the longest queue made them.
        for _ in range(0, SHOWN_AT_MOST + 2000, PORTION):
            stand.take(PORTION, 80)
        before, cached = stand.measure(), stand.cached_kib()
        for _ in range(0, 50_000, PORTION):
            stand.take(PORTION, 80)
        after = stand.measure(before)
        allowed = {"receiver": GROWTH_KIB, "loader": GROWTH_KIB + stand.cached_kib() - cached}
        print(before, after, allowed, sep="\n")
        check_level(stand, before, after)
        for role, was in before.items():
            assert after[role].memory_kib <= was.memory_kib + allowed[role], (role, was, after[role])


def test_who_has_sqlite_and_no_tls_has_neither_the_driver_nor_the_library_for_certificates() -> None:
    """Each of the processes would have 9 MiB more."""
    program = "import sys, server.children; print({'pymysql', 'cryptography'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_file_that_waits_for_the_database_takes_little_memory(tmp_path: Path) -> None:
    """A day without one, in which a million files come, is 250 MB; with their receipts it was 1 GB."""
    spool, files = Spool(tmp_path), 2000
    spool.create()
    pending = Pending(spool, Scope.SOURCE, lambda receipt: parse(receipt.name))
    tracemalloc.start()
    try:
        for number in range(1, files + 1):
            receipt_id = spool.new_id()
            (spool.new / receipt_id).touch()
            pending.add(parse(f"DT_{number:07d}_KS_ORDERS.NET"), receipt_id)
        # Of ours alone: what other tests have left may go on meanwhile.
        ours = [tracemalloc.Filter(True, f"*/server/{name}.py") for name in ("pending", "names", "spool")]
        found = tracemalloc.take_snapshot().filter_traces(ours).statistics("filename")
        taken = sum(statistic.size for statistic in found)
    finally:
        tracemalloc.stop()
    assert len(pending) == files
    assert taken < 400 * files
