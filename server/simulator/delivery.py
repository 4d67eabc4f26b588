"""Exports on their way: into a folder, or to an FTP server over several sessions at once."""

# ruff: noqa: S311, S321 - dice, not secrets; and FTP is what the inbox speaks

import ftplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from server.errors import InboxError
from server.simulator.exports import Export
from server.wording import sentence

# Enough for an order that nobody would expect, few enough to be held.
SHUFFLED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Server:
    """Where to push to, and how.

    Attributes:
        timeout_seconds: for each wait on the server.
        tls: whom to trust; None stands for plain FTP.
        implicit: whether TLS begins with the first byte, and not by AUTH TLS.
    """

    host: str
    port: int
    user: str
    password: str
    timeout_seconds: float = 60
    tls: ssl.SSLContext | None = None
    implicit: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said to one file.

    Attributes:
        name: the file.
        text: the last reply, e.g. `226 DT_0000001_KS_CATEGORY.NET accepted.`, or how the connection ended.
        seconds: from STOR to the reply.
    """

    name: str
    text: str
    seconds: float

    @property
    def accepted(self) -> bool:
        """Whether the server took responsibility for the file (contract A2)."""
        return self.text.startswith("226")


class PushFailed(InboxError):
    """The server cannot be reached, or does not let the user in."""


def write(exports: Iterable[Export], folder: Path) -> Iterator[Path]:
    """Write exports into a folder, made if missing; a name appears there when its file is whole.

    Yields the paths as they are written. Raises OSError as the file system does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for export in exports:
        path = folder / export.name
        # An ending that inboxes know as temporary (contract N6): the folder may be a drop folder.
        aside = folder / f"{export.name}.part"
        with aside.open("wb") as handle:
            handle.writelines(export.chunks())
        yield aside.rename(path)


def push(
    exports: Iterable[Export],
    server: Server,
    connections: int = 1,
    shuffle_seed: int | None = None,
    on_reply: Callable[[Reply], None] | None = None,
) -> list[Reply]:
    """Push exports over FTP and return the replies in the order in which they came.

    A file is sent once: a refusal or a lost connection is that file's reply, and the next file is sent.

    Args:
        exports: what to send.
        server: where to.
        connections: how many sessions share the work, each sending one file at a time.
        shuffle_seed: sends in an order drawn from this seed (see `shuffled`); None keeps the order given
            (more than one connection may still overtake each other).
        on_reply: called for each reply as it comes, by one thread at a time; for progress.

    Raises:
        PushFailed: a session could not be opened; files in flight in other sessions are sent to their end.
    """
    replies: list[Reply] = []

    def take_note(reply: Reply) -> None:
        replies.append(reply)
        if on_reply:
            on_reply(reply)

    push_each(exports, server, take_note, connections, shuffle_seed)
    return replies


def push_each(
    exports: Iterable[Export],
    server: Server,
    on_reply: Callable[[Reply], None],
    connections: int = 1,
    shuffle_seed: int | None = None,
) -> None:
    """As `push`, but keep nothing: for any number of files. Returns when the last one has its reply."""
    todo = iter(exports) if shuffle_seed is None else shuffled(exports, shuffle_seed)
    lock = threading.Lock()
    failed = threading.Event()

    def take() -> Export | None:
        with lock:
            return None if failed.is_set() else next(todo, None)

    def work() -> None:
        session: ftplib.FTP | None = None
        try:
            while export := take():
                session = session or _log_in(server)
                reply, alive = _store(session, export)
                if not alive:
                    session.close()
                    session = None
                with lock:
                    on_reply(reply)
        except BaseException:
            failed.set()
            raise
        finally:
            if session:
                _log_out(session)

    with ThreadPoolExecutor(connections, thread_name_prefix="simulator") as pool:
        workers = [pool.submit(work) for _ in range(connections)]
    for worker in workers:
        worker.result()


def shuffled(exports: Iterable[Export], seed: int) -> Iterator[Export]:
    """Exports in an order drawn from a seed; of many, none comes more than `SHUFFLED_AT_ONCE` too early."""
    random = Random(seed)
    held: list[Export] = []
    for export in exports:
        held.append(export)
        if len(held) > SHUFFLED_AT_ONCE:
            place = random.randrange(len(held))
            held[place], held[-1] = held[-1], held[place]
            yield held.pop()
    random.shuffle(held)
    yield from held


class _ImplicitTls(ftplib.FTP_TLS):
    """TLS from the first byte, for which ftplib has nothing."""

    def connect(self, *args: Any, **_: Any) -> str:
        """As ftplib's; the greeting comes after the handshake."""
        self.host, port = args
        plain = socket.create_connection((self.host, port), self.timeout)
        self.af = plain.family
        self.sock = self.context.wrap_socket(plain, server_hostname=self.host)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome


def _session(server: Server) -> ftplib.FTP:
    if server.tls is None:
        return ftplib.FTP(timeout=server.timeout_seconds, encoding="utf-8")
    kind = _ImplicitTls if server.implicit else ftplib.FTP_TLS
    return kind(context=server.tls, timeout=server.timeout_seconds, encoding="utf-8")


def _log_in(server: Server) -> ftplib.FTP:
    session = _session(server)
    try:
        session.connect(server.host, server.port)
        session.login(server.user, server.password)
        if isinstance(session, ftplib.FTP_TLS):
            session.prot_p()
    except (OSError, EOFError, ftplib.Error) as error:
        session.close()
        why = sentence(str(error) or "the server hung up")
        raise PushFailed(
            f"No session for {server.user} at {server.host}:{server.port}: {why}",
            todo="See that the inbox runs, and that the user's password is right (`kore-inbox user list`).",
        ) from error
    return session


def _log_out(session: ftplib.FTP) -> None:
    try:
        session.quit()
    except (OSError, EOFError, ftplib.Error):
        session.close()


def _store(session: ftplib.FTP, export: Export) -> tuple[Reply, bool]:
    """Send one file; returns the reply, and whether the session can go on."""
    started = time.monotonic()
    alive = True
    try:
        text = session.storbinary(f"STOR {export.name}", _Reader(export.chunks()))
    except (ftplib.error_perm, ftplib.error_temp) as error:
        text = str(error)
        # 421 is the server's farewell.
        alive = not text.startswith("421")
    except (OSError, EOFError, ftplib.Error) as error:
        text = f"connection lost: {error or 'the server hung up'}"
        alive = False
    return Reply(export.name, text, time.monotonic() - started), alive


class _Reader:
    """Chunks as the file that ftplib wants; how much it asks for at a time does not matter to it."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, _size: int = -1, /) -> bytes:
        return next(self._chunks, b"")
