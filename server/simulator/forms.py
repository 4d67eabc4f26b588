"""How many lines and rows a record has: an order of two lines, one of them with three schedules …"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """The shapes that the records of one API take in turn: record N has shape N modulo their number.

    A shape is the number of rows of each line.
    """

    shapes: tuple[tuple[int, ...], ...]

    def shape_of(self, index: int) -> tuple[int, ...]:
        """The number of rows of each of a record's lines."""
        return self.shapes[index % len(self.shapes)]

    def lines_of(self, index: int) -> int:
        """How many lines a record has."""
        return len(self.shape_of(index))

    def rows_of(self, index: int) -> int:
        """How many rows a record has."""
        return sum(self.shape_of(index))

    def rows_of_all(self, first: int, records: int) -> int:
        """How many rows so many records have, from one on."""
        turns, left = divmod(records, len(self.shapes))
        return turns * self._rows_of_turn + sum(self.rows_of(first + i) for i in range(left))

    def records_of(self, rows: int, first: int = 0) -> int:
        """How many records have so many rows, or a few more, from one on."""
        turns = max(rows, 0) // self._rows_of_turn
        records = turns * len(self.shapes)
        left = rows - turns * self._rows_of_turn
        while left > 0:
            left -= self.rows_of(first + records)
            records += 1
        return records

    @property
    def _rows_of_turn(self) -> int:
        return sum(map(sum, self.shapes))


WHOLE = Form(((1,),))
WITH_LINES = Form(((1,), (1, 1), (1,), (1, 1, 1)))
WITH_SCHEDULES = Form(((1,), (1, 1), (2,), (1,), (1, 2, 1), (1,), (1, 1, 1), (3, 1)))
