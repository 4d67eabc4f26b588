"""The values a catalog is made of: APIs, fields, tables, references.

They are frozen and know nothing of files or databases. `catalog` fills them from `apis/*.toml`; everything
else in this package only reads them. Columns and tables are named here as they are named in SQL.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# What every target table has beside its fields: who wrote the row (contract L7.1, L8), and whether it counts.
MARKS = ("stream", "version", "line", "file_id")
ACTIVE = "active"
# What a file holds beyond the catalog's last field, beside the row of the most specific table (contract L3).
EXTRA = "extra"


class FieldType(StrEnum):
    """What a cell may hold (contract L3); `money` is a decimal of 19 digits, 4 of them decimals."""

    STRING = "string"
    INTEGER = "integer"
    DECIMAL = "decimal"
    MONEY = "money"
    FLOAT = "float"
    DATE = "date"
    DATETIME = "datetime"


class Origin(StrEnum):
    """How we know a fact: read on a page, concluded from other facts, chosen by us, or set by a site."""

    PUBLISHED = "published"
    INFERRED = "inferred"
    ASSUMED = "assumed"
    SITE = "site"


class ReferenceKind(StrEnum):
    """What becomes of a row whose parent is not there (contract L5)."""

    PARK = "park"
    CREATE = "create"
    KEEP = "keep"


class FullAbsent(StrEnum):
    """What a FULL means for the rows it does not hold (contract L6)."""

    DEACTIVATE = "deactivate"
    KEEP = "keep"


class NetScope(StrEnum):
    """How much a row of a NET replaces (contract L7.5)."""

    ROW = "row"
    LINE = "line"
    HEADER = "header"


@dataclass(frozen=True, slots=True)
class Field:
    """One column of an API's file.

    `length` is in characters for strings and in bytes for integers; `precision` and `scale` count the digits
    of decimals and money. `codes` are the only texts allowed, with their meanings; beside `open_codes` any
    other text is allowed too. `assumed` names the attributes that we chose although `origin` says more.
    """

    ordinal: int
    name: str
    column: str
    type: FieldType
    length: int | None
    precision: int | None
    scale: int | None
    required: bool
    key: bool
    codes: Mapping[str, str]
    origin: Origin
    assumed: tuple[str, ...]
    note: str
    open_codes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A reference that the database enforces."""

    columns: tuple[str, ...]
    parent: str
    parent_key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One target table: its business key is its primary key."""

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, Field]
    foreign_keys: tuple[ForeignKey, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds for the rows in which `column` has one of some values."""

    column: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Derived:
    """A column that holds what another one says in the rows for which a condition holds, else NULL.

    `field` says what the column may hold, and its name in SQL. That may be the name of the column it is taken
    from: then that one has a value only where the condition holds.
    """

    field: Field
    source: str
    when: Condition


@dataclass(frozen=True, slots=True)
class Reference:
    """How rows of `table` name a row of `parent` (contract L5).

    `attributes` maps columns of a created parent to the file's columns that fill them. `when` is there if not
    every row refers to this parent: orders or RMAs, say, by order type.
    """

    kind: ReferenceKind
    table: str
    columns: tuple[str, ...]
    parent: str
    parent_key: tuple[str, ...]
    attributes: Mapping[str, str]
    when: Condition | None = None

    @property
    def is_self(self) -> bool:
        """Whether parent and child share a table, so that rows of one file can be each other's parents."""
        return self.table == self.parent

    @property
    def sources(self) -> dict[str, str]:
        """Each column of the parent that this reference can fill, with the file's column that fills it."""
        return {**dict(zip(self.parent_key, self.columns, strict=True)), **self.attributes}


@dataclass(frozen=True, slots=True)
class Api:
    """One kind of file: what its columns are and where they go.

    `tables` go from the header to the most specific one. `derived` are columns beside the fields' own.
    `max_rejected` (rows) is None where the settings decide (contract L4). `file` is where it is all written.
    """

    name: str
    file: str
    purpose: str
    level: int
    fields: tuple[Field, ...]
    derived: tuple[Derived, ...]
    tables: tuple[Table, ...]
    references: tuple[Reference, ...]
    full_absent: FullAbsent
    net_scope: NetScope
    max_rejected: int | None
    origin: Origin
    assumed: tuple[str, ...]

    @property
    def most_specific(self) -> Table:
        """The table whose key tells the rows of a file apart."""
        return self.tables[-1]

    @property
    def scope(self) -> tuple[str, ...]:
        """The part of the most specific key whose rows a NET replaces together: all of it, or less (L7.5)."""
        key = self.most_specific.key
        match self.net_scope:
            case NetScope.ROW:
                return key
            case NetScope.LINE:
                return key[:-1]
            case NetScope.HEADER:
                return self.tables[0].key

    @property
    def replaces_groups(self) -> bool:
        """Whether a row of a NET can make others inactive that it does not name."""
        return self.net_scope is not NetScope.ROW

    @property
    def deactivates(self) -> bool:
        """Whether a FULL makes inactive what it does not hold (contract L6)."""
        return self.full_absent is FullAbsent.DEACTIVATE

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that a row has a value for, `extra` included."""
        own = [field.column for field in self.fields]
        return tuple(dict.fromkeys([*own, *(derived.field.column for derived in self.derived), EXTRA]))

    def referring(self, kind: ReferenceKind) -> tuple[Reference, ...]:
        """The references of one kind, in the catalog's order."""
        return tuple(reference for reference in self.references if reference.kind is kind)


class Catalog(Mapping[str, Api]):
    """All APIs by name, and the tables that they make for others (`created`).

    Two catalogs are equal only if they are the same object, so that what is made from one can be cached.
    """

    def __init__(self, apis: Mapping[str, Api], created: Mapping[str, Table]) -> None:
        self.apis = dict(apis)
        self.created = dict(created)
        self.api_of_table = {table.name: api for api in self.apis.values() for table in api.tables}

    def __getitem__(self, name: str) -> Api:
        return self.apis[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.apis)

    def __len__(self) -> int:
        return len(self.apis)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def level(self, api: str) -> int:
        """The level of precedence, 1 first (contract D1); KeyError for an unknown API."""
        return self.apis[api].level

    @property
    def tables(self) -> dict[str, Table]:
        """Every target table by name, parents before children."""
        own = {t.name: t for api in sorted(self.apis.values(), key=lambda a: a.level) for t in api.tables}
        return {**self.created, **own}
