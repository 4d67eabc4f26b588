"""What goes wrong between an ERP and the inbox, on request and in the same way each time.

Numbers that are never sent, files sent twice, numbers sent again with other bytes, files sent after all the
others, bad rows. The initial loads are spared where there are enough others. What was done is written down,
so that an operator can practise and compare.
"""

# ruff: noqa: S311 - dice, not secrets

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any

from loaders.catalog import read_catalog
from loaders.shapes import Catalog
from server.names import Mode
from server.simulator.exports import Export, simulate
from server.simulator.faults import Fault, possible
from server.simulator.plan import Plan


@dataclass(frozen=True, slots=True)
class Mishaps:
    """How many of each kind; no number has two of `gaps`, `duplicates`, `conflicts` and `late`."""

    gaps: int = 0
    duplicates: int = 0
    conflicts: int = 0
    late: int = 0
    bad_rows: int = 0


@dataclass(slots=True)
class Account:
    """What was done, in the order of the files.

    Attributes:
        files: how many were sent, leaving aside what was sent again.
        missing: the numbers that were never sent.
        duplicates, conflicts, late: names.
        bad_rows: with `name`, `line`, `field` (None for a row that is bad as a whole) and `fault`.
    """

    files: int = 0
    missing: list[int] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    bad_rows: list[dict[str, Any]] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)


class Disturbed:
    """A plan's exports on their way: iterate over what is sent `first`, and then over what is sent `then`.

    The second part repeats numbers of the first, so it must not overtake it.
    """

    def __init__(self, plan: Plan, mishaps: Mishaps, catalog: Catalog | None = None) -> None:
        """Decide what happens to which file of a plan; the catalog is our own unless given.

        Raises ValueError if there are fewer files than things that are to happen to them.
        """
        catalog = catalog or read_catalog()
        kinds = ("gaps", "duplicates", "conflicts", "late")
        happens = [kind for kind in kinds for _ in range(getattr(mishaps, kind))]
        if len(happens) > plan.files:
            raise ValueError(f"{len(happens)} mishaps need as many files, and there are {plan.files}")
        random = Random(f"{plan.seed} mishaps")
        first = len(catalog) if plan.files - len(catalog) >= len(happens) else 0
        self.account = Account()
        self._exports = simulate(plan, catalog)
        self._happens = dict(zip(random.sample(range(first, plan.files), len(happens)), happens, strict=True))
        # The last files take what those before them had no room for.
        spoilt = range(plan.files - plan.files // 10)
        self._bad_rows = Counter(random.choices(spoilt, k=mishaps.bad_rows))
        self._random = random
        self._later: list[Export] = []

    def first(self) -> Iterator[Export]:
        """What is sent in its order."""
        owed = 0
        for number, whole in enumerate(self._exports):
            happens = self._happens.get(number)
            if happens == "gaps":
                self.account.missing.append(whole.file.sequence)
                owed += self._bad_rows[number]
                continue
            export, owed = self._with_bad_rows(whole, owed + self._bad_rows[number])
            self.account.files += 1
            if happens == "late":
                self.account.late.append(export.name)
                self._later.append(export)
                continue
            if happens == "duplicates":
                self.account.duplicates.append(export.name)
                self._later.append(export)
            elif happens == "conflicts":
                self.account.conflicts.append(export.name)
                # With a column more, as a newer exporter would send it.
                self._later.append(replace(export, width=export.width + 1))
            yield export

    def then(self) -> Iterator[Export]:
        """What is sent when all of the first part has been taken."""
        self._random.shuffle(self._later)
        yield from self._later

    def _with_bad_rows(self, export: Export, wanted: int) -> tuple[Export, int]:
        """The export with bad rows, half of its rows at most, and how many are left for others."""
        if not wanted:
            return export, 0
        api, header = export.kind.api, export.first_line - 1
        rows = export.count_rows()
        chosen = sorted(self._random.sample(range(rows), min(wanted, rows // 2)))
        faults = []
        for row in chosen:
            choices = possible(
                api,
                export.width,
                # While a FULL has a row without a key it waits for approval (contract L6).
                key_is_safe=export.file.mode is Mode.FULL,
                shape_is_safe=row == 0 and not header,
            )
            if not choices:
                continue
            kind = self._random.choice(sorted({kind for kind, _ in choices}))
            column = self._random.choice([place for found, place in choices if found is kind])
            faults.append(Fault(row, kind, column))
            self.account.bad_rows.append(
                {
                    "name": export.name,
                    "line": row + header + 1,
                    "field": None if column is None else api.fields[column].name,
                    "fault": str(kind),
                }
            )
        return replace(export, faults=tuple(faults)), wanted - len(faults)
