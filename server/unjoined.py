"""How many rows name a parent that is not there, by reference: texts that have yet to join (contract L5).

Counted when the loader has nothing else to do, since a large table takes its time; `status` shows the numbers
with the moment at which they were counted.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, exists, func, insert, select

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
    return [
        Unjoined(table, columns, parents, sum(connection.execute(query).scalar_one() for query in queries))
        for table, columns, parents, queries in _questions(catalog)
    ]


@lru_cache(maxsize=8)
def _questions(catalog: Catalog) -> list[tuple[str, str, str, list[Select[Any]]]]:
    """By table and columns that keep their text: the parents, and what counts the rows that name none."""
    kept: dict[tuple[str, tuple[str, ...]], list[Reference]] = {}
    for api in catalog.values():
        for reference in api.referring(ReferenceKind.KEEP):
            kept.setdefault((reference.table, reference.columns), []).append(reference)
    return [
        (
            table,
            _cut(", ".join(columns)),
            _cut(" or ".join(reference.parent for reference in references)),
            [_counting(catalog, reference) for reference in references],
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


def _counting(catalog: Catalog, reference: Reference) -> Select[Any]:
    tables = target(catalog).tables
    child, parent = tables[reference.table], tables[reference.parent]
    pairs = list(zip(reference.columns, reference.parent_key, strict=True))
    joined = exists().where(and_(*(parent.c[key] == child.c[column] for column, key in pairs)))
    named = and_(*(child.c[column].is_not(None) & (child.c[column] != "") for column, _ in pairs))
    if (when := reference.when) is not None:
        named &= child.c[when.column].in_(sorted(when.values))
    return select(func.count()).select_from(child).where(named, ~joined)


def _cut(names: str) -> str:
    """What the ledger's columns hold of a list of names; a site's own can be long."""
    return names if len(names) <= _LONGEST_NAMES else f"{names[: _LONGEST_NAMES - 1]}…"
