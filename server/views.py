"""What operators ask the ledger: listings and summaries, as plain values.

Keys are the ledger's columns (contract section 8); times are UTC datetimes, which `output` writes. Nothing
here changes anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from loaders import records
from server import gaps, ledger, schema
from server.errors import UsageError
from server.names import FileName, NameRefused, parse
from server.sequence import Scope, Version, stream_of, version_of
from server.states import State

Record = dict[str, Any]

_file = schema.file

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
    """Which files; what is empty does not matter."""

    states: Sequence[State] = ()
    sources: Sequence[str] = ()
    apis: Sequence[str] = ()
    limit: int | None = None

    def apply(self, query: Select[Any]) -> Select[Any]:
        """The query with these conditions."""
        for column, values in (
            (_file.c.state, [str(state) for state in self.states]),
            (_file.c.source, [source.upper() for source in self.sources]),
            (_file.c.api, [api.upper() for api in self.apis]),
        ):
            if values:
                query = query.where(column.in_(values))
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
        row = connection.execute(select(_file).where(_file.c.id == int(text))).one_or_none()
        if row is None:
            raise UsageError(f"There is no file with the id {text}.", todo="See `kore-inbox files`.")
        return row
    try:
        name: FileName | None = parse(text)
    except NameRefused:
        name = None
    query = select(_file).where(_file.c.name == (text if name is None else str(name)))
    rows = connection.execute(query.order_by(_file.c.holder.desc(), _file.c.id.desc())).all()
    if rows:
        # MariaDB and SQLite agree that NULL sorts last when descending.
        return rows[0]
    raise UsageError(
        f"{text if name is None else name} has not arrived.", todo=_who_holds(connection, name, scope)
    )


def _who_holds(connection: Connection, name: FileName | None, scope: Scope) -> str:
    stream = None if name is None else ledger.stream_by_name(connection, stream_of(name, scope))
    if name is None or stream is None:
        return "See `kore-inbox files`."
    other = ledger.holder(connection, stream.id, version_of(name.sequence, stream.expected))
    if other is not None:
        return f"Its number belongs to {other.name}, which is file {other.id}."
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


def why(connection: Connection, row: Row[Any], *, waits_on_quarantine: bool) -> list[str]:
    """What a file waits for, since when, and what would release it, in sentences."""
    told = _WHY[State(row.state)](connection, row)
    if row.state == State.READY and waits_on_quarantine:
        blocker = ledger.stuck(connection).get((row.stream_id, row.api))
        if blocker is not None and blocker < row.version:
            told.append(
                f"It waits for {Version.of(blocker)} of the same API, which is in quarantine "
                '(on_quarantine = "wait"): replay, replace or withdraw that one.'
            )
    return told


def _why_held(connection: Connection, row: Row[Any]) -> list[str]:
    stream = ledger.stream_by_id(connection, row.stream_id)
    below = [gap for gap in gaps.find(connection, stream.name) if int(gap.missing.first) < row.version]
    now = ledger.now_utc()
    since = f"{row.registered_at:%Y-%m-%d %H:%M:%S} UTC"
    told = [f"{row.name} is held since {since}, because lower numbers of {stream.name} have not arrived:"]
    told += [f"  {gap.missing} missing for {age(gap.age_seconds(now))}" for gap in below]
    first, last = below[0].missing.first, below[-1].missing.last
    told.append(
        "It is released when they arrive, or are given up: "
        f"`kore-inbox skip {stream.name} {first.sequence}-{last.sequence}`."
    )
    return told


def _why_ready(_connection: Connection, row: Row[Any]) -> list[str]:
    if row.retry_at is None:
        return [f"{row.name} is ready and loads in the next wave, if the loader runs (`kore-inbox status`)."]
    again = f"{row.retry_at:%Y-%m-%d %H:%M:%S} UTC"
    return [
        f"{row.name} could not be loaded in {row.attempts} tries: {row.reason}.",
        f"It is tried again by itself at {again}.",
    ]


def _why_loaded(connection: Connection, row: Row[Any]) -> list[str]:
    told = [f"{row.name} waits for nothing: it was loaded at {row.loaded_at:%Y-%m-%d %H:%M:%S} UTC."]
    waiting = records.parked_row
    query = (
        select(waiting.c.waits_table, func.count().label("rows"))
        .where(waiting.c.file_id == row.id)
        .group_by(waiting.c.waits_table)
    )
    told += [
        f"{part.rows} row(s) of it are parked until their parents in {part.waits_table} come."
        for part in connection.execute(query)
    ]
    return told


def _why_kept(_connection: Connection, row: Row[Any]) -> list[str]:
    return [
        f"{row.name} is {row.state}: {row.reason or 'no reason was given'}.",
        f"A corrected file under the same name replaces it; `kore-inbox replay {row.id}` judges it anew.",
    ]


def _why_deferred(_connection: Connection, row: Row[Any]) -> list[str]:
    since = f"{row.registered_at:%Y-%m-%d %H:%M:%S} UTC"
    return [
        f"{row.name}, which came at {since}, waits for approval. {row.reason}",
        f"It loads after `kore-inbox approve {row.id}`; `kore-inbox withdraw {row.id}` sets it aside.",
    ]


def _why_over(_connection: Connection, row: Row[Any]) -> list[str]:
    return [f"{row.name} (file {row.id}) is {row.state}: {row.reason}. It waits for nothing."]


def _why_moving(_connection: Connection, row: Row[Any]) -> list[str]:
    return [f"{row.name} is {row.state} at this moment."]


_WHY = {
    State.RECEIVED: _why_moving,
    State.HELD: _why_held,
    State.DEFERRED: _why_deferred,
    State.READY: _why_ready,
    State.LOADING: _why_moving,
    State.LOADED: _why_loaded,
    State.QUARANTINED: _why_kept,
    State.REFUSED: _why_kept,
    State.WITHDRAWN: _why_kept,
    State.DUPLICATE: _why_over,
    State.REPLACED: _why_over,
}


def status(connection: Connection) -> Record:
    """The whole inbox at a glance."""
    now = ledger.now_utc()
    counted = connection.execute(select(_file.c.state, func.count()).group_by(_file.c.state))
    counts: dict[str, int] = dict(counted.all())
    oldest = connection.execute(
        select(func.min(_file.c.received_at)).where(_file.c.state == State.READY)
    ).scalar_one()
    last = connection.execute(select(func.max(_file.c.loaded_at))).scalar_one()
    lease = connection.execute(select(schema.lease.c.expires_at)).scalar_one_or_none()
    unjoined = schema.unjoined
    return {
        "streams": [
            {"stream": stream.name, "next": stream.expected.sequence, "epoch": stream.expected.epoch}
            for stream in ledger.streams(connection)
        ],
        "gaps": missing(connection),
        "files": {str(state): counts.get(str(state), 0) for state in State if counts.get(str(state))},
        "oldest_ready_at": oldest,
        "last_loaded_at": last,
        "loader": "active" if lease is not None and lease > now else "not running",
        "exceptions": len(incidents(connection, closed=False)),
        "rows_parked": connection.execute(select(func.count()).select_from(records.parked_row)).scalar_one(),
        "unjoined": _records(
            connection,
            select(
                unjoined.c.table_name,
                unjoined.c.column_name,
                unjoined.c.parent_table,
                unjoined.c.rows_unjoined,
                unjoined.c.counted_at,
            ).where(unjoined.c.rows_unjoined > 0),
        ),
    }


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


def age(seconds: float) -> str:
    """A duration as people say it: `3 h 20 min`."""
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    said = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(said[:2]) or "0 s"


def _records(connection: Connection, query: Select[Any]) -> list[Record]:
    return [dict(row._mapping) for row in connection.execute(query)]


def for_people(gaps_found: list[Record]) -> list[Record]:
    """Gaps with seven-digit numbers and an age in words."""
    return [
        {
            **gap,
            "first": f"{gap['first']:07d}",
            "last": f"{gap['last']:07d}",
            "age": age(gap["age_seconds"]),
        }
        for gap in gaps_found
    ]


def status_lines(found: Record) -> list[str]:
    """`status` in sentences."""
    lines = [f"loader: {found['loader']}"]
    lines += [
        f"stream {stream['stream']}: next is {stream['next']:07d}"
        + (f" (epoch {stream['epoch']})" if stream["epoch"] else "")
        for stream in found["streams"]
    ]
    lines += [
        f"gap in {gap['stream']}: {gap['first']} to {gap['last']} missing for {gap['age']}, "
        f"{gap['holds_back']} file(s) held"
        for gap in for_people(found["gaps"])
    ]
    lines += [f"{state}: {number} file(s)" for state, number in found["files"].items()]
    for key, label in (("oldest_ready_at", "oldest ready file"), ("last_loaded_at", "last load")):
        if found[key] is not None:
            lines.append(f"{label}: {found[key]:%Y-%m-%d %H:%M:%S} UTC")
    lines += [
        f"{part['rows_unjoined']} row(s) of {part['table_name']} name a {part['column_name']} "
        f"that {part['parent_table']} does not have"
        for part in found["unjoined"]
    ]
    lines.append(f"rows parked: {found['rows_parked']}")
    lines.append(
        f"exceptions: {found['exceptions']}" + (" (kore-inbox exceptions)" if found["exceptions"] else "")
    )
    return lines
