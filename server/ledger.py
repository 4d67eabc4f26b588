"""The ledger: what became of every file. The only way to change a file's state is here.

Every function works in the caller's transaction; the caller decides what belongs together. `states.after`
says which moves there are; a move that another process made first changes no row, and is told by the result.
Whatever changes a file marks it in the same step, so that no crash can leave its sender unanswered (E3).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, insert, literal, select, update

from server import schema
from server.names import FileName, parse_shown
from server.receipt import Receipt
from server.sequence import Holder, Version
from server.states import Event, State, after, leaving_by

# No loader writes more events in the time that a power cut takes back.
_LATELY = 100_000

_file = schema.file


def now_utc() -> datetime:
    """The time in UTC, without a zone, as the ledger's columns have it."""
    return datetime.now(UTC).replace(tzinfo=None)


def holder(connection: Connection, stream_id: int, version: Version) -> Row[Any] | None:
    """The file that has a number, as a row of `inbox_file`."""
    query = select(_file.c.id).where(
        _file.c.stream_id == stream_id, _file.c.holder == 1, _file.c.version == int(version)
    )
    # Mostly there is none, and PyMySQL takes longer to describe thirty columns than to find no row.
    file_id = connection.execute(query).scalar_one_or_none()
    return None if file_id is None else file_by_id(connection, file_id)


def replaced_by(connection: Connection, row: Row[Any]) -> list[Row[Any]]:
    """The loaded files whose place a file has taken, in the order in which they were loaded.

    Their rows stay until it is loaded (contract A7).
    """
    query = select(_file).where(
        _file.c.stream_id == row.stream_id,
        _file.c.version == row.version,
        _file.c.name == row.name,
        _file.c.state == State.REPLACED,
        _file.c.loaded_at.is_not(None),
    )
    return list(connection.execute(query.order_by(_file.c.loaded_at, _file.c.id)))


def turned_away(connection: Connection, row: Row[Any]) -> list[Row[Any]]:
    """The quarantined files that were to take the place of a loaded one, in order of registration."""
    query = select(_file).where(
        _file.c.stream_id == row.stream_id,
        _file.c.version == row.version,
        _file.c.name == row.name,
        _file.c.state == State.QUARANTINED,
        _file.c.holder.is_(None),
    )
    return list(connection.execute(query.order_by(_file.c.id)))


def reinstate(connection: Connection, row: Row[Any], now: datetime) -> None:
    """Give a number back to the loaded file that had it, as the one that took its place will not be loaded.

    Args:
        connection: in a write transaction.
        row: the file that is not loaded.
        now: UTC.
    """
    for before in replaced_by(connection, row)[-1:] if row.holder else ():
        change(connection, row.id, holder=None)
        note(connection, now, event="number given back", file_id=row.id, reason=f"to file {before.id}")
        reason = f"file {row.id}, which was to take its place, is not loaded"
        move(connection, before.id, Event.REINSTATED, now, reason=reason, holder=1)
        if before.rows_read is None:
            # The ledger was made anew since it was loaded, and its tables may have been as well.
            move(connection, before.id, Event.REPLAYED, now, reason="loaded before the ledger was lost")
            return
        name = str(parse_shown(before.name).fix)
        if any(fix.state == State.HELD for fix in fixes(connection, name, row.stream_id, row.version)):
            move(connection, before.id, Event.REPLAYED, now, reason="corrected rows came")


def fixes(connection: Connection, name: str, stream_id: int, version: int) -> list[Row[Any]]:
    """The fixes of that name which have gone in or wait for their file, in order of acceptance.

    One that was withdrawn and is replayed counts as accepted then: others may have gone in meanwhile.
    """
    event = schema.event
    placed = (
        select(func.max(event.c.id))
        .where(event.c.file_id == _file.c.id, event.c.event == Event.TOO_EARLY)
        .scalar_subquery()
    )
    query = select(_file).where(
        _file.c.name == name,
        _file.c.stream_id == stream_id,
        _file.c.version == version,
        _file.c.state.in_([State.HELD, State.LOADED]),
    )
    return list(connection.execute(query.order_by(placed)))


def last_of(connection: Connection, stream_id: int, name: FileName) -> list[Row[Any]]:
    """Of the files of a stream that the inbox numbers, the last one of that name, if there is one (N7)."""
    query = select(_file).where(
        _file.c.stream_id == stream_id,
        _file.c.holder == 1,
        _file.c.integration == name.integration,
        _file.c.api == name.api,
        _file.c.mode == name.mode,
    )
    return list(connection.execute(query.order_by(_file.c.version.desc()).limit(1)))


