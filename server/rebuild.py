"""A ledger that is lost, or an older copy, made anew from the spool, so that everything is loaded again.

The journal says what the ledger knew; receipts that it does not mention are judged as if they came now, in
order of acceptance. Files and streams get the very ids that they had, so rows that are still in the tables
keep their marks, and loading again changes nothing in them (contract L7). All of it is one transaction: what
is killed leaves an empty ledger, and is repeated.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Table,
    and_,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from loaders.shapes import Catalog
from loaders.tables import target
from server import journal, ledger, roles, schema, streams
from server.config import Settings
from server.database import Database
from server.errors import UsageError
from server.intake import Intake
from server.journal import TABLES, Entry, Image, Journal
from server.names import FIX_SUFFIX
from server.spool import Spool
from server.states import Cause, State
from server.wording import counted

# Rows that are written together.
_BATCH = 1000

_file = schema.file

Progress = Callable[[int, int], None]
"""Told how much of how much is done, in bytes of the journal."""


def _untold(_done: int, _total: int) -> None:
    """Nobody looks on."""


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuilt ledger holds.

    Attributes:
        files: how many by state.
        streams: the number that is due, by stream.
        skipped: how many ranges are given up.
        judged: names of files that the journal did not mention, and which were judged anew.
        without_bytes: names of files that cannot be loaded again.
    """

    files: Mapping[str, int]
    streams: Mapping[str, str]
    skipped: int
    judged: Sequence[str]
    without_bytes: Sequence[str]

    def lines(self) -> Iterator[str]:
        """The same for people."""
        states = ", ".join(f"{count:,} {state}" for state, count in self.files.items())
        yield f"{counted(sum(self.files.values()), 'file')}: {states}."
        for stream, due in self.streams.items():
            yield f"{stream} goes on with {due}."
        if self.judged:
            yield (
                f"{counted(len(self.judged), 'file')} judged anew: the spool's journal does not have them. "
                "What operators had decided about them is lost: numbers that were given up are missing again."
            )
        if self.without_bytes:
            yield (
                f"{counted(len(self.without_bytes), 'file')} cannot be loaded again, as the bytes are gone: "
                f"{', '.join(self.without_bytes)}."
            )


class _DryRun(Exception):
    """Ends a transaction that was only tried."""


def rebuild(
    settings: Settings,
    spool: Spool,
    database: Database,
    catalog: Catalog,
    *,
    by: str,
    reason: str,
    dry_run: bool,
    progress: Progress = _untold,
) -> Rebuilt:
    """Make a lost ledger anew; the next `serve` loads what it says is ready.

    Args:
        settings: of the inbox.
        spool: that no inbox is running on.
        database: its schema is made.
        catalog: the APIs.
        by: who wants it,
        reason: and why.
        dry_run: only say what the ledger would hold.
        progress: see there.

    Raises:
        SpoolTaken: an inbox is running.
        UsageError: the ledger is not lost, or cannot be made to fit the rows that are in the tables.
    """
    made: list[Rebuilt] = []
    with ExitStack() as stack:
        for role in ("serve", "receiver", "loader"):
            stack.enter_context(roles.take(spool.root, role, timeout_seconds=0))
        try:
            with database.write("making the ledger anew") as connection:
                now = ledger.now_utc()
                _must_be_lost(connection, spool)
                _restore(connection, Journal(spool), progress)
                _take_up(connection, now, by, reason)
                since = journal.last_event(connection)
                intake = Intake(settings, lambda: frozenset(catalog), spool)
                judged = _judge_the_rest(connection, intake, catalog, now)
                entry = journal.entry(connection, since)
                last = journal.last_event(connection)
                made.append(_found(connection, spool, judged))
                if dry_run:
                    raise _DryRun
        except _DryRun:
            return made[0]
        # Always: by it the journal knows that events are counted from 1 again.
        Journal(spool).append(entry or Entry(last, {}))
    return made[0]


def _must_be_lost(connection: Connection, spool: Spool) -> None:
    is_older = journal.last_event(connection) < Journal(spool).known_event()
    if journal.has_files(connection) and not is_older:
        raise UsageError(
            "The ledger is there; only a lost one is made anew.",
            kept="Nothing was changed.",
            todo="To load everything again, run `kore-inbox replay --loaded`.",
        )
    if not spool.has_registered():
        raise UsageError(
            f"The spool {spool.root} has no file that was ever registered; there is nothing to make anew."
        )


def _restore(connection: Connection, from_journal: Journal, progress: Progress) -> None:
    """Put in every row of the journal as it was last."""
    for table in TABLES.values():
        connection.execute(delete(table))
    total, done, waiting = from_journal.size_bytes(), 0, 0
    images: dict[str, dict[tuple[Any, ...], Image]] = {name: {} for name in TABLES}
    for entry, length in from_journal.read():
        for name, rows in entry.rows.items():
            key = TABLES[name].primary_key.columns.keys()
            images[name] |= {tuple(row[column] for column in key): row for row in rows}
        done, waiting = done + length, waiting + sum(map(len, entry.rows.values()))
        if waiting >= _BATCH:
            _write(connection, images)
            waiting = 0
            progress(done, total)
    _write(connection, images)
    progress(total, total)


