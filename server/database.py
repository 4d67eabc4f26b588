"""The database: engines that behave alike on SQLite and MariaDB, and one writer at a time on SQLite.

SQLite is opened with a write-ahead log, `synchronous=FULL` and foreign keys; a write transaction begins with
BEGIN IMMEDIATE behind a fair file lock, so that a command gets its turn between two loads (measured: without
the lock it starves). A transaction begins, and is committed, only while its file is in its place. MariaDB
runs in strict mode at READ COMMITTED, in UTC, and rows can be streamed to it. Its silence has an end.
"""

import contextlib
import errno
import fcntl
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError

from loaders import dialects
from server import half_open
from server.errors import InboxError, TemporaryFault
from server.same_file import SameFile, refusal

# A connection that cannot be given back, because its server has gone, is not worth a traceback: whoever asks
# next hears of it by an error that is foreseen.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

# MariaDB errors that pass by themselves: disk or table full, a fault of a file or an engine (which may be a
# full disk too), no memory, too many connections, server shutdown, lock wait time-out, deadlock, read-only,
# killed, lost or refused connections.
_FULL_MYSQL = {1021, 1114}
_DISK_MYSQL = {3, 1026, 1030}
# What cannot be made, for any of many reasons: of these a full disk alone passes by itself.
_MAKING_MYSQL = {1, 1004, 1005}
_PASSING_MYSQL = _FULL_MYSQL | _DISK_MYSQL | {1037, 1041}
_PASSING_MYSQL |= {1040, 1053, 1158, 1159, 1160, 1161, 1180, 1203, 1205, 1213, 1290, 1317, 1927}
_PASSING_MYSQL |= {2002, 2003, 2006, 2013, 2055}
_AWAY_MYSQL = {1040, 1053, 1158, 1159, 1160, 1161, 1927, 2002, 2003, 2006, 2013, 2055}
_PASSING_SQLITE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
}
# MariaDB's words for ENOSPC (28), which these errors carry in their text alone.
_DISK_FULL = re.compile(r"\b(?:errcode:|errno:|error) 28\b", re.IGNORECASE)
_TROUBLE_DATABASE = {
    "database full": _FULL_MYSQL | {sqlite3.SQLITE_FULL},
    "database busy": {1205, 1213, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED},
    "database read-only": {1290, sqlite3.SQLITE_READONLY},
}
_TROUBLE_OS = {errno.ENOSPC: "disk full", errno.EDQUOT: "disk full", errno.EROFS: "disk read-only"}
_PASSING_OS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.ENOMEM}

# What only a person can mend, beside the inbox: to us the database is away until he has.
_LOGIN = "See that user and password in [database] url are right and may be used from this machine"
_RIGHTS = "Grant the user of [database] url all rights on the schema"
_REFUSING_MYSQL = {
    **dict.fromkeys((1045, 1129, 1130, 1251, 1524, 1698, 1820, 1862, 3118, 4151), _LOGIN),
    **dict.fromkeys((1044, 1142, 1143, 1227, 1370), _RIGHTS),
    1049: "Make the schema, or name another in [database] url",
}
_SAME_FILE = "Put that file back; if it is lost, stop the inbox and run `kore-inbox rebuild`"
_OTHER_FILE = "Put a good copy in its place, or name another file in [database] url"
_REFUSING_SQLITE = {
    sqlite3.SQLITE_READONLY_DBMOVED: _SAME_FILE,
    sqlite3.SQLITE_CANTOPEN: "See that the file of [database] url, and its folder, can be read and written",
    sqlite3.SQLITE_NOTADB: _OTHER_FILE,
    sqlite3.SQLITE_CORRUPT: _OTHER_FILE,
}


def passes_by_itself(error: BaseException) -> bool:
    """Whether trying again later is all that we can do (contract L9); told by type and code.

    Of a full disk MariaDB gives the code in its text alone.
    """
    if isinstance(error, TemporaryFault):
        return True
    if isinstance(error, DBAPIError):
        passing = _PASSING_SQLITE if _is_sqlite(error.orig) else _PASSING_MYSQL
        passes = _code(error.orig) in passing or _met_a_full_disk(error.orig)
        return passes or is_away(error) or isinstance(error, InterfaceError)
    return isinstance(error, OSError) and error.errno in _PASSING_OS


