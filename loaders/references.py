"""Is the parent there? (contract L5)

Only keys that a batch names are asked for, and each of them once per load, so a small file never reads a big
parent table. What has been found stays true for the load: nothing is ever deleted from a target table.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnClause, Connection, column, select, table

from loaders.fields import Value
from loaders.join import REMEMBERED_KEYS
from loaders.keys import chunks
from loaders.rows import Rows
from loaders.shapes import Api, Catalog, ReferenceKind


class References:
    """Looks for the parents that rows are parked for, for one load."""

    def __init__(self, connection: Connection, catalog: Catalog) -> None:
        self._connection = connection
        self._catalog = catalog
        self._met: dict[str, set[Value]] = {}

    def wrote(self, table_name: str, keys: Iterable[Value]) -> None:
        """Take note that a table with a key of one column has these keys now."""
        if (met := self._met.get(table_name)) is not None:
            met.update(keys)

    def missing(self, api: Api, rows: Rows) -> dict[int, tuple[str, str]]:
        """The rows that must wait: by position, the table and key of the first parent that is not there.

        Parents among the rows themselves count if they come before, as the rows will be written in this
        order. Which parent is first does not depend on the order of arrival, so equal sets of files leave
        equal records of what waits.
        """
        waits: dict[int, tuple[str, str]] = {}
        within: list[tuple[str, Sequence[Value], set[Value]]] = []
        for reference in api.referring(ReferenceKind.PARK):
            texts = rows.columns[reference.columns[0]]
            absent = self._absent(reference.parent, set(texts))
            if absent and reference.is_self:
                within.append((reference.parent, texts, absent))
            elif absent:
                for i, text in enumerate(texts):
                    if text in absent:
                        waits.setdefault(i, (reference.parent, str(text)))
        if within:
            waits |= self._missing_within(rows.columns[api.most_specific.key[0]], within, waits)
        return waits

    def _missing_within(
        self,
        own: Sequence[Value],
        within: list[tuple[str, Sequence[Value], set[Value]]],
        waits: dict[int, tuple[str, str]],
    ) -> dict[int, tuple[str, str]]:
        """Of rows that may be each other's parents, those whose parent neither is there nor comes before."""
        found: dict[int, tuple[str, str]] = {}
        coming: set[Value] = set()
        for i, key in enumerate(own):
            if i in waits:
                continue
            for parent, texts, absent in within:
                if texts[i] in absent and texts[i] != key and texts[i] not in coming:
                    found[i] = (parent, str(texts[i]))
                    break
            else:
                coming.add(key)
        return found

    def _absent(self, parent: str, keys: set[Value]) -> set[Value]:
        met = self._met.setdefault(parent, set())
        if len(met) > REMEMBERED_KEYS:
            met.clear()
        unknown = keys - met - {None}
        key: ColumnClause[str] = column(self._catalog.tables[parent].key[0])
        for chunk in chunks(unknown):
            query = select(key).select_from(table(parent)).where(key.in_(chunk))
            met.update(self._connection.execute(query).scalars())
        return unknown - met
