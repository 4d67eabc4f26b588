"""What operators ask the ledger: listings and summaries, as plain values.

Keys are the ledger's columns (contract section 8); times are UTC datetimes, which `output` writes. Nothing
here changes anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from loaders import records
from server import fixes, gaps, ledger, schema
from server.errors import UsageError
from server.names import FileName, NameRefused, is_unsequenced, parse_shown
from server.sequence import Range, Scope, Version, stream_of, version_of
from server.states import Event, State
from server.wording import counted, sentence, skip_command

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
        name: FileName | None = parse_shown(text)
    except NameRefused:
        name = None
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
            f"`{text}` is neither the name nor the id of a file.", todo="See `kore-inbox files`."
        )
    raise UsageError(f"{name} has not arrived.", todo=_what_of_its_number(connection, name, scope))


def _what_of_its_number(connection: Connection, name: FileName, scope: Scope) -> str:
    stream = ledger.stream_by_name(connection, stream_of(name, scope))
    if stream is None:
        return f"No file of {stream_of(name, scope)} has."
    version = version_of(name.sequence, stream.expected)
    other = ledger.holder(connection, stream.id, version)
    if other is not None:
        return f"Its number belongs to {other.name}, which is file {other.id}."
    if any(part.first <= version <= part.last for part in ledger.skips(connection, stream.id, version)):
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
    fix = fixes.name_of(row)
    if fix is not None:
        return _why_fix_held(connection, row, fix)
    stream = ledger.stream_by_id(connection, row.stream_id)
    below = [gap for gap in gaps.find(connection, stream.name) if int(gap.missing.first) < row.version]
    now = ledger.now_utc()
    since = f"{row.registered_at:%Y-%m-%d %H:%M:%S} UTC"
    told = [f"{row.name} is held since {since}, because lower numbers of {stream.name} have not arrived:"]
    told += [f"  {gap.missing} missing for {age(gap.age_seconds(now))}" for gap in below]
    whole = Range(below[0].missing.first, below[-1].missing.last)
    told.append(
        "It is released by itself when they have arrived; if they never will, give them up: "
        f"{skip_command(stream.name, whole)}."
    )
    return told


def _why_fix_held(connection: Connection, row: Row[Any], fix: FileName) -> list[str]:
    holding = ledger.holder(connection, row.stream_id, Version.of(row.version))
    there = holding is not None and holding.name == str(fix.mended)
    state = f"is {holding.state}" if holding is not None and there else "has not arrived"
    return [
        f"{row.name} holds corrected rows of {fix.mended}, which {state}.",
        "They go in with it, by themselves, when it is loaded.",
    ]


def _why_ready(_connection: Connection, row: Row[Any]) -> list[str]:
    if row.retry_at is None:
        return [f"{row.name} is ready and loads in the next wave, if the loader runs (`kore-inbox status`)."]
    again = f"{row.retry_at:%Y-%m-%d %H:%M:%S} UTC"
    return [
        f"{row.name} could not be loaded in {row.attempts} tries: {sentence(row.reason)}",
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
        f"Parked until the parents in {part.waits_table} come: {counted(part.rows, 'row')} of it."
        for part in connection.execute(query)
    ]
    if row.rows_rejected:
        told.append(
            f"Rejected: {counted(row.rows_rejected, 'row')} of it; see `kore-inbox rejects {row.id}`."
        )
    return told


def _why_kept(_connection: Connection, row: Row[Any]) -> list[str]:
    return [
        f"{row.name} is {row.state}: {sentence(row.reason)}",
        f"A corrected file under the same name replaces it; `kore-inbox replay {row.id}` judges it anew.",
    ]


def _why_deferred(_connection: Connection, row: Row[Any]) -> list[str]:
    since = f"{row.registered_at:%Y-%m-%d %H:%M:%S} UTC"
    return [
        f"{row.name}, which came at {since}, waits for approval. {row.reason}",
        f"It loads after `kore-inbox approve {row.id}`; `kore-inbox withdraw {row.id}` sets it aside.",
    ]


def _why_refused(_connection: Connection, row: Row[Any]) -> list[str]:
    # It has no number that a corrected file could take over.
    right = "name that follows the rules" if row.api is None else "number of its own"
    return [
        f"{row.name} is refused: {sentence(row.reason)}",
        f"Have it sent again under a {right}.",
        f"`kore-inbox withdraw {row.id}` sets this one aside; `kore-inbox replay {row.id}` judges it anew.",
    ]


def _why_over(_connection: Connection, row: Row[Any]) -> list[str]:
    return [f"{row.name} (file {row.id}) waits for nothing: {sentence(row.reason)}"]


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
    State.REFUSED: _why_refused,
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
    # From the end of the history, where it is near, instead of the highest of a million files.
    loaded = select(schema.event.c.at).where(schema.event.c.event == Event.COMMITTED)
    last = connection.execute(loaded.order_by(schema.event.c.id.desc()).limit(1)).scalar_one_or_none()
    lease = connection.execute(select(schema.lease.c.expires_at)).scalar_one_or_none()
    still_open = select(func.count()).select_from(schema.incident).where(schema.incident.c.open == 1)
    exceptions = connection.execute(still_open).scalar_one()
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
        "exceptions": exceptions,
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


_NUMBERS = frozenset({"sequence", "first", "last", "next"})


def for_people(record: Record) -> Record:
    """A record with numbers of files in seven digits (contract N2), and an age in words."""
    said = {key: f"{value:07d}" if key in _NUMBERS and value else value for key, value in record.items()}
    return {**said, "age": age(record["age_seconds"])} if "age_seconds" in record else said


def status_lines(found: Record) -> list[str]:
    """`status` in sentences."""
    lines = [f"loader: {found['loader']}"]
    lines += [
        f"stream {stream['stream']}: next is {stream['next']:07d}"
        + (f" (epoch {stream['epoch']})" if stream["epoch"] else "")
        for stream in found["streams"]
    ]
    lines += [
        f"gap in {gap['stream']}: {gap['first']}"
        + (f" to {gap['last']}" if gap["numbers"] > 1 else "")
        + f" missing for {gap['age']}, {counted(gap['holds_back'], 'file')} held back"
        for gap in map(for_people, found["gaps"])
    ]
    lines += [f"{state}: {counted(number, 'file')}" for state, number in found["files"].items()]
    for key, label in (("oldest_ready_at", "oldest ready file"), ("last_loaded_at", "last load")):
        if found[key] is not None:
            lines.append(f"{label}: {found[key]:%Y-%m-%d %H:%M:%S} UTC")
    lines += [
        f"not joined: {counted(part['rows_unjoined'], 'row')} of {part['table_name']}, "
        f"whose {part['column_name']} is not in {part['parent_table']}"
        for part in found["unjoined"]
    ]
    lines.append(f"rows parked: {found['rows_parked']:,}")
    lines.append(
        f"exceptions: {found['exceptions']}" + (" (kore-inbox exceptions)" if found["exceptions"] else "")
    )
    return lines
