"""What a database lacks of the catalog's tables, and adding it: tables, columns, width (contract section 9).

Nothing is ever dropped, narrowed or rewritten. Each statement is done wholly or not at all, and a run that
was cut off between two of them is simply begun again. What cannot be had by adding is a conflict: a field of
another type or a narrower one, another key.

SQLite knows no lengths, so a wider column needs nothing there, but it can give no foreign key to a column
that is there already. MariaDB widens no column that has to do with a foreign key, so these are taken off
meanwhile.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Connection, ForeignKeyConstraint, Table, func, inspect, select
from sqlalchemy.engine.interfaces import ReflectedForeignKeyConstraint
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from loaders.records import Exact
from loaders.shapes import Catalog
from loaders.tables import target

_TYPE = re.compile(r"(\w+)(?: ?\(([0-9]+)(?:, ?([0-9]+))?\))?")
# Types that differ in width alone; what MariaDB adds to their names is no width.
_INTEGERS = {"smallint": 2, "int": 4, "integer": 4, "bigint": 8}
_SYNONYMS = {"numeric": "decimal"}

_SQLITE_TYPES = (
    "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
)
_MARIADB_TYPES = (
    "SELECT table_name, column_name, column_type FROM information_schema.columns"
    " WHERE table_schema = DATABASE()"
)


# MariaDB's limit for a row and its error for that.
_LARGEST_ROW_BYTES = 65_535
_ROW_TOO_LARGE = 1118


class GrowthConflict(ValueError):
    """The tables cannot be had as the catalog wants them; `mistakes` has file, key and reason of each."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is added; `columns` are empty for a whole table."""

    change: str
    table: str
    columns: tuple[str, ...]
    was: str
    becomes: str
    statement: str

    def __str__(self) -> str:
        place = f"{self.table} ({', '.join(self.columns)})" if self.columns else self.table
        detail = f": {self.becomes}" if self.becomes else ""
        return f"{self.change} {place}{detail}{f', it was {self.was}' if self.was else ''}"


@dataclass(slots=True)
class _Plan:
    """What is to be done; `off` and `on` take foreign keys away and put them back, around the changes."""

    changes: list[Change] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    off: list[str] = field(default_factory=list)
    on: list[str] = field(default_factory=list)


def missing(connection: Connection, catalog: Catalog) -> list[Change]:
    """What is to be added, parents before children; nothing is changed.

    Raises:
        GrowthConflict: with everything that cannot be done by adding.
    """
    return _plan(connection, catalog).changes


def grow(connection: Connection, catalog: Catalog) -> list[Change]:
    """Add what is missing; returns what was added.

    To be called outside a load: MariaDB commits around DDL. Raises GrowthConflict before anything is changed.
    """
    plan = _plan(connection, catalog)
    for statement in plan.off:
        connection.exec_driver_sql(statement)
    for change in plan.changes:
        try:
            connection.exec_driver_sql(change.statement)
        except DBAPIError as error:
            if error.orig is None or error.orig.args[:1] != (_ROW_TOO_LARGE,):
                raise
            raise GrowthConflict([f"table {change.table!r}: {error.orig.args[-1]}"]) from error
    for statement in plan.on:
        connection.exec_driver_sql(statement)
    return plan.changes


def _plan(connection: Connection, catalog: Catalog) -> _Plan:
    files = {table.name: api.file for api in catalog.values() for table in api.tables}
    plan, found = _Plan(), _Found(connection)
    for table in target(catalog).sorted_tables:
        if connection.dialect.name != "sqlite" and (size := _row_bytes(table)) > _LARGEST_ROW_BYTES:
            said = f"a row's texts may take {size:,} bytes, and MariaDB holds {_LARGEST_ROW_BYTES:,}"
            where = f"{files[table.name]}: " if table.name in files else ""
            plan.mistakes.append(f"{where}table {table.name!r}: {said}; make its strings shorter")
        if table.name not in found.types:
            statement = str(CreateTable(table).compile(dialect=connection.dialect)).strip()
            plan.changes.append(Change("new table", table.name, (), "", "", statement))
            continue
        where = f"{files[table.name]}: " if table.name in files else ""
        plan.mistakes += [f"{where}table {table.name!r}: {mistake}" for mistake in found.conflicts(table)]
        plan.changes += found.changes(table)
    if plan.mistakes:
        raise GrowthConflict(plan.mistakes)
    plan.off, plan.on = found.around(plan.changes)
    return plan


