"""Checked rows on their way into tables, column by column."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from typing import Any

from loaders.fields import Value

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

    def tuples(self, columns: Sequence[str], *more: Iterable[Value]) -> list[tuple[Any, ...]]:
        """By row, the values of some columns, of `more`, and the row's mark, as they go to the driver."""
        held = [self.columns[column] for column in columns]
        marks = (repeat(self.stream), self.versions, self.lines, self.file_ids)
        return list(zip(*held, *more, *marks, strict=False))
