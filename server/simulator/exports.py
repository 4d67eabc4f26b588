"""Which rows each file of a plan holds.

What has been exported is known as counts and as the latest orders only, so a plan may be of any size. An
`Export` is a recipe: its bytes are computed when they are asked for, and not kept.
"""

# ruff: noqa: S311 - dice, not secrets

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from random import Random
from typing import Self

from loaders.catalog import read_catalog
from server.names import FIRST_SEQUENCE, LAST_SEQUENCE, FileName, Mode
from server.simulator.plan import APIS, Plan
from server.simulator.rows import MAKERS, PER_ITEM, Entity, Known, Row, order_rows

# How often each API has a net change: orders and stock move all day, categories hardly ever.
_FREQUENCY = (1, 2, 2, 2, 4, 5)

# Rows that a net change holds, at most: a quarter is new, the rest has changed.
_NEW_SHARE = 4

# Only orders of the latest files still change; older ones are closed, and need not be remembered.
_OPEN_ORDER_FILES = 32

_CHUNK_CHARACTERS = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Some:
    """Distinct indices out of a range, in an order that only looks random; needs no memory for them."""

    first: int
    size: int
    count: int
    start: int = 0
    step: int = 1

    def __iter__(self) -> Iterator[int]:
        return (self.first + (self.start + n * self.step) % self.size for n in range(self.count))

    @classmethod
    def draw(cls, random: Random, first: int, size: int, count: int) -> Self:
        """Up to `count` of the indices from `first` on."""
        step = random.randint(1, size)
        while math.gcd(step, size) != 1:
            step = random.randint(1, size)
        return cls(first, size, min(count, size), random.randrange(size), step)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one file that were made under the same circumstances.

    Attributes:
        indices: which entities of the API.
        known: what they may refer to.
        change: number of the file that changes them, 0 for new ones.
    """

    indices: _Some
    known: Known
    change: int = 0


@dataclass(frozen=True, slots=True)
class Export:
    """One file that the ERP exports. Cheap to keep; its bytes are computed each time they are asked for."""

    file: FileName
    plan: Plan
    parts: tuple[_Part, ...]

    @property
    def name(self) -> str:
        """The file's name, e.g. `DT_0000017_KS_ORDERS.NET`."""
        return str(self.file)

    @property
    def data(self) -> bytes:
        """The whole file, UTF-8."""
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The file in pieces of some 64 KiB, for files that should not be in memory as a whole."""
        lines: list[str] = []
        size = 0
        for cells in self._lines():
            line = "\t".join(cells) + self.plan.end_of_line
            lines.append(line)
            size += len(line)
            if size >= _CHUNK_CHARACTERS:
                yield "".join(lines).encode()
                lines.clear()
                size = 0
        yield "".join(lines).encode()

    def rows(self) -> Iterator[Row]:
        """The rows as values by field name; fields without a value are missing."""
        make = MAKERS[self.file.api]
        for part in self.parts:
            for index in part.indices:
                seed = f"{self.plan.seed} {self.file.api} {index}"
                stable, fresh = Random(seed), Random(f"{seed} {part.change}")
                yield from make(Entity(index, part.known, part.change, self.plan, stable, fresh))

    def _lines(self) -> Iterator[list[str]]:
        fields = _field_names()[self.file.api]
        if self.plan.header:
            yield list(fields)
        for row in self.rows():
            yield [row.get(field, "") for field in fields]


@cache
def _field_names() -> dict[str, tuple[str, ...]]:
    """The fields of each API in the catalog's order."""
    catalog = read_catalog()
    return {api: tuple(field.name for field in catalog[api].fields) for api in APIS}


def simulate(plan: Plan) -> Iterator[Export]:
    """The exports of a plan in the order of their numbers.

    Raises:
        ValueError: the plan asks for no files, days or rows.
    """
    if min(plan.files, plan.days, plan.rows_per_file) < 1:
        raise ValueError("a plan needs at least one file, one day and one row")
    random = Random(f"{plan.seed} plan")
    books = _Books(plan)
    for number in range(plan.files):
        day = plan.first_day + timedelta(days=number * plan.days // plan.files)
        initial = number < len(APIS)
        api = APIS[number] if initial else random.choices(APIS, _FREQUENCY)[0]
        file = FileName(
            source=plan.source.upper(),
            sequence=(plan.first_sequence + number - FIRST_SEQUENCE) % LAST_SEQUENCE + FIRST_SEQUENCE,
            integration=plan.integration.upper(),
            api=api,
            mode=plan.initial_mode if initial else Mode.NET,
        )
        yield Export(file, plan, books.parts(api, number + 1, day, random))


class _Books:
    """What the simulated ERP has exported so far: counts, and the latest orders."""

    def __init__(self, plan: Plan) -> None:
        self._rows = plan.rows_per_file
        self._count = dict.fromkeys(APIS, 0)
        self._open_orders: deque[tuple[_Some, Known]] = deque(maxlen=_OPEN_ORDER_FILES)

    def parts(self, api: str, number: int, day: date, random: Random) -> tuple[_Part, ...]:
        """Decide what the next file holds, and enter it."""
        known = Known(self._count["CATEGORY"], self._count["CUSTOMERS"], self._count["MFG_ITEMS"], day)
        before = self._count[api]
        new_rows = max(1, self._rows // _NEW_SHARE) if before else self._rows
        if before and self._rows == 1:
            new_rows = random.randint(0, 1)
        if api == "ORDERS":
            return self._orders(known, number, new_rows, random)
        if api in ("BASE_PRICES", "INVENTORY"):
            new_rows = min(new_rows, known.items * PER_ITEM - before)
        self._count[api] += new_rows
        parts = []
        if new_rows:
            parts.append(_Part(_Some(before, new_rows, new_rows), known))
        if before and self._rows > new_rows:
            parts.append(_Part(_Some.draw(random, 0, before, self._rows - new_rows), known, number))
        return tuple(parts)

    def _orders(self, known: Known, number: int, new_rows: int, random: Random) -> tuple[_Part, ...]:
        """Whole orders, new ones and changed ones; the changed ones keep what they referred to."""
        parts = []
        rows = 0
        still_open = list(self._open_orders)
        if new_rows:
            first = count = self._count["ORDERS"]
            while rows < new_rows:
                rows += order_rows(count)
                count += 1
            new = _Some(first, count - first, count - first)
            parts.append(_Part(new, known))
            self._open_orders.append((new, known))
            self._count["ORDERS"] = count
        if still_open and rows < self._rows:
            drawn, known_then = random.choice(still_open)
            changed = _Some.draw(random, drawn.first, drawn.size, drawn.size)
            count = 0
            for index in changed:
                rows += order_rows(index)
                count += 1
                if rows >= self._rows:
                    break
            parts.append(_Part(replace(changed, count=count), known_then, number))
        return tuple(parts)
