"""The streams of the ledger: which number of each is due, which were given up, and what that releases.

Every function works in the caller's transaction, as those of `ledger` do.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from server import ledger, schema
from server.sequence import Range, Version, advance

FIRST_EXPECTED = Version(0, 1)

_FIRST_PAGE = 10
_LAST_PAGE = 10_000

_file = schema.file
_stream = schema.stream
_skip = schema.skip


@dataclass(frozen=True)
class Stream:
    """One stream as the ledger has it."""

    id: int
    name: str
    expected: Version
    rank: int


def by_name(connection: Connection, name: str, *, lock: bool = False) -> Stream | None:
    """A stream, or None if no file of it has come yet.

    Args:
        connection: in a transaction.
        name: the stream's.
        lock: keep others from changing it until the transaction ends.
    """
    query = select(_stream).where(_stream.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _as_stream(row)


def by_id(connection: Connection, stream_id: int, *, lock: bool = False) -> Stream:
    """A stream that a file belongs to; see `by_name`."""
    query = select(_stream).where(_stream.c.id == stream_id)
    return _as_stream(connection.execute(query.with_for_update() if lock else query).one())


def by_rank(connection: Connection) -> list[Stream]:
    """All streams, by rank."""
    return [_as_stream(row) for row in connection.execute(select(_stream).order_by(_stream.c.rank))]


def places(connection: Connection) -> dict[int, int]:
    """For each stream's id its place among all, the highest of which wins; equal ranks go by name."""
    query = select(_stream.c.id).order_by(_stream.c.rank, _stream.c.name)
    return {stream_id: place for place, stream_id in enumerate(connection.execute(query).scalars())}


def open_stream(connection: Connection, name: str, rank: int | None, now: datetime) -> Stream:
    """The stream of that name, made if it is new, and locked until the transaction ends.

    Args:
        connection: in a write transaction.
        name: see `sequence.stream_of`.
        rank: the one set for its source, or None for its place among all in the order in which they first
            appeared (contract L7.1).
        now: UTC.
    """
    found = by_name(connection, name, lock=True)
    if found is not None:
        return found
    if rank is None:
        rank = connection.execute(select(func.count()).select_from(_stream)).scalar_one() + 1
    connection.execute(
        insert(_stream).values(name=name, expected=int(FIRST_EXPECTED), rank=rank, created_at=now)
    )
    made = by_name(connection, name, lock=True)
    if made is None:  # pragma: no cover - it was inserted in this transaction
        raise LookupError(name)
    return made


def rank_anew(
    connection: Connection, rank_of: Callable[[str], int | None], now: datetime
) -> list[tuple[str, int]]:
    """Rank the streams that are there as the settings say now (contract L7.1).

    Args:
        connection: in a write transaction.
        rank_of: by a stream's name the rank that is set for its source, or None.
        now: UTC.

    Returns:
        names and ranks of those that had another rank.
    """
    changed = []
    known = connection.execute(select(_stream).order_by(_stream.c.id)).all()
    for place, row in enumerate(known, 1):
        rank = rank_of(row.name)
        rank = place if rank is None else rank
        if rank != row.rank:
            connection.execute(update(_stream).where(_stream.c.id == row.id).values(rank=rank))
            ledger.note(connection, now, event="ranked", stream_id=row.id, reason=f"{rank}, after {row.rank}")
            changed.append((row.name, rank))
    return changed


def _as_stream(row: Row[Any]) -> Stream:
    return Stream(row.id, row.name, Version.of(row.expected), row.rank)


def arrived(connection: Connection, stream_id: int, since: Version) -> Iterator[Version]:
    """Versions from `since` on whose files have arrived, ascending, whatever became of them (contract D2).

    Read in pages of growing size: there may be a hundred thousand, of which most callers want two.
    """
    query = (
        select(_file.c.version)
        .where(_file.c.stream_id == stream_id, _file.c.holder == 1, _file.c.version >= bindparam("since"))
        .order_by(_file.c.version)
    )
    start, page = int(since), _FIRST_PAGE
    while True:
        found = connection.execute(query.limit(page), {"since": start}).scalars().all()
        yield from map(Version.of, found)
        if len(found) < page:
            return
        start, page = found[-1] + 1, min(page * 10, _LAST_PAGE)


def highest(connection: Connection, stream_id: int) -> Version | None:
    """The highest version of a stream that has arrived, if any has."""
    query = select(func.max(_file.c.version)).where(_file.c.stream_id == stream_id, _file.c.holder == 1)
    version = connection.execute(query).scalar_one()
    return None if version is None else Version.of(version)


def skips(connection: Connection, stream_id: int, since: Version) -> list[Range]:
    """Ranges that were given up, from `since` on, ascending."""
    query = (
        select(_skip.c.first, _skip.c.last)
        .where(_skip.c.stream_id == stream_id, _skip.c.last >= int(since))
        .order_by(_skip.c.first)
    )
    return [Range(Version.of(row.first), Version.of(row.last)) for row in connection.execute(query)]


def move_on(
    connection: Connection, stream: Stream, now: datetime, *, start: Version | None = None
) -> tuple[Stream, int]:
    """Count what has arrived, and release all that the closed gap held back (contract S2).

    Args:
        connection: in a write transaction.
        stream: as read in this transaction.
        now: UTC.
        start: where the operator sets the stream; by default where it is.

    Returns:
        the stream as it is now, and how many held files became ready.
    """
    begin = start or stream.expected
    expected = advance(begin, arrived(connection, stream.id, begin), skips(connection, stream.id, begin))
    if expected == stream.expected:
        return stream, 0
    connection.execute(update(_stream).where(_stream.c.id == stream.id).values(expected=int(expected)))
    moved = replace(stream, expected=expected)
    if expected == stream.expected.next:
        # One file came in its turn, as most do: none was held below it.
        return moved, 0
    return moved, ledger.release_below(connection, stream.id, expected, now)


def give_up(
    connection: Connection, stream: Stream, missing: Iterable[Range], now: datetime, *, by: str, reason: str
) -> tuple[Stream, int]:
    """Record numbers as skipped and go on without them (contract S4); returns what `move_on` does."""
    for part in missing:
        connection.execute(
            insert(_skip).values(
                stream_id=stream.id,
                first=int(part.first),
                last=int(part.last),
                skipped_by=by,
                reason=reason,
                at=now,
            )
        )
        ledger.note(connection, now, event="skipped", stream_id=stream.id, by=by, reason=f"{part}: {reason}")
    return move_on(connection, stream, now)
