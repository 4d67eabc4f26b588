"""Which records each file of a plan holds.

What has been exported is known by a few numbers for each API, so a plan may be of any size. Changes go round
(`rounds`), so a FULL can say of every record what the last NET said of it.

An `Export` is a recipe: its bytes are computed when they are asked for, and not kept.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from loaders.catalog import read_catalog
from loaders.shapes import Catalog
from server.names import FIRST_SEQUENCE, LAST_SEQUENCE, FileName, Mode
from server.simulator.dice import mixed
from server.simulator.faults import Fault
from server.simulator.kinds import Company, Kind
from server.simulator.plan import Plan
from server.simulator.records import Records
from server.simulator.rounds import Round

# Of the rows of a net change a quarter is new, the rest has changed.
_NEW_SHARE = 4
_CHUNK_CHARACTERS = 64 * 1024
# Every night 1 of 50 records is gone from the FULLs, until a third is; far from what needs approval (L6).
_GONE_PER_FULL, _MOST_GONE, _GONE_OF = 20, 333, 1000


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What one file holds, whatever its size.

    Attributes:
        first_new, new: which records are new in it.
        changes_from, changed, changed_of: which others it holds, so many of those that there were.
        round: where the changes are when it has been made.
        fulls: how many FULLs of the API there have been, itself included.
        born: by day, how many records there were when it began.
    """

    first_new: int
    new: int
    changes_from: Round
    changed: int
    changed_of: int
    round: Round
    fulls: int
    born: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """One file that the ERP exports. Cheap to keep; its bytes are computed each time they are asked for.

    `faults` are what is wrong with some of its rows.
    """

    file: FileName
    records: Records = field(repr=False, compare=False)
    recipe: _Recipe
    width: int
    faults: tuple[Fault, ...] = ()

    @property
    def name(self) -> str:
        """The file's name, e.g. `DT_0000017_KS_ORDERS.NET`."""
        return str(self.file)

    @property
    def kind(self) -> Kind:
        """What it is an export of."""
        return self.records.kind

    @property
    def data(self) -> bytes:
        """The whole file, UTF-8."""
        return b"".join(self.chunks())

    @property
    def first_line(self) -> int:
        """The line of the first row."""
        return 2 if self.kind.plan.header else 1

    def chunks(self) -> Iterator[bytes]:
        """The file in pieces of some 64 KiB, for files that should not be in memory as a whole."""
        end_of_line = self.kind.plan.end_of_line
        lines: list[str] = []
        size = 0
        for line in self._lines():
            lines.append(line)
            size += len(line)
            if size >= _CHUNK_CHARACTERS:
                yield _encoded(lines, end_of_line)
                lines.clear()
                size = 0
        if lines:
            yield _encoded(lines, end_of_line)

    def rows(self) -> Iterator[dict[str, str]]:
        """The rows as texts by field name, as they are without faults."""
        recipe = self.recipe
        for index in self._indices():
            day = bisect_right(recipe.born, index) - 1
            yield from self.records.rows(index, recipe.round.state_of(index), day)

    def count_rows(self) -> int:
        """How many rows there are."""
        return sum(map(self.kind.form.rows_of, self._indices()))

    def _indices(self) -> Iterator[int]:
        recipe = self.recipe
        yield from range(recipe.first_new, recipe.first_new + recipe.new)
        for index in recipe.changes_from.walk(recipe.changed, recipe.changed_of):
            if not _is_gone(self.kind, index, recipe.fulls):
                yield index

    def _lines(self) -> Iterator[str]:
        names = [api_field.name for api_field in self.kind.api.fields]
        surplus = [f'file "{self.file.sequence}"', "", "é", ""][: max(self.width - len(names), 0)]
        names = names[: self.width]
        if self.kind.plan.header:
            yield "\t".join(names)
        faults = {fault.row: fault for fault in self.faults}
        for number, row in enumerate(self.rows()):
            cells = [*(row[name] for name in names), *surplus]
            fault = faults.get(number)
            yield "\t".join(cells) if fault is None else fault.spoil(cells, self.kind.api.fields)


def _encoded(lines: list[str], end_of_line: str) -> bytes:
    # A fault may hold a byte that is no UTF-8.
    return (end_of_line.join(lines) + end_of_line).encode(errors="surrogateescape")


