"""The rows of one record, as it is after so many changes."""

# ruff: noqa: S311 - dice, not secrets

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random

from loaders.shapes import Field, FieldType
from server.simulator.dice import mixed
from server.simulator.kinds import Kind
from server.simulator.values import maker
from server.simulator.vocabulary import Maker, Row

_DAYS_TO_DELIVERY, _DAYS_BETWEEN_SCHEDULES = 7, 14


class Records:
    """Writes the records of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._header: list[tuple[str, Maker]] = []
        self._line: list[tuple[str, Maker]] = []
        for field in kind.api.fields:
            if not kind.has_text(field.name) and field not in kind.line_key:
                belongs = self._header if kind.is_of_header(field.name) else self._line
                belongs.append((field.name, maker(field)))

    def rows(self, index: int, state: int, day_number: int) -> Iterator[dict[str, str]]:
        """The rows of a record, as texts by field name.

        Args:
            index: which record.
            state: how often it has changed.
            day_number: on which day of the plan, from 0, it came to be.
        """
        kind = self.kind
        day = kind.plan.first_day + timedelta(day_number)
        header = self._row(index, state, day, (0, 0), kind.texts(index, 1))
        for name, make in self._header:
            header.cells[name] = make(header)
        if not kind.line_key:
            yield header.cells
            return
        for line, schedules in enumerate(kind.form.shape_of(index), 1):
            texts = header.cells | kind.texts(index, line)
            # A line moves with all its schedules, so they stay apart.
            moves = mixed(kind.seed, index, line, state)
            moved_days = moves % 9 + 1 if state and moves % 3 == 0 else 0
            for schedule in range(schedules):
                row = self._row(index, state, day, (line, schedule + 1), dict(texts))
                due = _DAYS_TO_DELIVERY + schedule * _DAYS_BETWEEN_SCHEDULES + moved_days
                for field in kind.line_key[1:]:
                    row.cells[field.name] = _scheduled(field, row, due, schedule)
                for name, make in self._line:
                    row.cells[name] = make(row)
                yield row.cells

    def _row(self, index: int, state: int, day: date, place: tuple[int, int], cells: dict[str, str]) -> Row:
        line, schedule = place
        return Row(
            index=index,
            state=state,
            stable=Random(mixed(self.kind.seed, index, line)),
            fresh=Random(mixed(self.kind.seed, index, line, schedule, state)),
            day=day,
            date_format=self.kind.plan.date_format,
            is_credit=self.kind.is_credit(index),
            cells=cells,
        )


def _scheduled(field: Field, row: Row, due_days: int, schedule: int) -> str:
    """What tells the schedules of one line apart."""
    if field.type in {FieldType.DATE, FieldType.DATETIME}:
        return row.spelled(row.day + timedelta(due_days))
    return str(schedule + 1)