def is_away(error: BaseException) -> bool:
    """Whether an error says that the database cannot be reached, or refuses us; not that it is busy."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or remedy(error) is not None:
        return True
    return not _is_sqlite(error.orig) and _code(error.orig) in _AWAY_MYSQL


def remedy(error: DBAPIError) -> str | None:
    """What a person can do about a database that refuses us; None where it only has to come back."""
    code = _code(error.orig)
    found: str | None = (_REFUSING_SQLITE if _is_sqlite(error.orig) else _REFUSING_MYSQL).get(code or 0)
    return found


def trouble(error: BaseException) -> str:
    """What kind of fault passes by itself, in a word or two."""
    if is_away(error):
        return "database away"
    if isinstance(error, TemporaryFault):
        return error.kind
    if isinstance(error, OSError):
        return _TROUBLE_OS.get(error.errno or 0, "disk fault")
    said = getattr(error, "orig", None)
    code = _code(said)
    if _met_a_full_disk(said):
        return "database full"
    return next((kind for kind, codes in _TROUBLE_DATABASE.items() if code in codes), "database fault")


def in_words(error: BaseException) -> str:
    """What a database or a disk says, without the statement and the values that it says it of.

    What to do about it follows, where that is known; there is no full stop.
    """
    if isinstance(error, DBAPIError) and error.orig is not None:
        code, text = _code(error.orig), str(error.orig.args[-1] if error.orig.args else error.orig)
        said = text if code is None else f"{text} ({code})"
        return ". ".join(part for part in (said, remedy(error)) if part)
    if isinstance(error, InboxError):
        return str(error).removesuffix(".")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error)


def _met_a_full_disk(error: BaseException | None) -> bool:
    """Whether MariaDB says of a file or an engine that its disk is full."""
    of_files = not _is_sqlite(error) and _code(error) in _DISK_MYSQL | _MAKING_MYSQL
    return of_files and _DISK_FULL.search(str(error)) is not None


def _is_sqlite(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.Error)


def _code(error: BaseException | None) -> int | None:
    if isinstance(error, sqlite3.Error):
        extended: int | None = getattr(error, "sqlite_errorcode", None)
        return extended if extended is None or extended in _REFUSING_SQLITE else extended & 0xFF
    if error is not None and error.args and isinstance(error.args[0], int):
        return error.args[0]
    return None


# What SQLite takes by itself: enough for whoever looks a few rows up.
SMALL_CACHE_KIB = 2 * 1024
# A load goes all over its tables and their indexes; more than this made it no quicker (measured).
LOADING_CACHE_KIB = 64 * 1024


class Database:
    """One database, opened for reading and for writing.

    Args:
        url: SQLite or MariaDB/MySQL; made by `config`.
        timeout_seconds: how long to wait for a connection (and MariaDB's greeting) or a lock before an error.
        answer_seconds: how long MariaDB may take to answer; None waits for as long as a load takes.
        cache_kib: how much of SQLite's file each connection keeps in memory.
    """

    def __init__(
        self,
        url: URL,
        *,
        timeout_seconds: float = 30,
        answer_seconds: float | None = None,
        cache_kib: int = SMALL_CACHE_KIB,
    ) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        arguments: dict[str, Any] = {"timeout": timeout_seconds}
        if self.is_sqlite:
            # Where that cannot be made, opening the file says so.
            with contextlib.suppress(OSError):
                Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        else:
            # A server that takes the connection and never greets is as good as none.
            answer = timeout_seconds if answer_seconds is None else answer_seconds
            arguments = {"connect_timeout": max(1, int(timeout_seconds)), "charset": "utf8mb4"}
            arguments |= {"read_timeout": answer, "write_timeout": answer}
        self.engine = create_engine(
            url,
            connect_args=arguments,
            pool_pre_ping=not self.is_sqlite,
            **({} if self.is_sqlite else {"isolation_level": "READ COMMITTED"}),
        )
        event.listen(self.engine, "connect", self._prepare_sqlite if self.is_sqlite else _prepare_mariadb)
        if not self.is_sqlite and answer_seconds is None:
            event.listen(self.engine, "connect", lambda connection, _: half_open.wait_for_answers(connection))
        self._cache_kib = cache_kib
        self._file = SameFile(Path(str(url.database))) if self.is_sqlite else None
        self._turn = _WriterLock(Path(str(url.database))) if self.is_sqlite else None
        if self._file is not None:
            # Before SQLite makes a new file, before anything is done, and before it counts as done.
            for moment in ("do_connect", "begin", "commit"):
                event.listen(self.engine, moment, _look_for(self._file))
            event.listen(self.engine, "begin", _begin_sqlite)
        dialects.enable(self.engine)

    @property
    def place(self) -> str:
        """Where it is, for people, without secrets."""
        if self.is_sqlite:
            return str(self.url.database)
        return f"{self.url.database} on {self.url.query.get('unix_socket') or self.url.host or 'localhost'}"

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state and changes nothing."""
        with self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self, purpose: str, waiting: Callable[[str], None] | None = None) -> Iterator[Connection]:
        """A transaction that is committed at the end, or rolled back by any exception.

        Args:
            purpose: what it is for, in words that a waiting command can show: `loading DT_0000017…`.
            waiting: called once with the purpose of the one who is ahead, if there is one.
        """
        with contextlib.ExitStack() as stack:
            if self._file is not None and self._turn is not None:
                self._file.must_be_there()
                stack.enter_context(self._turn.hold(purpose, waiting))
            connection = stack.enter_context(self.engine.connect())
            connection = connection.execution_options(inbox_write=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close the connections that are kept."""
        self.engine.dispose()

    def _prepare_sqlite(self, connection: sqlite3.Connection, _record: object) -> None:
        # SQLAlchemy's transactions begin where `_begin_sqlite` says, not where the driver guesses.
        connection.isolation_level = None
        cache = f"cache_size=-{self._cache_kib}"
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", cache):
            connection.execute(f"PRAGMA {pragma}")
        if self._file is not None:
            self._file.opened()


def _look_for(file: SameFile) -> Callable[..., None]:
    return lambda *_: file.must_be_there()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("inbox_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_mariadb(connection: Any, _record: object) -> None:
    half_open.notice_silence(connection)
    with connection.cursor() as cursor:
        cursor.execute(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,"
            "ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', SESSION time_zone = '+00:00'"
            # Read by MariaDB alone.
            f" /*M!100300, SESSION idle_transaction_timeout = {half_open.TRANSACTION_IDLE_SECONDS} */"
        )
    connection.commit()


class _WriterLock:
    """A file lock with a turnstile, so that who comes first goes first.

    A writer waits in the turnstile and takes the lock from within it; whoever releases the lock and wants it
    again stands behind whoever was waiting.
    """

    def __init__(self, database: Path) -> None:
        self._turnstile = database.with_name(database.name + "-turnstile")
        self._lock = database.with_name(database.name + "-writer")

    @contextlib.contextmanager
    def hold(self, purpose: str, waiting: Callable[[str], None] | None) -> Iterator[None]:
        with _opened(self._lock, "a+b") as lock:
            with _opened(self._turnstile, "ab") as turnstile:
                if waiting is not None and not (_try(turnstile) and _try(lock)):
                    lock.seek(0)
                    waiting(lock.read(200).decode("utf-8", "replace").strip() or "another command")
                fcntl.flock(turnstile, fcntl.LOCK_EX)
                fcntl.flock(lock, fcntl.LOCK_EX)
            # For those who wait, and no more than that: on a full disk it is left out.
            with contextlib.suppress(OSError):
                os.ftruncate(lock.fileno(), 0)
                os.write(lock.fileno(), purpose.encode())
            yield


def _opened(path: Path, mode: str) -> IO[bytes]:
    try:
        return cast("IO[bytes]", path.open(mode))
    except OSError as error:
        raise refusal(sqlite3.SQLITE_CANTOPEN, in_words(error)) from None


def _try(handle: Any) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