def _write(connection: Connection, images: dict[str, dict[tuple[Any, ...], Image]]) -> None:
    """Put rows in place of what was known of them, and forget them."""
    for name, rows in images.items():
        table = TABLES[name]
        key = tuple_(*table.primary_key.columns)
        for some in _batches(rows):
            connection.execute(delete(table).where(key.in_(some)))
        if rows:
            connection.execute(insert(table), [_values(table, row) for row in rows.values()])
        rows.clear()


def _values(table: Table, image: Image) -> dict[str, Any]:
    return {name: _value(table.columns[name], image.get(name)) for name in journal.columns(table)}


def _value(column: Column[Any], value: Any) -> Any:
    is_moment = isinstance(column.type, DateTime) and value is not None
    return datetime.fromisoformat(value) if is_moment else value


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while some := list(islice(rest, _BATCH)):
        yield some


def _take_up(connection: Connection, now: datetime, by: str, reason: str) -> None:
    """Bring the files to where loading begins, and write down whence they come."""
    f = _file.c
    # A FULL that was in needs no approval to go in again, and waits for no hours.
    was_in = and_(f.state == State.LOADED, f.mode == "FULL")
    connection.execute(update(_file).where(was_in).values(approved=1, released=1))
    tried = and_(f.state == State.QUARANTINED, f.cause != Cause.UNKNOWN_API)
    begun = or_(f.state.in_([State.LOADING, State.LOADED, State.DEFERRED]), tried)
    connection.execute(
        update(_file).where(begun, f.holder == 1).values(state=State.READY, cause=None, reason=None)
    )
    # Fixes hold no number, and go in with their files. What was turned away stays where it is.
    is_fix = and_(f.holder.is_(None), f.name.endswith(FIX_SUFFIX, autoescape=True))
    connection.execute(update(_file).where(begun, is_fix).values(state=State.HELD))
    # Of what was replaced it says that it may be needed again.
    connection.execute(update(_file).where(f.state != State.REPLACED).values(loaded_at=None))
    said = [literal(now, schema.Moment), literal("rebuilt"), f.state, literal(by), literal(reason)]
    columns = ["file_id", "stream_id", "at", "event", "state", "done_by", "reason"]
    connection.execute(
        insert(schema.event).from_select(columns, select(f.id, f.stream_id, *said).order_by(f.id))
    )
    # What senders have read in their answers is not so any more.
    connection.execute(update(_file).values(ack_due=1))
    for stream in streams.by_rank(connection):
        moved, _ = streams.move_on(connection, stream, now)
        ledger.release_below(connection, stream.id, moved.expected, now)


def _judge_the_rest(connection: Connection, intake: Intake, catalog: Catalog, now: datetime) -> list[str]:
    """Register what the journal does not mention; returns the names."""
    names: list[str] = []
    for ids in _batches(sorted(intake.spool.registered_ids())):
        known = ledger.registered(connection, ids)
        found = map(intake.spool.read, (receipt_id for receipt_id in ids if receipt_id not in known))
        receipts = [receipt for receipt in found if receipt is not None]
        if receipts and not names and (table := _table_with_rows(connection, catalog)):
            raise UsageError(
                f"The spool's journal does not mention {receipts[0].name}, and the table {table} holds rows: "
                "which stream wrote them cannot be told.",
                kept="Nothing was changed.",
                todo="Put the journal back from a backup of the spool, or drop the tables, so that they are "
                "filled anew as well.",
            )
        intake.register(connection, receipts, now)
        names += [receipt.name for receipt in receipts]
    return names


def _table_with_rows(connection: Connection, catalog: Catalog) -> str | None:
    for name, table in target(catalog).tables.items():
        if connection.execute(select(literal(1)).select_from(table).limit(1)).first() is not None:
            return name
    return None


def _found(connection: Connection, spool: Spool, judged: Sequence[str]) -> Rebuilt:
    states = select(_file.c.state, func.count()).group_by(_file.c.state)
    return Rebuilt(
        files=dict(connection.execute(states).all()),
        streams={stream.name: str(stream.expected) for stream in streams.by_rank(connection)},
        skipped=connection.execute(select(func.count()).select_from(schema.skip)).scalar_one(),
        judged=judged,
        without_bytes=list(_without_bytes(connection, spool)),
    )


def _without_bytes(connection: Connection, spool: Spool) -> Iterator[str]:
    query = select(_file.c.name, _file.c.data).where(_file.c.state.in_([State.READY, State.HELD]))
    for name, data in connection.execute(query):
        if not spool.has_data(data):
            yield name