def _row_bytes(table: Table) -> int:
    """What the texts of the longest row take at least, as MariaDB counts: 4 bytes to a character."""
    return sum(4 * column.type.length + 1 for column in table.columns if isinstance(column.type, Exact))


class _Found:
    """What the database has, and how it is made to have more."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self._quote = connection.dialect.identifier_preparer.quote
        self._is_sqlite = connection.dialect.name == "sqlite"
        self.types: dict[str, dict[str, str]] = {}
        for table, column, written in connection.exec_driver_sql(
            _SQLITE_TYPES if self._is_sqlite else _MARIADB_TYPES
        ):
            self.types.setdefault(table, {})[column] = written.lower()
        inspector = inspect(connection)
        self._keys = {name: key for (_, name), key in inspector.get_multi_pk_constraint().items()}
        self._foreign = {name: keys for (_, name), keys in inspector.get_multi_foreign_keys().items()}

    # --- comparing -----------------------------------------------------------------------------------

    def conflicts(self, table: Table) -> Iterator[str]:
        """What of a table cannot be had by adding: key and reason."""
        key = self._keys[table.name]["constrained_columns"]
        if key != [column.name for column in table.primary_key]:
            yield f"key: it is {', '.join(key)}, and has to stay so"
        for column in table.columns:
            if (was := self.types[table.name].get(column.name)) is not None:
                becomes = self._type(column)
                (kind, width), (new_kind, new_width) = _shape(was), _shape(becomes)
                if kind != new_kind:
                    yield f"column {column.name!r}: it is {was}, and cannot become {becomes}"
                elif new_width < width:
                    yield f"column {column.name!r}: it is {was}; {becomes} is narrower"
        for foreign in self._lacking(table):
            if self._is_sqlite:
                yield (
                    f"reference {foreign.referred_table.name!r}: SQLite can give no foreign key to"
                    f" {', '.join(foreign.column_keys)}, which is there; refer from a new field or `column`"
                )
            elif rows := self._orphans(table, foreign):
                yield (
                    f"reference {foreign.referred_table.name!r}: {rows:,} row(s) have no parent, so"
                    f" {', '.join(foreign.column_keys)} cannot get a foreign key"
                )
        wanted = {(tuple(key.column_keys), key.referred_table.name) for key in table.foreign_key_constraints}
        for has in self._foreign[table.name]:
            columns, parent = tuple(has["constrained_columns"]), has["referred_table"]
            if (columns, parent) not in wanted:
                yield f"reference {parent!r}: {', '.join(columns)} has a foreign key, which has to stay"

    def changes(self, table: Table) -> Iterator[Change]:
        """What is to be added to a table that is there."""
        types = self.types[table.name]
        alter = f"ALTER TABLE {self._quote(table.name)}"
        for column in table.columns:
            becomes, was = self._type(column), types.get(column.name)
            change = (table.name, (column.name,), was or "", becomes)
            if was is None:
                yield Change("new column", *change, f"{alter} ADD COLUMN {self._with_parents(column)}")
            elif not self._is_sqlite and _shape(was)[1] < _shape(becomes)[1]:
                specification = self._specification(column)
                yield Change("wider column", *change, f"{alter} MODIFY COLUMN {specification}")
        for foreign in self._lacking(table):
            columns = tuple(foreign.column_keys)
            parent = foreign.referred_table.name
            statement = f"{alter} ADD {self._references(columns, parent, _parent_key(foreign))}"
            yield Change("new foreign key", table.name, columns, "", f"to {parent}", statement)

    def around(self, changes: list[Change]) -> tuple[list[str], list[str]]:
        """Taking off and putting back the foreign keys that columns to be widened have to do with."""
        wider = {(change.table, *change.columns) for change in changes if change.was}
        off, on = [], []
        for table, keys in self._foreign.items():
            for key in keys:
                if wider & set(_ends(table, key)):
                    alter, name = f"ALTER TABLE {self._quote(table)}", self._quote(str(key["name"]))
                    references = self._references(
                        key["constrained_columns"], key["referred_table"], key["referred_columns"]
                    )
                    off.append(f"{alter} DROP FOREIGN KEY {name}")
                    on.append(f"{alter} ADD CONSTRAINT {name} {references}")
        return off, on

    def _lacking(self, table: Table) -> Iterator[ForeignKeyConstraint]:
        """Foreign keys that columns which are there ought to have."""
        has = {
            (tuple(key["constrained_columns"]), key["referred_table"]) for key in self._foreign[table.name]
        }
        for foreign in sorted(table.foreign_key_constraints, key=lambda key: tuple(key.column_keys)):
            new = [column for column in foreign.column_keys if column not in self.types[table.name]]
            single = len(foreign.column_keys) == 1
            if (tuple(foreign.column_keys), foreign.referred_table.name) not in has and not (single and new):
                yield foreign

    def _orphans(self, table: Table, foreign: ForeignKeyConstraint) -> int:
        """How many rows name a parent that is not there, of those that can be asked."""
        parent = foreign.referred_table
        if parent.name not in self.types or not set(foreign.column_keys) <= set(self.types[table.name]):
            return 0
        pairs = list(zip(foreign.columns, (parent.c[name] for name in _parent_key(foreign)), strict=True))
        joined = select(parent).where(*(child == key for child, key in pairs)).exists()
        named = [child.is_not(None) for child, _ in pairs]
        query = select(func.count()).select_from(table).where(*named, ~joined)
        return self._connection.execute(query).scalar_one()

    # --- writing -------------------------------------------------------------------------------------

    def _with_parents(self, column: Column[Any]) -> str:
        """A new column with its foreign keys, in one statement."""
        added = self._specification(column)
        for foreign in sorted(column.foreign_keys, key=lambda key: key.target_fullname):
            constraint = foreign.constraint
            if constraint is not None and len(constraint.column_keys) == 1:
                references = self._references(
                    [column.name], constraint.referred_table.name, _parent_key(constraint)
                )
                # MariaDB reads a reference within a column and forgets it; SQLite can add no other.
                added += (
                    references[references.index(" REFERENCES") :]
                    if self._is_sqlite
                    else f", ADD {references}"
                )
        return added

    def _references(self, columns: Iterable[str], parent: str, key: Iterable[str]) -> str:
        own, other = (", ".join(map(self._quote, names)) for names in (columns, key))
        return f"FOREIGN KEY ({own}) REFERENCES {self._quote(parent)} ({other})"

    def _specification(self, column: Column[Any]) -> str:
        compiler: Any = self._dialect.ddl_compiler
        specification: str = compiler(self._dialect, None).get_column_specification(column)
        return specification

    def _type(self, column: Column[Any]) -> str:
        return str(column.type.compile(self._dialect)).partition(" CHARACTER SET")[0].lower()


def _shape(written: str) -> tuple[tuple[str, int], int]:
    """A type as databases spell it, taken apart: what has to stay, and the width, which may grow."""
    match = _TYPE.match(written)
    if match is None:
        return (written, 0), 0
    kind = _SYNONYMS.get(match[1], match[1])
    if kind in _INTEGERS:
        return ("integer", 0), _INTEGERS[kind]
    return (kind, int(match[3] or 0)), int(match[2] or 0)


def _parent_key(foreign: ForeignKeyConstraint) -> list[str]:
    return [element.column.name for element in foreign.elements]


def _ends(table: str, key: ReflectedForeignKeyConstraint) -> list[tuple[str, str]]:
    """The columns at both ends of a foreign key."""
    return [
        *((table, column) for column in key["constrained_columns"]),
        *((key["referred_table"], column) for column in key["referred_columns"]),
    ]
