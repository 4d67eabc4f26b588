"""FULL files wait for their hours, and load by themselves when these begin (contract D5).

What is ready outside its hours is deferred, with a cause of its own; when its window opens, or the settings
have none any more, it is ready again. That newer NET files went in meanwhile does no harm (L7).
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from server import ledger, schema
from server.config import Settings
from server.names import Mode
from server.states import Cause, Event, State
from server.waves import is_after_hours
from server.windows import Window

log = logging.getLogger("server.dispatcher")


def is_kept(row: Row[Any], settings: Settings, now: datetime) -> bool:
    """Whether a file of the ledger may not load at a time, in UTC."""
    return is_after_hours(row.mode, row.released, settings.window(row.source), now.replace(tzinfo=UTC))


def opens(window: Window | None, now: datetime) -> datetime | None:
    """When a window opens next, in UTC; None if it is open, or if there is none."""
    aware = now.replace(tzinfo=UTC)
    return None if window is None or window.is_open(aware) else window.opens_next(aware)


def is_due(connection: Connection, settings: Settings, now: datetime) -> bool:
    """Whether `keep` has anything to do."""
    return any(is_kept(row, settings, now) != _is_deferred(row) for row in _concerned(connection))


def keep(connection: Connection, settings: Settings, now: datetime) -> None:
    """Defer what is ready outside its hours, and let go what waited for them."""
    for row in _concerned(connection):
        kept = is_kept(row, settings, now)
        if kept and not _is_deferred(row):
            reason = f"FULL files of {row.source} load {_said(settings.window(row.source))}"
            ledger.move(connection, row.id, Event.DEFERRED, now, reason=reason, cause=Cause.AFTER_HOURS)
            log.info("%s is deferred: %s", row.name, reason, extra={"action": "defer", "file_id": row.id})
        elif not kept and _is_deferred(row):
            ledger.move(connection, row.id, Event.RELEASED, now, cause=None)


def _concerned(connection: Connection) -> Iterator[Row[Any]]:
    """FULLs that are ready, or wait for their hours."""
    file = schema.file
    query = select(
        file.c.id, file.c.name, file.c.source, file.c.mode, file.c.state, file.c.cause, file.c.released
    ).where(file.c.state.in_([State.READY, State.DEFERRED]), file.c.mode == Mode.FULL)
    for row in list[Row[Any]](connection.execute(query)):
        if row.state == State.READY or row.cause == Cause.AFTER_HOURS:
            yield row


def _is_deferred(row: Row[Any]) -> bool:
    return bool(row.state == State.DEFERRED)


def _said(window: Window | None) -> str:
    return "always" if window is None else window.text
