"""Faults at a chosen step, and a loader that lives through them without waiting."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
import pytest
from sqlalchemy import event

from server import dispatcher, loading
from server.database import Database
from server.dispatcher import Dispatcher
from tests.support.inboxes import Bench

DRIVER_EVENTS = ("do_execute", "do_executemany", "do_execute_no_params")


class Steps:
    """What a database is asked, statement by statement; at one of them something happens.

    A commit is two steps: before it, and when it is done but nobody has heard of it yet.
    """

    def __init__(self, database: Database, happen: Callable[[Any], None]) -> None:
        self._happen = happen
        self._at: int | None = None
        self._when: Callable[[str], bool] = lambda _: False
        self.asked: list[str] = []
        for name in DRIVER_EVENTS:
            event.listen(database.engine, name, self._statement)
            # First, because streamed rows are sent by a listener of their own; `insert` is passed over here.
            getattr(database.engine.dialect.dispatch, name).listeners.rotate(1)
        dialect = database.engine.dialect
        commit = dialect.do_commit

        def committing(connection: Any) -> None:
            self._step("before COMMIT", connection)
            commit(connection)
            self._step("after COMMIT", connection)

        setattr(dialect, "do_commit", committing)  # noqa: B010 - a method, to mypy

    def at(self, number: int) -> None:
        """Let it happen at that step, counted from now, from 1."""
        self.asked = []
        self._at = number

    def when(self, happens: Callable[[str], bool]) -> None:
        """Let it happen before each statement of which that is true."""
        self._when = happens

    def heal(self) -> bool:
        """Nothing happens any more; returns whether it has."""
        at, self._at = self._at, None
        self._when = lambda _: False
        return at is not None and len(self.asked) >= at

    def _statement(self, cursor: Any, statement: str, *_: Any) -> None:
        self._step(statement, cursor.connection)

    def _step(self, what: str, connection: Any) -> None:
        connection = getattr(connection, "dbapi_connection", connection)
        self.asked.append(what)
        if len(self.asked) == self._at or self._when(what):
            self._happen(connection)


def cut(connection: Any) -> None:
    """End a connection as its server, or its disk, would."""
    if isinstance(connection, sqlite3.Connection):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error
    connection._force_close()
    raise pymysql.err.OperationalError(2013, "Lost connection to server during query")


def without_waiting(patch: pytest.MonkeyPatch) -> None:
    """What a loader tries again, it tries at once."""
    patch.setattr(loading, "RETRY_FIRST_SECONDS", 0)
    patch.setattr(dispatcher, "AWAY_FIRST_SECONDS", 0)
    patch.setattr(dispatcher, "SCAN_SECONDS", 0)


def live(bench: Bench, patch: pytest.MonkeyPatch) -> Dispatcher:
    """A loader's life from its start until it has nothing more to do, through whatever faults there are."""
    loader = Dispatcher(bench.settings, bench.spool, bench.database, bench.catalog)
    patch.setattr(loader, "_wait", lambda nudges: loader.stop.set())
    loader.run()
    return loader


@contextmanager
def living(bench: Bench) -> Iterator[Dispatcher]:
    """A loader at work in a thread."""
    loader = Dispatcher(bench.settings, bench.spool, bench.database, bench.catalog)
    thread = threading.Thread(target=loader.run)
    thread.start()
    try:
        yield loader
    finally:
        loader.stop.set()
        thread.join(60)
        assert not thread.is_alive()


class Killed(BaseException):
    """The process is gone."""


def die(*_: object) -> None:
    """In place of a step before which a process is killed."""
    raise Killed
