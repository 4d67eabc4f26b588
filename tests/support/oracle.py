"""What the tables must hold, worked out in another way than the loaders do it.

It goes through the rows of all files at once and reads the contract word by word (L2 to L7), with plain
dictionaries. Of the project's own code it uses the catalog's data only: no reader, no checker, no join.

    assert differences(bench) == []
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from sqlalchemy import Connection, select, text

from loaders.records import parked_row, rejected_row
from loaders.shapes import Api, Catalog, Field, FieldType, Reference, ReferenceKind, Table
from server import schema, streams
from server.spool import Spool
from tests.support.inboxes import Bench

Key = tuple[Any, ...]
# Rank of the stream, stream, version, line: the higher one wins (L7.1).
Mark = tuple[int, int, int, int]
_DATES = ("%Y-%m-%d", "%m-%d-%Y", "%m/%d/%Y", "%Y%m%d")


@dataclass(frozen=True)
class Arrived:
    """A file that was accepted, and is not refused, quarantined or waiting as a whole.

    `fixes` are as they were accepted (E3); a FULL that `is_undone` makes nothing inactive (L6).
    """

    api: str
    mode: str
    stream: int
    version: int
    data: bytes
    fixes: tuple[bytes, ...] = ()
    is_undone: bool = False


@dataclass(frozen=True)
class Found:
    """A row of a target table: its values by column (`extra` among them), who wrote it, whether it counts."""

    values: dict[str, Any]
    stream: int
    version: int
    line: int
    active: int


@dataclass
class Expected:
    """What must be there after some files: rows by table and key; places of rows that are not in a table."""

    tables: dict[str, dict[Key, Found]]
    parked: set[tuple[int, int, int]]
    rejected: set[tuple[int, int, int]]
    rows_read: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))


@dataclass(frozen=True)
class _Row:
    """A row as read: `bad` has the columns that hold no value; None stands for all of them.

    One that was refused and has been followed by a correction is not what its line says at `last`.
    """

    mark: Mark
    api: Api
    is_full: bool
    values: dict[str, Any]
    bad: frozenset[str] | None
    is_last: bool = True

    @property
    def is_good(self) -> bool:
        return self.bad is not None and not self.bad

    def key(self, columns: Sequence[str]) -> Key:
        return tuple(self.values[column] for column in columns)

    def mentions(self, columns: Sequence[str]) -> bool:
        """Whether the row counts as a mention of its key (L7.2)."""
        if self.is_good:
            return True
        return self.is_full and self.bad is not None and self.bad.isdisjoint(columns)


def expected(files: Iterable[Arrived], catalog: Catalog, ranks: Mapping[int, int]) -> Expected:
    """What must be there after these files, in whatever order they came."""
    files = list(files)
    rows = [row for file in files for row in _rows(file, catalog[file.api], ranks[file.stream])]
    good = sorted((row for row in rows if row.is_good), key=lambda row: row.mark)
    inside: dict[str, dict[Key, _Row]] = {name: {} for name in catalog.tables}
    made = _made_parents(good, catalog)
    waiting = _let_in(good, inside, {name: set(found) for name, found in made.items()})
    judge = _Activity(rows, files)
    tables = {name: {} if name in catalog.api_of_table else found for name, found in made.items()}
    for name, api in catalog.api_of_table.items():
        table = catalog.tables[name]
        columns = [*table.columns, *(["extra"] if table is api.most_specific else [])]
        tables[name] = {
            key: Found({c: row.values[c] for c in columns}, *row.mark[1:], judge.active(api, table, key, row))
            for key, row in inside[name].items()
        }
    result = Expected(
        tables,
        parked={row.mark[1:] for row in waiting if not _is_void(row, inside)},
        rejected={row.mark[1:] for row in rows if row.is_last and not row.is_good},
    )
    for row in rows:
        result.rows_read[row.mark[1:3]] += row.is_last
    return result


# --- who is in ------------------------------------------------------------------------------------------


def _made_parents(good: Sequence[_Row], catalog: Catalog) -> dict[str, dict[Key, Found]]:
    """L7.3: every good row that mentions a parent makes it, and the lowest mark says what it is like."""
    made: dict[str, dict[Key, Found]] = {name: {} for name in catalog.tables}
    for row in good:
        for reference in row.api.referring(ReferenceKind.CREATE):
            key = row.key(reference.columns)
            if None not in key and key not in made[reference.parent]:
                filled = dict.fromkeys(catalog.created[reference.parent].columns)
                filled |= dict(zip(reference.parent_key, key, strict=True))
                filled |= {column: row.values[source] for column, source in reference.attributes.items()}
                made[reference.parent][key] = Found(filled, *row.mark[1:], active=1)
    return made


def _let_in(
    good: Sequence[_Row], inside: dict[str, dict[Key, _Row]], made: Mapping[str, set[Key]]
) -> list[_Row]:
    """L7.1, L7.4: rows go in when their parents are there, until nothing moves; returns who still waits."""
    waiting = list(good)
    while True:
        left = []
        for row in waiting:
            if not all(_has_parent(row, reference, inside, made) for reference in row.api.references):
                left.append(row)
                continue
            for table in row.api.tables:
                key = row.key(table.key)
                there = inside[table.name].get(key)
                if there is None or there.mark <= row.mark:
                    inside[table.name][key] = row
        if len(left) == len(waiting):
            return left
        waiting = left


def _has_parent(
    row: _Row, reference: Reference, inside: Mapping[str, dict[Key, _Row]], made: Mapping[str, set[Key]]
) -> bool:
    if reference.kind is not ReferenceKind.PARK:
        return True
    key = row.key(reference.columns)
    if None in key:
        return True
    # A row that names itself is satisfied by itself (L5).
    own = reference.parent == row.api.most_specific.name and row.key(row.api.most_specific.key) == key
    return own or key in inside[reference.parent] or key in made[reference.parent]


def _is_void(row: _Row, inside: Mapping[str, dict[Key, _Row]]) -> bool:
    table = row.api.most_specific
    there = inside[table.name].get(row.key(table.key))
    return there is not None and there.mark > row.mark


class _Activity:
    """L7.2 and L7.5."""

    def __init__(self, rows: Sequence[_Row], files: Sequence[Arrived]) -> None:
        self._fulls: dict[tuple[str, int], int] = defaultdict(int)
        for file in files:
            if file.mode == "FULL" and not file.is_undone:
                place = file.api, file.stream
                self._fulls[place] = max(self._fulls[place], file.version)
        self._newest: dict[tuple[str, int, Key], int] = defaultdict(int)
        for row in rows:
            _, stream, version, _ = row.mark
            for table in row.api.tables:
                if row.mentions(table.key):
                    self._mention((table.name, stream, row.key(table.key)), version)
                    if row.api.replaces_groups and table is row.api.most_specific:
                        self._mention((f"{table.name} group", stream, row.key(row.api.scope)), version)

    def _mention(self, what: tuple[str, int, Key], version: int) -> None:
        self._newest[what] = max(self._newest[what], version)

    def active(self, api: Api, table: Table, key: Key, row: _Row) -> int:
        """Whether the row that is in a table counts."""
        stream = row.mark[1]
        newest = self._newest[table.name, stream, key]
        if api.full_absent == "deactivate" and newest < self._fulls[api.name, stream]:
            return 0
        if api.replaces_groups and table is api.most_specific:
            return int(newest >= self._newest[f"{table.name} group", stream, row.key(api.scope)])
        return 1


# --- what a file says -----------------------------------------------------------------------------------


def _rows(file: Arrived, api: Api, rank: int) -> Iterator[_Row]:
    """The rows of a file, and those that its fixes say instead of what is refused until then (L2, E3)."""
    reading = _Reading(file, api, rank)
    rows: dict[int, _Row] = {}
    refused: set[tuple[int, str]] = set()
    body = file.data.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n")
    for line, ended in enumerate(body.split(b"\n") if body else [], 1):
        raw = ended.removesuffix(b"\r")
        row = reading.row(line, raw) if raw else None
        if row is not None:
            rows[line] = row
            refused.add((line, raw.decode(errors="backslashreplace").replace("\0", "\\x00")))
    for fix in file.fixes:
        for line, said in _said_by(fix).items():
            if line in rows and not rows[line].is_good and (line, said) not in refused:
                yield replace(rows[line], is_last=False)
                rows[line] = reading.row(line, said.encode()) or rows[line]
                refused.add((line, said))
    yield from rows.values()


def _said_by(fix: bytes) -> dict[int, str]:
    """E3: by line, what a fix says; its lines are number, field, reason and the row."""
    found = {}
    for line in fix.decode().split("\n"):
        number, *_, row = ["", *line.removesuffix("\r").split("\t", 3)][-4:]
        if number.isdigit():
            found[int(number)] = row
    return found


class _Reading:
    """L2: what lines mean; the first that is readable says how wide all are, and may name the columns."""

    def __init__(self, file: Arrived, api: Api, rank: int) -> None:
        self._file = file
        self._api = api
        self._rank = rank
        self._order: list[int] = []
        self._width = 0

    def row(self, line: int, raw: bytes) -> _Row | None:
        """The row of a line; none if that is the header."""
        file, api = self._file, self._api
        mark = (self._rank, file.stream, file.version, line)
        unreadable = _Row(mark, api, file.mode == "FULL", {}, None)
        try:
            cells = raw.decode().split("\t")
        except UnicodeDecodeError:
            return unreadable
        if b"\0" in raw:
            return unreadable
        if not self._width:
            names = [_letters(of.name) for of in api.fields]
            self._width = len(cells)
            heads = [_letters(cell) for cell in cells]
            if any(heads) and set(heads) - {""} <= set(names):
                self._order = [heads.index(name) if name in heads else -1 for name in names]
                return None
            self._order = [place if place < self._width else -1 for place in range(len(names))]
        if len(cells) != self._width:
            return unreadable
        return _read(mark, file, api, cells, self._order)


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _read(mark: Mark, file: Arrived, api: Api, cells: Sequence[str], order: Sequence[int]) -> _Row:
    values: dict[str, Any] = {}
    bad = set()
    for of, place in zip(api.fields, order, strict=True):
        cell = cells[place] if place >= 0 else ""
        blank = _blank(of) if of.key else None
        value = _value(of, cell) if cell else blank
        if (cell and value is None) or (not cell and of.required):
            bad.add(of.column)
        values[of.column] = value
    surplus = [cell for place, cell in enumerate(cells) if place not in order]
    while surplus and not surplus[-1]:
        surplus.pop()
    routed = {
        part.field.column: values[part.source] if values[part.when.column] in part.when.values else None
        for part in api.derived
    }
    return _Row(
        mark, api, file.mode == "FULL", {**values, **routed, "extra": surplus or None}, frozenset(bad)
    )


def _blank(of: Field) -> Any:
    """L3: a blank in a key equals itself."""
    if of.type is FieldType.STRING:
        return ""
    if of.type is FieldType.DATE:
        return "0001-01-01"
    if of.type is FieldType.DATETIME:
        return "0001-01-01 00:00:00"
    return _value(of, "0")


def _value(of: Field, cell: str) -> Any:
    """L3: what a cell means; None if it has no meaning in its field."""
    match of.type:
        case FieldType.STRING:
            fits = cell in of.codes if of.codes else len(cell) <= (of.length or 0)
            return cell if fits else None
        case FieldType.DATE:
            day = _moment(cell, with_time=False)
            return None if day is None else day.date().isoformat()
        case FieldType.DATETIME:
            moment = _moment(cell, with_time=True)
            return None if moment is None else moment.isoformat(" ")
        case FieldType.FLOAT:
            return (
                float(cell)
                if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell, re.ASCII)
                else None
            )
        case _:
            return _number(of, cell)


def _number(of: Field, cell: str) -> int | str | None:
    if not re.fullmatch(r"[+-]?(\d+(\.\d+)?|\.\d+)", cell, re.ASCII):
        return None
    number = Decimal(cell)
    if of.type is FieldType.INTEGER:
        largest = 2 ** (8 * (of.length or 4) - 1)
        whole = int(number)
        return whole if whole == number and -largest <= whole < largest else None
    scale = of.scale or 0
    if abs(number) >= 10 ** ((of.precision or 1) - scale):
        return None
    exact = number.quantize(Decimal(1).scaleb(-scale))
    return f"{abs(exact) if exact == 0 else exact:f}" if exact == number else None


def _moment(cell: str, *, with_time: bool) -> datetime | None:
    found = set()
    for day in _DATES:
        for clock in ("", *((" %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S") if with_time else ())):
            try:
                moment = datetime.strptime(cell, day + clock)  # noqa: DTZ007 - an ERP's days have no zone
            except ValueError:
                continue
            # `strptime` takes single digits too; a format is what it is.
            if moment.strftime(day + clock) == cell:
                found.add(moment)
    return found.pop() if len(found) == 1 else None


# --- how it is ------------------------------------------------------------------------------------------


def loaded(bench: Bench, spool: Spool) -> Iterator[Arrived]:
    """The files that an inbox has loaded, with the bytes that its spool has of them and of their fixes."""
    f, e = schema.file.c, schema.event.c
    query = select(f.id, f.name, f.api, f.mode, f.stream_id, f.version, f.data).where(f.state == "loaded")
    with bench.database.read() as connection:
        found = connection.execute(query.order_by(f.id)).all()
        undone = set(connection.execute(select(e.file_id).where(e.event == "undone")).scalars())
    fixes: dict[tuple[str, int, int], list[bytes]] = defaultdict(list)
    for row in found:
        fixes[row.name, row.stream_id, row.version].append(spool.data_path(row.data).read_bytes())
    for row in found:
        place = row.stream_id, row.version
        if not _is_fix(row.name):
            [data], mending = fixes[row.name, *place], fixes[f"{row.name}.FIX", *place]
            yield Arrived(row.api, row.mode, *place, data, tuple(mending), row.id in undone)


def _is_fix(name: str) -> bool:
    return name.endswith(".FIX")


def differences(bench: Bench, spool: Spool | None = None) -> list[str]:
    """Where an inbox's tables and records are not as its files say they must be, in sentences.

    Args:
        bench: the inbox.
        spool: where its bytes are, if not in the bench's own.

    Returns:
        At most 20 of them; none if all is well.
    """
    files = loaded(bench, spool or bench.spool)
    with bench.database.read() as connection:
        ranks = streams.places(connection)
        wanted = expected(files, bench.catalog, ranks)
        return list(islice(_all_differences(wanted, bench.catalog, connection), 20))


def _all_differences(wanted: Expected, catalog: Catalog, connection: Connection) -> Iterator[str]:
    f = schema.file.c
    files = {
        row.id: row
        for row in connection.execute(
            select(f.id, f.stream_id, f.version, f.name, f.state, f.rows_read, f.rows_rejected, f.rows_parked)
        )
    }
    for name, table in catalog.tables.items():
        rows = dict(wanted.tables[name])
        for record in connection.execute(text(f"SELECT * FROM {name}")).mappings():
            key = tuple(_plain(record[column]) for column in table.key)
            right = rows.pop(key, None)
            if right is None:
                yield f"{name} {key} should not be there"
                continue
            cells = {**right.values, "stream": right.stream, "version": right.version, "line": right.line}
            cells["active"] = right.active
            for column, value in cells.items():
                is_value = _plain(record[column])
                if column == "extra" and is_value is not None:
                    is_value = json.loads(is_value)
                if is_value != value or type(is_value) is not type(value):
                    yield f"{name} {key}: {column} is {is_value!r}, should be {value!r} (line {right.line})"
            by = files[record["file_id"]]
            if (by.stream_id, by.version) != (right.stream, right.version):
                yield f"{name} {key} comes from {by.name}, says its file_id"
        yield from (f"{name} {key} is missing" for key in rows)
    for what, places, records in (
        ("parked", wanted.parked, parked_row),
        ("rejected", wanted.rejected, rejected_row),
    ):
        is_there = {
            (files[file_id].stream_id, files[file_id].version, line)
            for file_id, line in connection.execute(select(records.c.file_id, records.c.line))
            # A file that waits as a whole keeps what was wrong with it for the operator to see.
            if files[file_id].state == "loaded" and not _is_fix(files[file_id].name)
        }
        yield from (f"{place} should not be {what}" for place in sorted(is_there - places))
        yield from (f"{place} should be {what}" for place in sorted(places - is_there))
    for file in files.values():
        if file.state == "loaded" and not _is_fix(file.name):
            place = (file.stream_id, file.version)
            counts = (
                wanted.rows_read[place],
                sum(rejected[:2] == place for rejected in wanted.rejected),
                sum(parked[:2] == place for parked in wanted.parked),
            )
            told = (file.rows_read, file.rows_rejected, file.rows_parked)
            if told != counts:
                yield f"{file.name} counts (read, rejected, parked) {told}, should be {counts}"


def broken_references(bench: Bench) -> list[str]:
    """References that the database should enforce and that lead nowhere; none if all is well."""
    broken = []
    with bench.database.read() as connection:
        if connection.dialect.name == "sqlite":
            broken += [str(row) for row in connection.execute(text("PRAGMA foreign_key_check"))]
        for table in bench.catalog.tables.values():
            for key in table.foreign_keys:
                pairs = list(zip(key.columns, key.parent_key, strict=True))
                same = " AND ".join(f"p.{parent} = c.{own}" for own, parent in pairs)
                filled = " AND ".join(f"c.{own} IS NOT NULL" for own, _ in pairs)
                query = text(
                    f"SELECT COUNT(*) FROM {table.name} c LEFT JOIN {key.parent} p ON {same}"
                    f" WHERE {filled} AND p.{pairs[0][1]} IS NULL"
                )
                if count := connection.execute(query).scalar_one():
                    broken.append(f"{count} of {table.name} have no {key.parent}")
    return broken


def _plain(value: Any) -> Any:
    """A value as texts and numbers; drivers give days, times and decimals back as objects."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):
        return str(value)
    return value