def as_holder(row: Row[Any]) -> Holder:
    """What `sequence.judge` needs to know of a file."""
    return Holder(row.name, State(row.state), row.sha256_lf, row.size_bytes, row.sha256)


def release_below(connection: Connection, stream_id: int, expected: Version, now: datetime) -> int:
    """Let go what is held although nothing below it is missing; returns how many files became ready."""
    held = (
        (_file.c.state == State.HELD)
        & (_file.c.holder == 1)
        & (_file.c.stream_id == stream_id)
        & (_file.c.version < int(expected))
    )
    ready = after(State.HELD, Event.GAP_CLOSED)
    connection.execute(
        insert(schema.event).from_select(
            ["file_id", "stream_id", "at", "event", "state"],
            select(
                _file.c.id,
                _file.c.stream_id,
                literal(now, schema.Moment),
                literal(str(Event.GAP_CLOSED)),
                literal(str(ready)),
            ).where(held),
        )
    )
    return connection.execute(update(_file).where(held).values(state=ready, reason=None, ack_due=1)).rowcount


def registered(connection: Connection, receipt_ids: Sequence[str]) -> dict[str, str]:
    """Those of some receipts that the ledger knows, with the state of their files."""
    query = select(_file.c.receipt, _file.c.state).where(_file.c.receipt.in_(receipt_ids))
    return {row.receipt: row.state for row in connection.execute(query)}


def shared(connection: Connection, data: Sequence[str]) -> set[str]:
    """Those of some data that several files have: it was brought back, or renamed twice.

    To find them all files are looked at.
    """
    if not data:
        return set()
    query = select(_file.c.data).where(_file.c.data.in_(data)).group_by(_file.c.data).having(func.count() > 1)
    return set(connection.execute(query).scalars())


def add_file(
    connection: Connection,
    receipt: Receipt,
    name: FileName | None,
    now: datetime,
    *,
    stream_id: int | None = None,
    version: Version | None = None,
    holder: int | None = None,
) -> int:
    """Enter a received file, in state *received*; returns its id.

    Args:
        connection: in a write transaction.
        receipt: from the spool.
        name: None if it is outside the grammar.
        now: UTC.
        stream_id: of the stream that it belongs to.
        version: what its number stands for there.
        holder: 1 if it has its number from the start, as no other file has it.
    """
    values: dict[str, Any] = {
        "receipt": receipt.id,
        "name": receipt.name[:255] if name is None else str(name),
        "stream_id": stream_id,
        "version": None if version is None else int(version),
        "holder": holder,
        "state": State.RECEIVED,
        "size_bytes": receipt.size_bytes,
        "sha256": receipt.sha256,
        "sha256_lf": receipt.sha256_lf,
        "data": receipt.data,
        "sender": receipt.user[:100],
        "address": receipt.address[:100],
        "received_at": datetime.fromisoformat(receipt.received_at).replace(tzinfo=None),
        "registered_at": now,
        "ack_due": 1,
    }
    if name is not None:
        values |= {
            "source": name.source,
            "sequence": name.sequence,
            "integration": name.integration,
            "api": name.api,
            "mode": name.mode,
        }
    key = connection.execute(insert(_file), values).inserted_primary_key
    if key is None:  # pragma: no cover - both databases return it
        raise LookupError(receipt.id)
    return int(key[0])


def move(
    connection: Connection,
    file_id: int,
    event: Event,
    now: datetime,
    *,
    by: str | None = None,
    reason: str | None = None,
    **columns: Any,
) -> State | None:
    """Let something happen to a file, and write it down.

    Args:
        connection: in a write transaction.
        file_id: the ledger's id.
        event: what happens.
        now: UTC.
        by: who did it, if a person.
        reason: becomes the file's `reason` and that of the event.
        columns: of `inbox_file`, changed in the same step.

    Returns:
        the state that follows, or None if the file is no longer in a state that the event can leave.
    """
    for state in leaving_by(event):
        follows = after(state, event)
        moved = connection.execute(
            update(_file)
            .where(_file.c.id == file_id, _file.c.state == state)
            .values(state=follows, reason=reason, ack_due=1, **columns)
        )
        if moved.rowcount:
            note(connection, now, event=event, file_id=file_id, state=follows, by=by, reason=reason)
            return follows
    return None


