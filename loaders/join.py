"""The join of rows and tables: which row of a key stays does not depend on when it came (contract L7).

Every row of a table bears the mark of who wrote it: stream, version, line. The highest mark wins; for parents
made on the fly the lowest does, so that they too are the same in whatever order files come.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from typing import Any

from sqlalchemy import Connection

from loaders import dialects
from loaders.dialects import Upsert, Winner
from loaders.fields import Value
from loaders.shapes import EXTRA, MARKS, Api, Reference, Table

# Keys that a load remembers (of parents met, of rows written); more are asked for again, or all are assumed.
REMEMBERED_KEYS = 100_000


# Up to so many rows are cheaper to cut out one by one; a bad row in a thousand is the common case.
_FEW = 16


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked rows of one API and one stream, column by column, in ascending order of (version, line).

    `columns` holds the values of all fields and `extra` by column name; `texts` are the rows as they came.
    """

    stream: int
    columns: Mapping[str, Sequence[Value]]
    versions: Sequence[int]
    lines: Sequence[int]
    file_ids: Sequence[int]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.lines)

    def only(self, chosen: Collection[int]) -> "Rows":
        """The rows at some positions."""
        mask = [i in chosen for i in range(len(self))]
        return self._each(lambda values: list(compress(values, mask)))

    def without(self, left_out: Collection[int]) -> "Rows":
        """The rows but for those at some positions."""
        if not left_out:
            return self
        if len(left_out) > _FEW:
            return self.only(set(range(len(self))) - set(left_out))
        backwards = sorted(left_out, reverse=True)

        def shortened(values: Sequence[Any]) -> list[Any]:
            kept = list(values)
            for i in backwards:
                del kept[i]
            return kept

        return self._each(shortened)

    def _each(self, change: Callable[[Sequence[Any]], list[Any]]) -> "Rows":
        return Rows(
            self.stream,
            {name: change(values) for name, values in self.columns.items()},
            change(self.versions),
            change(self.lines),
            change(self.file_ids),
            change(self.texts),
        )

    def keys(self, columns: Sequence[str]) -> list[tuple[Value, ...]]:
        """By row, the values of some columns."""
        return list(zip(*(self.columns[column] for column in columns), strict=True))

    def tuples(self, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """By row, the values of some columns and the row's mark, as they go to the driver."""
        held = [self.columns[column] for column in columns]
        return list(zip(*held, repeat(self.stream), self.versions, self.lines, self.file_ids, strict=False))


def row_key(key: Sequence[Value]) -> str:
    """A key as parked rows are found by it."""
    return json.dumps(key, ensure_ascii=False)


class Join:
    """Writes rows into tables, for one load; `ranks` has every stream's rank, the higher one wins."""

    def __init__(self, connection: Connection, ranks: Mapping[int, int]) -> None:
        self._connection = connection
        self._ranks = ranks
        self._mentioned: dict[str, set[tuple[Value, ...]]] = {}

    def is_above(self, one: Sequence[int], other: Sequence[int]) -> bool:
        """Whether a mark (stream, version, line) is higher than another."""
        return self._height(one) > self._height(other)

    def _height(self, mark: Sequence[int]) -> tuple[int, ...]:
        stream, *rest = mark
        return (self._ranks[stream], stream, *rest)

    def write(self, api: Api, rows: Rows) -> None:
        """Upsert rows into the API's tables, headers first; of one key the highest mark stays (L7.1)."""
        for table in api.tables:
            columns = tuple(table.columns)
            if table is api.most_specific:
                written = rows.tuples((*columns, EXTRA))
                self._run(table, (*columns, EXTRA), Winner.HIGHEST, rows.stream, written)
            else:
                # Ten lines of an order bring ten times its header: the last of them is enough.
                last = dict(zip(rows.keys(table.key), rows.tuples(columns), strict=True))
                self._run(table, columns, Winner.HIGHEST, rows.stream, list(last.values()))

    def make_parent(self, reference: Reference, parent: Table, rows: Rows) -> None:
        """Make the parents that rows of one file mention; their attributes are the lowest mark's (L7.3)."""
        mentioned = self._mentioned.setdefault(parent.name, set())
        keys = rows.keys(reference.columns)
        new = {key for key in set(keys) - mentioned if None not in key}
        if not new:
            return
        if len(mentioned) > REMEMBERED_KEYS:
            mentioned.clear()
        mentioned |= new
        # The first mention has the lowest mark of its file, so later ones need not be looked at.
        first = {key: i for i, key in zip(range(len(keys) - 1, -1, -1), reversed(keys), strict=True)}
        columns = tuple(reference.sources)
        chosen = rows.only({first[key] for key in new})
        made = chosen.tuples([reference.sources[column] for column in columns])
        self._run(parent, columns, Winner.LOWEST, rows.stream, made)

    def _run(
        self, table: Table, columns: tuple[str, ...], winner: Winner, stream: int, rows: list[tuple[Any, ...]]
    ) -> None:
        rank = (self._ranks[stream], stream)
        beaten = tuple(
            other
            for other, other_rank in sorted(self._ranks.items())
            if other != stream and ((other_rank, other) < rank) is (winner is Winner.HIGHEST)
        )
        upsert = Upsert(table.name, table.key, (*columns, *MARKS), winner, beaten)
        dialects.run(self._connection, upsert, rows)
