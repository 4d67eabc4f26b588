"""Approval of a FULL: what it would make inactive, and the word that lets it load (contract L6).

An operator decides by counts and by keys as they are at this moment. So the FULL is loaded for trial in his
transaction, which is taken back; meanwhile the loader waits, as for any load.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from loaders.activity import Activity
from loaders.full import Full, Loss
from loaders.load import NotLoaded
from loaders.shapes import Catalog
from server import ledger
from server.errors import UsageError
from server.loading import Loading
from server.names import Mode
from server.states import Cause, Event, State

# So many keys of each table say to somebody who knows the business whether an export was right.
NAMED_KEYS = 10


def preview(
    connection: Connection, row: Row[Any], catalog: Catalog, loading: Loading
) -> tuple[Sequence[Loss], str | None]:
    """What a FULL makes inactive if it loads now, by table, and else why it cannot load."""
    if row.state == State.LOADED or row.stream_id is None or row.api not in catalog:
        return (), None
    savepoint = connection.begin_nested()
    try:
        return loading.attempt(connection, row, NAMED_KEYS).losses, None
    except NotLoaded as fault:
        return (), fault.reason
    except FileNotFoundError:
        return (), "its bytes are not in the spool any more"
    finally:
        savepoint.rollback()


def approve(
    connection: Connection, row: Row[Any], catalog: Catalog, now: datetime, *, by: str, reason: str
) -> Sequence[Loss]:
    """Let a FULL load whatever it makes inactive, or put one in force again that was undone.

    Returns:
        what that made inactive at once; nothing, if it has still to load.

    Raises:
        UsageError: the file is no FULL, or can load no more.
    """
    if row.mode != Mode.FULL or row.state in (State.DUPLICATE, State.REPLACED):
        what = row.state if row.mode == Mode.FULL else "no FULL"
        raise UsageError(f"{row.name} (file {row.id}) is {what}; there is nothing to approve.")
    losses = None
    if row.state == State.LOADED and row.api in catalog:
        full = Full(Activity(connection), catalog[row.api], row.stream_id, row.version, named_keys=NAMED_KEYS)
        losses = full.reinstate()
    if row.approved and losses is None:
        return ()
    ledger.change(connection, row.id, approved=1)
    ledger.note(connection, now, event="approved", file_id=row.id, by=by, reason=reason)
    if row.cause == Cause.NEEDS_APPROVAL:
        ledger.move(connection, row.id, Event.RELEASED, now, by=by, cause=None)
    return losses or ()
