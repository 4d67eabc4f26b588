"""A whole inbox as its operator runs it: `kore-inbox serve` and its children, on a port of its own."""

import ftplib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import make_url

from server import cli, ledger, users
from server.database import Database
from server.migrate import is_prepared
from server.notices import ROLES
from server.simulator import Server
from server.states import State

USER, PASSWORD = "erp", "a password for tests"


class RunningInbox:
    """Started by `with`; ended by SIGTERM, which must leave nothing running."""

    def __init__(self, folder: Path, database_url: str, settings: str = "") -> None:
        self.conf = folder / "conf"
        self.conf.mkdir(parents=True)
        self.url = database_url
        self.spool = folder / "data" / "spool"
        self.port = free_port()
        (self.conf / "inbox.toml").write_text(
            f'[database]\nurl = "{database_url}"\n[ftp]\nport = {self.port}\n'
            f'[inbox]\nspool = "{self.spool}"\n{settings}'
        )
        users.add_user(self.conf, USER, PASSWORD, ["DT", "XX"])
        self.server = Server("127.0.0.1", self.port, USER, PASSWORD)
        self.log = folder / "serve.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "RunningInbox":
        self.start()
        until(self.listens, "the inbox listens")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self.ending()

    def start(self) -> None:
        """Start it, in a process group of its own as a shell or systemd would, and do not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server.cli", "--conf", str(self.conf), "serve"],
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def signal_all(self, number: signal.Signals) -> None:
        """Signal supervisor and children at once, as Ctrl-C and systemd do; nothing if all have ended."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process is None or self._process.poll() is not None

    def ending(self, timeout_seconds: float = 60) -> int:
        """Wait for its end, within a time after which it is killed; returns the exit code."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.signal_all(signal.SIGKILL)
            raise
        finally:
            self._process = None

    def kill(self, role: str) -> None:
        """`kill -9` one child, as the system's out-of-memory killer would; returns when it is gone."""
        pid = self.pid(role)
        os.kill(pid, signal.SIGKILL)
        # Until its parent has taken note of it: before, a last thread may still have the port open.
        until(lambda: not Path(f"/proc/{pid}").exists(), f"the {role} is gone")

    def pid(self, role: str) -> int:
        """The process of a child."""
        [pid] = self._children(role)
        return pid

    def kill_supervisor(self) -> None:
        """`kill -9` the one that looks after the others; when they have ended too, start another."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        until(lambda: not any(map(self._children, ROLES)), "its children have ended")
        self.start()

    def runs(self, role: str) -> bool:
        """Whether a child is there, for all that can be seen."""
        return len(self._children(role)) == 1

    @contextmanager
    def paused(self, role: str) -> Iterator[None]:
        """One child stands still, with whatever locks it has."""
        pid = self.pid(role)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _children(self, role: str) -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                try:
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if role.encode() in words and str(self.conf).encode() in words:
                    found.append(int(folder.name))
        return found

    def ftp(self) -> ftplib.FTP:
        """A session of the ERP's user."""
        session = ftplib.FTP(timeout=60)
        session.connect("127.0.0.1", self.port)
        session.login(USER, PASSWORD)
        return session

    def push(self, name: str, data: bytes) -> str:
        """Store one file; returns the reply."""
        with self.ftp() as session:
            return session.storbinary(f"STOR {name}", BytesIO(data))

    def command(self, *words: str, code: int = 0, stdin: str = "") -> str:
        """What `kore-inbox` prints for an operator."""
        done = subprocess.run(
            [sys.executable, "-m", "server.cli", "--conf", str(self.conf), *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def ask(self, *words: str) -> Any:
        """The same as values, from this process: tests ask again and again, and a new one takes a second."""
        arguments = ["kore-inbox", "--conf", str(self.conf), *words, "--json"]
        printed = io.StringIO()
        with patch.object(sys, "argv", arguments), redirect_stdout(printed), suppress(SystemExit):
            cli.main()
        return json.loads(printed.getvalue())

    def states(self) -> dict[str, str]:
        """The state of the last file of each name."""
        return {file["name"]: file["state"] for file in self.ask("files")}

    def is_loading(self) -> bool:
        """Whether a large file is being loaded; asked of the ledger itself, as a command takes too long."""
        database = Database(make_url(self.url))
        try:
            if not is_prepared(database):
                return False
            with database.read() as connection:
                return bool(ledger.files_in(connection, State.LOADING))
        finally:
            database.close()

    def listens(self) -> bool:
        """Whether the FTP port takes connections."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def until(
    holds: Callable[[], bool], what: str, timeout_seconds: float = 60, pause_seconds: float = 0.02
) -> None:
    """Wait for something that other processes bring about.

    Raises:
        AssertionError: it did not come about in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {timeout_seconds} s: {what}"
        time.sleep(pause_seconds)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
