"""The home of a ledger: the one spool that has the bytes of its files.

Both know it by the name that the spool has made for itself (`Spool.node`). With another spool the loader
would look for bytes that are not there and never see what is received elsewhere, so it does not begin. A
folder that is moved takes its name along; a spool that is lost is given up by an operator (`adopt`).
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from server import lease, ledger, schema
from server.database import Database, passes_by_itself
from server.errors import InboxError, UsageError
from server.spool import Spool

_home = schema.home


class AnotherSpool(InboxError):
    """The ledger belongs to another spool."""

    def __init__(self, spool: Spool, place: str) -> None:
        is_in_its_place = place == str(spool.root.resolve())
        here = "this one in its place is new" if is_in_its_place else f"this one is {spool.root}"
        super().__init__(
            f"The ledger belongs to another spool, last seen as {place}; {here}.",
            kept="Nothing was changed, and what this spool has accepted is kept.",
            todo="If the folder was moved or its disk is away, set [inbox] spool to it or bring it back. "
            "For a second inbox, set a database of its own ([database] url). If the other spool is lost for "
            "good, run `kore-inbox adopt`.",
        )


def settle(database: Database, spool: Spool) -> None:
    """Make a spool where there is none, unless the ledger has one.

    While the database is away a spool that is there will do: files are accepted all the same (contract A4).

    Raises:
        AnotherSpool: it has another one, elsewhere or in whose place this one is.
        SpoolGone: it has one here, which is not there.
        DBAPIError: there is no spool, and the database cannot say whether there ever was one.
    """
    try:
        home = _find(database)
    except DBAPIError as error:
        # Where there is no spool the ledger may have one, on a disk that is away as well.
        if not spool.is_made or not passes_by_itself(error):
            raise
        home = None
    if home is not None:
        here = str(spool.root.resolve())
        # Before the receiver accepts anything into it.
        if home.node != spool.node() if spool.is_made else home.place != here:
            raise AnotherSpool(spool, home.place)
        if not spool.is_made:
            spool.must_be_there()
    spool.create()


def is_known(database: Database) -> bool:
    """Whether a ledger that answers has a spool."""
    try:
        return _find(database) is not None
    except DBAPIError:
        return False


def _find(database: Database) -> Row[Any] | None:
    if database.is_sqlite and not Path(database.place).exists():
        return None
    with database.read() as connection:
        if not inspect(connection).has_table(_home.name):
            return None
        return connection.execute(select(_home)).one_or_none()


def claim(database: Database, spool: Spool) -> None:
    """Let a ledger belong to a spool if it belongs to none, and note where that is.

    Raises:
        AnotherSpool: it belongs to another one.
    """
    place = str(spool.root.resolve())
    with database.read() as connection:
        home = connection.execute(select(_home)).one_or_none()
    if home is not None and home.node != spool.node():
        raise AnotherSpool(spool, home.place)
    if home is not None and home.place == place:
        return
    try:
        with database.write("noting where the spool is") as connection:
            _write(connection, spool, ledger.now_utc())
    except IntegrityError:
        # Another process was first.
        claim(database, spool)


def adopt(
    connection: Connection, spool: Spool, now: datetime, *, by: str, reason: str, dry_run: bool = False
) -> str | None:
    """Let a ledger belong to this spool from now on; returns where the other one was, if it had another.

    Where there is none it is made, but not for a mere trial: the other one may come back to its place.

    Raises:
        UsageError: an inbox is at work on the other spool.
    """
    home = connection.execute(select(_home).with_for_update()).one_or_none()
    node = spool.node() if spool.is_made else ""
    if home is not None and home.node == node:
        return None
    if lease.is_led_by_another(connection, node):
        raise UsageError(
            f"An inbox on the ledger's own spool is at work{'' if home is None else f', on {home.place}'}.",
            kept="Nothing was changed.",
            todo="Stop it first. If it was killed, wait a minute.",
        )
    before = None if home is None else str(home.place)
    if dry_run:
        return before
    spool.create()
    _write(connection, spool, now)
    said = f"{spool.root} instead of {before}: {reason}"
    ledger.note(connection, now, event="spool adopted", by=by, reason=said)
    return before


def _write(connection: Connection, spool: Spool, now: datetime) -> None:
    values = {"node": spool.node(), "place": str(spool.root.resolve()), "since": now}
    if not connection.execute(update(_home).where(_home.c.id == 1).values(values)).rowcount:
        connection.execute(insert(_home).values(id=1, **values))
