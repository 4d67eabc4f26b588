"""What only a cut file has written, and not the whole one: the row of its last line (contract A7, L7).

All other lines of the two are the same, and the whole file has written them anew under the same marks. Only a
line that was cut within a key has made a row, or a parent, that nobody ever sent.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, TableClause, column, delete, table, update
from sqlalchemy.exc import IntegrityError

from loaders.records import mention
from loaders.shapes import ACTIVE, Api, Catalog, ReferenceKind, Table


def take_out(connection: Connection, catalog: Catalog, api: Api, file_ids: Sequence[int]) -> int:
    """Remove what some files have written that their successor, which is loaded, has not.

    A row that others refer to was somebody's before: it stays, inactive, and gives way to whatever comes
    under its key. A parent that others refer to has been made by them as well, and stays as it is.

    Returns:
        how many rows are out, or inactive.
    """
    connection.execute(delete(mention).where(mention.c.file_id.in_(file_ids)))
    gone = 0
    for target in reversed(api.tables):
        rows = _columns_of(target)
        left = rows.c.file_id.in_(file_ids)
        found = _deleted(connection, rows, left)
        if found is None:
            demoted = update(rows).where(left).values(version=0, line=0, active=0)
            found = connection.execute(demoted).rowcount
        gone += found
    created = dict.fromkeys(reference.parent for reference in api.referring(ReferenceKind.CREATE))
    for name in reversed(created):
        rows = _columns_of(catalog.created[name])
        gone += _deleted(connection, rows, rows.c.file_id.in_(file_ids)) or 0
    return gone


def _deleted(connection: Connection, rows: TableClause, left: ColumnElement[bool]) -> int | None:
    """How many rows that was; None if others refer to one of them."""
    try:
        with connection.begin_nested():
            return connection.execute(delete(rows).where(left)).rowcount
    except IntegrityError:
        return None


def _columns_of(target: Table) -> TableClause:
    return table(target.name, *map(column, ("version", "line", "file_id", ACTIVE)))