def note(
    connection: Connection,
    now: datetime,
    *,
    event: str,
    file_id: int | None = None,
    stream_id: int | None = None,
    state: str | None = None,
    by: str | None = None,
    reason: str | None = None,
) -> None:
    """Append to the history; nothing is ever removed from it."""
    values = {
        "file_id": file_id,
        "stream_id": stream_id,
        "at": now,
        "event": event,
        "state": state,
        "done_by": by,
        "reason": reason,
    }
    connection.execute(insert(schema.event), values)


def change(connection: Connection, file_id: int, **columns: Any) -> None:
    """Set columns of a file that are no state: its number, counts, the time of its next try."""
    connection.execute(update(_file).where(_file.c.id == file_id).values(ack_due=1, **columns))


def file_by_id(connection: Connection, file_id: int) -> Row[Any]:
    """A file that is known to be there."""
    return connection.execute(select(_file).where(_file.c.id == file_id)).one()


def files_in(connection: Connection, state: State) -> list[Row[Any]]:
    """All files of a state, in order of registration."""
    return list(connection.execute(select(_file).where(_file.c.state == state).order_by(_file.c.id)))


def count_unparked(connection: Connection, file_id: int, rows: int) -> None:
    """Rows of an earlier file have gone in, or become void, and are parked no more."""
    connection.execute(
        update(_file)
        .where(_file.c.id == file_id)
        .values(rows_parked=_file.c.rows_parked - rows, rows_loaded=_file.c.rows_loaded + rows, ack_due=1)
    )


def ready_files(connection: Connection, now: datetime, longest_wait_seconds: float) -> list[Row[Any]]:
    """Files that may load now, those that wait for their next try left out.

    Args:
        connection: to the database.
        now: UTC.
        longest_wait_seconds: what is to wait longer was put off before the clock was set back, and may load.
    """
    again = _file.c.retry_at
    latest = now + timedelta(seconds=longest_wait_seconds)
    query = select(
        *(_file.c.id, _file.c.name, _file.c.api, _file.c.mode),
        *(_file.c.stream_id, _file.c.version, _file.c.size_bytes),
    ).where(_file.c.state == State.READY, again.is_(None) | (again <= now) | (again > latest))
    return list(connection.execute(query))


def stuck(connection: Connection) -> Mapping[tuple[int, str], int]:
    """For (stream, API), the lowest version that `on_quarantine = "wait"` waits for (contract D2)."""
    query = (
        select(_file.c.stream_id, _file.c.api, func.min(_file.c.version))
        .where(_file.c.state.in_([State.QUARANTINED, State.DEFERRED]), _file.c.holder == 1)
        .group_by(_file.c.stream_id, _file.c.api)
    )
    return {(stream_id, api): version for stream_id, api, version in connection.execute(query)}


# --- answers ---------------------------------------------------------------------------------------------


def acks_due(connection: Connection, at_most: int) -> list[Row[Any]]:
    """Files that changed since their senders were answered, locked until the transaction ends."""
    query = select(_file.c.id, _file.c.name, _file.c.api, _file.c.stream_id).where(_file.c.ack_due == 1)
    return list(connection.execute(query.order_by(_file.c.id).limit(at_most).with_for_update()))


def is_ack_due(connection: Connection) -> bool:
    """Whether there is any such file."""
    return connection.execute(select(_file.c.id).where(_file.c.ack_due == 1).limit(1)).first() is not None


def acked(connection: Connection, file_ids: Sequence[int]) -> None:
    """Their senders can read what became of them."""
    connection.execute(update(_file).where(_file.c.id.in_(file_ids)).values(ack_due=None))


def ack_again(connection: Connection, seconds: float) -> None:
    """Mark the files of what happened last, within so long before the newest event."""
    event = schema.event
    newest = connection.execute(select(event).order_by(event.c.id.desc()).limit(1)).one_or_none()
    if newest is not None:
        since = newest.at - timedelta(seconds=seconds)
        # By id, of which there is an index; nothing else looks for a time.
        changed = select(event.c.file_id).where(event.c.id > newest.id - _LATELY, event.c.at >= since)
        connection.execute(update(_file).where(_file.c.id.in_(changed)).values(ack_due=1))


def spoken_of(connection: Connection, names: Sequence[str]) -> dict[str, Row[Any]]:
    """For each of some names the file that a sender means by it: the holder of the number, else the last.

    Those that were refused for their names, or came twice, are nobody's.
    """
    query = (
        select(_file)
        .where(_file.c.name.in_(names), _file.c.stream_id.is_not(None), _file.c.state != State.DUPLICATE)
        .order_by(_file.c.holder, _file.c.id)
    )
    # NULL sorts first on both databases, so the last one of a name is the holder, if there is one.
    return {row.name: row for row in connection.execute(query)}
