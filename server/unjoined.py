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


@dataclass(frozen=True)
class Unjoined:
    """The rows of a table that name no existing parent in a column."""

    table: str
    column: str
    parent: str
    rows: int


def count(connection: Connection, catalog: Catalog) -> list[Unjoined]:
    """Every reference that keeps its text, with the number of rows that have not joined."""
    return [
        _count(connection, catalog, reference)
        for api in catalog.values()
        for reference in api.referring(ReferenceKind.KEEP)
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


def _count(connection: Connection, catalog: Catalog, reference: Reference) -> Unjoined:
    tables = target(catalog).tables
    child, parent = tables[reference.table], tables[reference.parent]
    pairs = list(zip(reference.columns, reference.parent_key, strict=True))
    joined = exists().where(and_(*(parent.c[key] == child.c[column] for column, key in pairs)))
    named = and_(*(child.c[column].is_not(None) & (child.c[column] != "") for column, _ in pairs))
    rows = connection.execute(select(func.count()).select_from(child).where(named, ~joined)).scalar_one()
    return Unjoined(child.name, ", ".join(reference.columns), parent.name, rows)
