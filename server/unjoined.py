"""How many rows name a parent that is not there, by reference: texts that have yet to join (contract L5).

Counted when the loader has nothing else to do, since a large table takes its time; `status` shows the numbers
with the moment at which they were counted.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, delete, exists, func, insert, select

from loaders.shapes import Catalog, Reference, ReferenceKind
from loaders.tables import target
from server import schema

_LONGEST_NAMES = 64


@dataclass(frozen=True)
class Unjoined:
    """The rows of a table that name no existing parent in a column."""

    table: str
    column: str
    parent: str
    rows: int


def count(connection: Connection, catalog: Catalog) -> list[Unjoined]:
    """Every column that keeps its text, with the number of rows that have not joined.

    Where it names one parent or another, such as an order or an RMA by order type, they are counted together.
    """
    kept: dict[tuple[str, tuple[str, ...]], list[Reference]] = {}
    for api in catalog.values():
        for reference in api.referring(ReferenceKind.KEEP):
            kept.setdefault((reference.table, reference.columns), []).append(reference)
    return [
        Unjoined(
            table,
            _cut(", ".join(columns)),
            _cut(" or ".join(reference.parent for reference in references)),
            sum(_count(connection, catalog, reference) for reference in references),
        )
        for (table, columns), references in kept.items()
    ]


def record(connection: Connection, found: list[Unjoined], now: datetime) -> None:
    """Replace the ledger's counts, in the caller's write transaction."""
    table = schema.unjoined
    connection.execute(delete(table))
    if found:
        connection.execute(
            insert(table),
            [
                {
                    "table_name": part.table,
                    "column_name": part.column,
                    "parent_table": part.parent,
                    "rows_unjoined": part.rows,
                    "counted_at": now,
                }
                for part in found
            ],
        )


def _count(connection: Connection, catalog: Catalog, reference: Reference) -> int:
    tables = target(catalog).tables
    child, parent = tables[reference.table], tables[reference.parent]
    pairs = list(zip(reference.columns, reference.parent_key, strict=True))
    joined = exists().where(and_(*(parent.c[key] == child.c[column] for column, key in pairs)))
    named = and_(*(child.c[column].is_not(None) & (child.c[column] != "") for column, _ in pairs))
    if (when := reference.when) is not None:
        named &= child.c[when.column].in_(sorted(when.values))
    query = select(func.count()).select_from(child).where(named, ~joined)
    rows: int = connection.execute(query).scalar_one()
    return rows


def _cut(names: str) -> str:
    """What the ledger's columns hold of a list of names; a site's own can be long."""
    return names if len(names) <= _LONGEST_NAMES else f"{names[: _LONGEST_NAMES - 1]}…"
