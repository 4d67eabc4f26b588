"""What operators ask the ledger: listings, as plain values.

Keys are the ledger's columns (contract section 8); times are UTC datetimes, which `output` writes. Nothing
here changes anything.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from loaders import records
from server import gaps, ledger, schema, streams
from server.errors import UsageError
from server.names import FileName, NameRefused, is_unsequenced, parse_shown
from server.notices import Notice
from server.sequence import Scope, stream_of, version_of
from server.states import State

Record = dict[str, Any]

_file = schema.file

# All numbers of so many digits can be ids: they fit the 8 bytes of a database's integer.
_ID_DIGITS = 18

FILE_COLUMNS = (
    "id",
    "name",
    "source",
    "sequence",
    "integration",
    "api",
    "mode",
    "state",
    "reason",
    "size_bytes",
    "sha256",
    "received_at",
    "loaded_at",
    "rows_read",
    "rows_loaded",
    "rows_rejected",
    "rows_parked",
)


@dataclass(frozen=True)
class Filter:
    """Which files; what is empty does not matter. `since` and `until` are UTC, of reception, and included."""

    states: Sequence[State] = ()
    sources: Sequence[str] = ()
    apis: Sequence[str] = ()
    limit: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def apply(self, query: Select[Any]) -> Select[Any]:
        """The query with these conditions."""
        for column, values in (
            (_file.c.state, [str(state) for state in self.states]),
            (_file.c.source, [source.upper() for source in self.sources]),
            (_file.c.api, [api.upper() for api in self.apis]),
        ):
            if values:
                query = query.where(column.in_(values))
        if self.since is not None:
            query = query.where(_file.c.received_at >= self.since)
        if self.until is not None:
            query = query.where(_file.c.received_at <= self.until)
        return query


def files(connection: Connection, wanted: Filter) -> list[Record]:
    """Files in order of registration; with a limit, the last ones."""
    query = wanted.apply(select(*(_file.c[name] for name in FILE_COLUMNS)))
    if wanted.limit is None:
        return _records(connection, query.order_by(_file.c.id))
    return _records(connection, query.order_by(_file.c.id.desc()).limit(wanted.limit))[::-1]


def find_file(connection: Connection, text: str, scope: Scope) -> Row[Any]:
    """A file by its id or by any spelling of its name.

    Of several files with one name it is the one that holds the number, else the last.

    Raises:
        UsageError: there is none.
    """
    if text.isascii() and text.isdigit():
        row = None
        if len(digits := text.lstrip("0") or "0") <= _ID_DIGITS:
            row = connection.execute(select(_file).where(_file.c.id == int(digits))).one_or_none()
        if row is None:
            raise UsageError(f"There is no file with the id {digits[:40]}.", todo="See `kore-inbox files`.")
        return row
    try:
        name: FileName | None = parse_shown(text)
        why_not = ""
    except NameRefused as error:
        name, why_not = None, str(error)
    called = _file.c.name == (text if name is None else str(name))
    if is_unsequenced(text):
        # Whatever number the inbox has given it.
        called |= _file.c.name.like("%/_U_______/_" + text.upper().replace("_", "/_"), escape="/")
    query = select(_file).where(called)
    rows = connection.execute(query.order_by(_file.c.holder.desc(), _file.c.id.desc())).all()
    if rows:
        # MariaDB and SQLite agree that NULL sorts last when descending.
        return rows[0]
    if name is None:
        raise UsageError(
            f"`{text}` is neither the name nor the id of a file: {why_not}.", todo="See `kore-inbox files`."
        )
    raise UsageError(f"{name} has not arrived.", todo=_what_of_its_number(connection, name, scope))


def _what_of_its_number(connection: Connection, name: FileName, scope: Scope) -> str:
    stream = streams.by_name(connection, stream_of(name, scope))
    if stream is None:
        return f"No file of {stream_of(name, scope)} has."
    version = version_of(name.sequence, stream.expected)
    other = ledger.holder(connection, stream.id, version)
    if other is not None:
        return f"Its number belongs to {other.name}, which is file {other.id}."
    if any(part.first <= version <= part.last for part in streams.skips(connection, stream.id, version)):
        return "Its number was given up; if it comes after all, it is loaded."
    return f"The next number of {stream.name} is {stream.expected}."


def history(connection: Connection, row: Row[Any]) -> list[Record]:
    """Everything that happened to a file, in order."""
    event = schema.event
    query = (
        select(event.c.at, event.c.event, event.c.state, event.c.done_by, event.c.reason)
        .where(event.c.file_id == row.id)
        .order_by(event.c.id)
    )
    return _records(connection, query)


def missing(connection: Connection, stream_name: str | None = None) -> list[Record]:
    """Gaps of one stream or of all, with their age and what they hold back."""
    now = ledger.now_utc()
    return [
        {
            "stream": gap.stream,
            "first": gap.missing.first.sequence,
            "last": gap.missing.last.sequence,
            "numbers": gap.missing.size,
            "since": gap.since,
            "age_seconds": round(gap.age_seconds(now)),
            "holds_back": gap.holds_back,
        }
        for gap in gaps.find(connection, stream_name)
    ]


def rejects(connection: Connection, row: Row[Any]) -> list[Record]:
    """Refused rows of a file: line, field, reason, raw row."""
    table = records.rejected_row
    query = select(table.c.line, table.c.field, table.c.reason, table.c.raw)
    return _records(connection, query.where(table.c.file_id == row.id).order_by(table.c.line))


def parked(connection: Connection, limit: int | None = None) -> list[Record]:
    """Rows that wait for a parent."""
    table = records.parked_row
    query = (
        select(
            table.c.file_id,
            _file.c.name,
            table.c.api,
            table.c.line,
            table.c.waits_table,
            table.c.waits_key,
            table.c.parked_at,
            table.c.raw,
        )
        .join(_file, _file.c.id == table.c.file_id)
        .order_by(table.c.id)
        .limit(limit)
    )
    return _records(connection, query)


def unjoined(connection: Connection) -> list[Record]:
    """Columns with rows that were joined to no parent when the loader counted last."""
    table = schema.unjoined
    query = select(
        table.c.table_name,
        table.c.column_name,
        table.c.parent_table,
        table.c.rows_unjoined,
        table.c.counted_at,
    )
    return _records(connection, query.where(table.c.rows_unjoined > 0))


def incidents(connection: Connection, *, closed: bool) -> list[Record]:
    """Open incidents, oldest first; with `closed` those of the past too."""
    table = schema.incident
    query = select(
        table.c.id,
        table.c.kind,
        table.c.subject,
        table.c.happened,
        table.c.kept,
        table.c.todo,
        table.c.first_seen,
        table.c.last_seen,
        table.c.count,
        table.c.closed_at,
    ).order_by(table.c.first_seen, table.c.id)
    return _records(connection, query if closed else query.where(table.c.open == 1))


def noticed(notice: Notice) -> Record:
    """An incident that is kept in the spool, in the form of the others."""
    found = {"id": None, **asdict(notice), "closed_at": None}
    del found["again_at"]
    return found


def _records(connection: Connection, query: Select[Any]) -> list[Record]:
    return [dict(row._mapping) for row in connection.execute(query)]