def _is_gone(kind: Kind, index: int, fulls: int) -> bool:
    """Whether a record was discontinued before a FULL; the first never is, so that something is left."""
    gone = min(fulls * _GONE_PER_FULL, _MOST_GONE)
    return bool(index) and mixed(kind.seed, index) % _GONE_OF < gone


def simulate(plan: Plan, catalog: Catalog | None = None) -> Iterator[Export]:
    """The exports of a plan in the order of their numbers; the catalog is our own unless given.

    Raises:
        ValueError: the plan asks for no files, days or rows.
    """
    if min(plan.files, plan.days, plan.rows_per_file) < 1:
        raise ValueError("a plan needs at least one file, one day and one row")
    books = _Books(Company(plan, catalog or read_catalog()))
    for number in range(plan.files):
        yield books.export(number)


class _Books:
    """What the simulated ERP has exported so far."""

    def __init__(self, company: Company) -> None:
        self._plan = company.plan
        self._kinds = company.kinds
        self._records = {api: Records(kind) for api, kind in self._kinds.items()}
        self._initial = deque(self._kinds)
        self._refreshes: deque[str] = deque()
        self._day = 0
        self._count = dict.fromkeys(self._kinds, 0)
        self._round = dict.fromkeys(self._kinds, Round())
        self._fulls = dict.fromkeys(self._kinds, 0)
        self._born: dict[str, tuple[int, ...]] = dict.fromkeys(self._kinds, (0,))
        self._random = Random(f"{self._plan.seed} plan")  # noqa: S311 - dice, not secrets

    def export(self, number: int) -> Export:
        """Decide what the next file is, and enter it."""
        plan = self._plan
        self._begin_day(number * plan.days // plan.files)
        api, mode = self._next()
        kind = self._kinds[api]
        file = FileName(
            source=plan.source.upper(),
            sequence=(plan.first_sequence + number - FIRST_SEQUENCE) % LAST_SEQUENCE + FIRST_SEQUENCE,
            integration=plan.integration.upper(),
            api=api,
            mode=mode,
        )
        recipe = self._full(api) if mode is Mode.FULL else self._net(kind)
        return Export(file, self._records[api], recipe, self._width(kind, number))

    def _begin_day(self, day: int) -> None:
        while self._day < day:
            self._day += 1
            for api, kind in self._kinds.items():
                self._born[api] = (*self._born[api], self._count[api])
                if self._plan.fulls and kind.api.deactivates and api not in self._refreshes:
                    self._refreshes.append(api)

    def _next(self) -> tuple[str, Mode]:
        if self._initial:
            return self._initial.popleft(), Mode.NET
        if self._refreshes:
            return self._refreshes.popleft(), Mode.FULL
        often = [kind.profile.often for kind in self._kinds.values()]
        return self._random.choices(list(self._kinds), often)[0], Mode.NET

    def _net(self, kind: Kind) -> _Recipe:
        """New records, as far as their parents allow, and changed ones."""
        api = kind.api.name
        before, rows = self._count[api], self._plan.rows_per_file
        if not before:
            new = kind.initial
            changed = 0
        else:
            wanted = rows // _NEW_SHARE or self._random.randint(0, 1)
            new = min(kind.form.records_of(wanted, before), kind.limit(self._count) - before)
            changed = min(kind.form.records_of(rows - kind.form.rows_of_all(before, new)), before)
            if not new:
                changed = max(changed, 1)
        begun = self._round[api]
        self._round[api] = begun.after(changed, before)
        return self._recipe(api, new, begun, changed)

    def _full(self, api: str) -> _Recipe:
        """All records that there are, but for those that are gone."""
        self._fulls[api] += 1
        return self._recipe(api, 0, Round(), self._count[api])

    def _recipe(self, api: str, new: int, begun: Round, changed: int) -> _Recipe:
        """What a file holds that has been decided, and what there is from now on."""
        before = self._count[api]
        self._count[api] += new
        return _Recipe(
            first_new=before,
            new=new,
            changes_from=begun,
            changed=changed,
            changed_of=before,
            round=self._round[api],
            fulls=self._fulls[api],
            born=self._born[api],
        )

    def _width(self, kind: Kind, number: int) -> int:
        """How many columns a file has; some come from older or newer exporters than the catalog knows."""
        width = len(kind.api.fields)
        if self._plan.header:
            return width
        match mixed(self._plan.seed, number) % 12:
            case 0:
                return width + 3
            case 1:
                # Of one column alone, a row without a value would be an empty line.
                return max(width - 2, kind.narrowest, 2)
            case _:
                return width
