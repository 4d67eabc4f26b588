"""Refused and parked rows of loaded files, judged again without the files' other rows (contract L7).

A refused row may be right since the catalog or the settings of its source have changed; one that is parked
looks for its parents again. Both are read from their file once more, and go the one way in, with the mark
that they have always had: it is as if the file had been loaded again. All of it is one transaction of the
operator's, so that a trial tells row by row what would come of it; meanwhile the loader waits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, union

from loaders.load import NotLoaded
from loaders.records import parked_row, rejected_row
from loaders.rejects import shown
from loaders.shapes import Catalog
from server import fixes, lease, schema, streams
from server.errors import UsageError
from server.loading import Loading
from server.states import State
from server.views import Filter

REJECTED, PARKED, LOADED = "rejected", "parked", "loaded"

# By line of a file, where its rows are that are not in, and why.
_Lines = Mapping[int, tuple[str, str | None, str | None]]


@dataclass(frozen=True)
class TriedRow:
    """A row that was not in, and what becomes of it: `loaded`, or not, with field and reason."""

    file_id: int
    name: str
    line: int
    was: str
    becomes: str
    field: str | None
    reason: str | None


def files(connection: Connection, wanted: Filter, catalog: Catalog) -> list[Row[Any]]:
    """The loaded files, among those wanted, of which some rows are not in."""
    ids = union(select(rejected_row.c.file_id), select(parked_row.c.file_id)).subquery()
    query = wanted.apply(select(schema.file)).join(ids, ids.c.file_id == schema.file.c.id)
    # A fix has no rows but those of its file.
    query = query.where(schema.file.c.state == State.LOADED, schema.file.c.holder == 1)
    return [row for row in connection.execute(query) if row.api in catalog]


def must_have_rows(row: Row[Any], catalog: Catalog) -> None:
    """UsageError for a file of which no single rows can be loaded again."""
    if (fix := fixes.name_of(row)) is not None:
        raise UsageError(
            f"{row.name} (file {row.id}) has no rows of its own.", todo=f"They are those of {fix.mended}."
        )
    if row.state != State.LOADED or row.holder != 1 or row.api not in catalog:
        raise UsageError(
            f"{row.name} (file {row.id}) is {row.state}; single rows are replayed of loaded files.",
            todo=f"`kore-inbox why {row.id}` says what becomes of it.",
        )


def replay_rows(
    connection: Connection,
    files: Sequence[Row[Any]],
    loading: Loading,
    now: datetime,
    *,
    by: str,
    reason: str,
) -> list[TriedRow]:
    """Judge the rows again that some files have not in.

    A file that cannot be read again, or has too many refused rows now, stays as it is; each of its rows says
    so.

    Args:
        connection: in a write transaction.
        files: loaded ones, in the order of loading; the catalog has their APIs.
        loading: what loads them.
        now: UTC.
        by: who wants it,
        reason: and why.
    """
    lease.exclude_loader(connection)
    ranks = streams.places(connection)
    before = {row.id: lines for row in files if (lines := _not_in(connection, row.id))}
    faults: dict[int, str] = {}
    for row in files:
        # Another file's rows may have let these in.
        lines = _not_in(connection, row.id)
        if not lines:
            continue
        savepoint = connection.begin_nested()
        try:
            loading.load_rows(connection, row, lines.keys(), ranks, now, by=by, reason=reason)
        except (NotLoaded, FileNotFoundError) as fault:
            savepoint.rollback()
            faults[row.id] = fault.reason if isinstance(fault, NotLoaded) else "its bytes are gone"
        else:
            savepoint.commit()
    return [
        tried
        for row in files
        if row.id in before
        for tried in _tried(row, before[row.id], _not_in(connection, row.id), faults.get(row.id))
    ]


def _tried(row: Row[Any], before: _Lines, after: _Lines, fault: str | None) -> Iterable[TriedRow]:
    # What was not in and is no row of the file any more (a header, say) is dealt with as well.
    for line in sorted(before.keys() | after.keys()):
        was, _, _ = before.get(line, (LOADED, None, None))
        becomes, field, reason = after.get(line, (LOADED, None, None))
        said = reason if fault is None else f"the file cannot be loaded again: {fault}"
        yield TriedRow(row.id, row.name, line, was, becomes, field, said)


def _not_in(connection: Connection, file_id: int) -> dict[int, tuple[str, str | None, str | None]]:
    """By line, what of a file was refused, or is parked."""
    r, p = rejected_row.c, parked_row.c
    found: dict[int, tuple[str, str | None, str | None]] = {}
    waiting = select(p.line, p.waits_table, p.waits_key).where(p.file_id == file_id)
    for line, table, key in connection.execute(waiting):
        found[line] = (PARKED, None, f"{table} has no {shown(key)}")
    for line, field, reason in connection.execute(
        select(r.line, r.field, r.reason).where(r.file_id == file_id)
    ):
        found[line] = (REJECTED, field, reason)
    return found
