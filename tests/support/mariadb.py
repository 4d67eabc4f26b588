"""A MariaDB server of the tests' own, on a temporary folder and a Unix socket.

The same suite has to pass on SQLite and on MariaDB, so a server is made here rather than asked for: nothing
is shared with a server that the machine may already run, no password is needed, and a test may stop or kill
it in mid-load. A missing server is an error, never a skipped test, or MariaDB would quietly go untested.

Making a data folder takes about a second, copying a made one a few hundredths: the first server of a process
makes a template, the others copy it.
"""

import atexit
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pymysql
from pymysql.cursors import Cursor

# The kernel's limit for a socket's path is 108 bytes with the closing zero.
_LONGEST_SOCKET_PATH = 107

# Debian keeps the server outside an ordinary user's PATH.
_SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])

# Small files and one flush a second: as a transaction goes it is the real thing, and only a crash of the
# whole machine could lose what it has committed. Nothing else departs from the server's defaults, so a test
# finds what a stranger's server would do (its default character set is not even Unicode).
_INNODB = ("--innodb-log-file-size=16M", "--innodb-buffer-pool-size=64M")
_SERVER = (
    *_INNODB,
    "--innodb-flush-log-at-trx-commit=2",
    "--performance-schema=OFF",
    "--skip-networking",
    "--skip-log-bin",
    "--skip-name-resolve",
)


class MariaDBMissing(RuntimeError):
    """The server's programs are not installed, or could not make a data folder."""


class PrivateMariaDB:
    """One server with its own data folder, which outlives `stop` and `kill` until `remove`.

    As a context manager it starts on entry; on leaving, whatever happened, it is stopped and removed.

    The server ends with the thread that started it, so that a killed test run leaves none behind; start it
    from the main thread.

    Args:
        options: further options of `mariadbd`, e.g. `["--max-allowed-packet=1M"]`; the last one wins.

    Raises:
        MariaDBMissing: the programs are not installed.
    """

    def __init__(self, options: tuple[str, ...] = ()) -> None:
        # First, because it fails where nothing is installed, and then there is no folder to remove.
        template = _template()
        self.folder = _short_folder("kore-mariadb-")
        self.socket = self.folder / "s"
        self.log = self.folder / "log"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copytree(template, self.folder / "data")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def pid(self) -> int | None:
        """The server's process, or `None` while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, timeout_seconds: float = 60) -> None:
        """Start the server and return when it answers; after `kill` this is the crash recovery.

        Does nothing when it is running.

        Raises:
            RuntimeError: it ended, or did not answer in time; the message ends with its log's last lines.
        """
        if self.pid is not None:
            return
        command = [
            *_dies_with_us(),
            _program("mariadbd"),
            "--no-defaults",
            *_as_root(),
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.socket}",
            f"--pid-file={self.folder / 'pid'}",
            f"--tmpdir={self.folder}",
            *_SERVER,
            *self._options,
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                with self.cursor() as cursor:
                    cursor.execute("SELECT 1")
            except pymysql.MySQLError:
                if self._process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                self.kill()
                raise RuntimeError(f"the tests' MariaDB did not start:\n{self.log_tail()}") from None
            return

    def stop(self, timeout_seconds: float = 60) -> None:
        """Shut the server down in order and wait for its end; clients lose their connections.

        Does nothing when it is not running. One that does not end in time is killed.
        """
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server as a power cut would; its data folder is kept for `start`."""
        if self._process is None:
            return
        # One that was paused with SIGSTOP dies of SIGKILL all the same.
        self._process.kill()
        self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, schema: str) -> str:
        """The SQLAlchemy URL of a schema, which need not exist."""
        return f"mysql+pymysql://root@localhost/{schema}?unix_socket={self.socket}&charset=utf8mb4"

    @contextmanager
    def cursor(self) -> Iterator[Cursor]:
        """A cursor on a short connection of its own, each statement committed at once."""
        connection = pymysql.connect(
            user="root", unix_socket=str(self.socket), charset="utf8mb4", autocommit=True
        )
        with connection, connection.cursor() as cursor:
            yield cursor

    def create_schema(self, schema: str) -> str:
        """Make an empty schema with the server's default character set; returns its URL."""
        with self.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{schema}`")
        return self.url(schema)

    def drop_schema(self, schema: str) -> None:
        """Delete a schema, ending the connections that a test forgot on it.

        Without that a transaction left open would hold its lock and make this wait for ever.
        """
        with self.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (schema,))
            for (connection,) in cursor.fetchall():
                cursor.execute(f"KILL SOFT CONNECTION {int(connection)}")
            cursor.execute("SET lock_wait_timeout = 30")
            cursor.execute(f"DROP DATABASE IF EXISTS `{schema}`")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the server's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@functools.cache
def _template() -> Path:
    """A fresh data folder with root needing no password, made once per process and removed at its end."""
    # The server itself is looked for first: it is the name that people know.
    _program("mariadbd")
    folder = _short_folder("kore-mariadb-template-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = subprocess.run(
        [
            _program("mariadb-install-db"),
            "--no-defaults",
            *_as_root(),
            f"--datadir={folder}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            *_INNODB,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if made.returncode:
        raise MariaDBMissing(f"mariadb-install-db could not make a data folder:\n{made.stdout[-2000:]}")
    return folder


def _program(name: str) -> str:
    path = shutil.which(name, path=_SEARCH_PATH)
    if path is None:
        raise MariaDBMissing(
            f"{name} is not installed, and tests on MariaDB are not skipped:"
            " run scripts/test, or apt-get install mariadb-server-core mariadb-client-core"
        )
    return path


def _as_root() -> list[str]:
    # As root the server refuses to run unless it is told to.
    return ["--user=root"] if os.geteuid() == 0 else []


def _dies_with_us() -> list[str]:
    """The words before a command that make it end when the starting thread does, where that can be had.

    A thread other than the main one may end long before the tests do, so there nothing is promised.
    """
    setpriv = shutil.which("setpriv", path=_SEARCH_PATH)
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "TERM", "--"]


def _short_folder(prefix: str) -> Path:
    """A temporary folder in which a socket's path stays below the kernel's limit."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    if len(os.fsencode(folder / "s")) > _LONGEST_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    return folder
