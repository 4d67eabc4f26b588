"""The join of rows and tables: which row of a key stays does not depend on when it came (contract L7).

Every row of a table bears the mark of who wrote it: stream, version, line. The highest mark wins; for parents
made on the fly the lowest does, so that they too are the same in whatever order files come.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from loaders import dialects
from loaders.activity import Activity
from loaders.dialects import Upsert, Winner
from loaders.keys import Key
from loaders.rows import Rows
from loaders.shapes import ACTIVE, EXTRA, MARKS, Api, Reference, Table

# Keys that a load remembers (of parents met, of rows written); more are asked for again, or all are assumed.
REMEMBERED_KEYS = 100_000


class Join:
    """Writes rows into tables, for one load; `ranks` has every stream's rank, the higher one wins."""

    def __init__(self, connection: Connection, ranks: Mapping[int, int], activity: Activity) -> None:
        self._connection = connection
        self._ranks = ranks
        self._activity = activity
        self._mentioned: dict[str, set[Key]] = {}

    def is_above(self, one: Sequence[int], other: Sequence[int]) -> bool:
        """Whether a mark (stream, version, line) is higher than another."""
        return self._height(one) > self._height(other)

    def _height(self, mark: Sequence[int]) -> tuple[int, ...]:
        stream, *rest = mark
        return (self._ranks[stream], stream, *rest)

    def write(self, api: Api, rows: Rows) -> None:
        """Upsert rows into the API's tables, headers first; of one key the highest mark stays (L7.1)."""
        for table in api.tables:
            is_header = table is not api.most_specific
            columns = (*table.columns,) if is_header else (*table.columns, EXTRA)
            written = rows.tuples(columns, self._activity.of(api, table, rows))
            if is_header:
                # Ten lines of an order bring ten times its header: the last of them is enough.
                written = list(dict(zip(rows.keys(table.key), written, strict=True)).values())
            self._run(table, (*columns, ACTIVE), Winner.HIGHEST, rows.stream, written)
        self._activity.loaded(api, rows)

    def start_over(self) -> None:
        """What comes next may have a lower mark than what was written: corrected rows do."""
        self._mentioned.clear()

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
