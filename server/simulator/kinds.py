"""Kinds of records: how many there are, how they are called, to which others they refer.

All of it is computed from the index of a record, counted from 0 for each API, so nothing needs to be kept.
What a record refers to was there when it came to be: it is one of the first parents, those of the initial
load, or of the first `index / FAN_OUT`, and there are never more records than that allows (`limit`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from loaders.shapes import Api, Catalog, Field, FieldType, Reference, ReferenceKind
from server.simulator.dice import mixed, number_of, pick
from server.simulator.forms import WHOLE, WITH_LINES, WITH_SCHEDULES
from server.simulator.keys import Counter, capacity, pool_of
from server.simulator.plan import Plan
from server.simulator.profiles import PROFILES, Profile

# How many records refer to each parent, on average and at most.
FAN_OUT = 20
# Sales, credits and returns take turns; so what refers to each other can be of one kind.
_TRADE = "SSSCSSSR"
_CREDIT = _TRADE.index("C")

_Text = Callable[[int, int], str]


class Company:
    """All kinds of records of a catalog, parents first, as a plan's ERP has them."""

    def __init__(self, plan: Plan, catalog: Catalog) -> None:
        self.plan = plan
        self.kinds: dict[str, Kind] = {}
        self.kind_of_table: dict[str, Kind] = {}
        for api in sorted(catalog.values(), key=lambda api: (api.level, api.name)):
            # Entered before it is asked anything, since it may refer to itself.
            kind = Kind(self, api)
            self.kinds[api.name] = kind
            self.kind_of_table |= {table.name: kind for table in api.tables}


@dataclass(frozen=True, slots=True)
class _Digit:
    """A part of the key with few values: they change in turn, as the digits of a number."""

    size: int
    text: Callable[[int], str]


class Kind:
    """The records of one API: an order with its lines is one, and so is a price."""

    def __init__(self, company: Company, api: Api) -> None:
        self.api = api
        self.profile = PROFILES.get(api.name, Profile())
        self.plan = company.plan
        self._company = company
        self.seed = mixed(company.plan.seed, number_of(api.name))
        self._of_column = {field.column: field for field in api.fields}
        header = api.tables[0]
        self.key = [self._of_column[column] for column in header.key]
        self.line_key = [self._of_column[c] for c in api.most_specific.key if c not in header.key]
        self.form = (WHOLE, WITH_LINES, WITH_SCHEDULES)[min(len(self.line_key), 2)]

    # --- how many ---

    @cached_property
    def most(self) -> int | None:
        """How many records there can be at all."""
        limits = [] if self.profile.most is None else [self.profile.most]
        if self._exact is None:
            sizes = prod(digit.size for digit in self._digits.values())
            limits.append(sizes * min([capacity(field) for field in self._free], default=1))
        return min(limits, default=None)

    @cached_property
    def initial(self) -> int:
        """How many records the initial load has."""
        records = self.form.records_of(self.plan.rows_per_file)
        return min(records, self.limit({name: kind.initial for name, kind in self._parents.items()}))

    def limit(self, counts: Mapping[str, int]) -> int:
        """How many records there may be while there are so many parents, by API."""
        limits = [] if self.most is None else [self.most]
        for name, parent in self._parents.items():
            if name == self._exact_parent:
                limits.append(counts[name] * self._per)
            elif parent.most is None or counts[name] < parent.most:
                limits.append(max(counts[name] * FAN_OUT, parent.initial))
        return min(limits, default=1 << 62)

    @cached_property
    def narrowest(self) -> int:
        """How many columns a file must have, so that it lacks only what may lack."""
        needed = {r.when.column for r in self.api.references if r.when} | {
            column for r in self.api.referring(ReferenceKind.PARK) for column in r.columns
        }
        return max(f.ordinal for f in self.api.fields if f.required or f.key or f.column in needed)

    # --- to whom it refers ---

    @cached_property
    def _references(self) -> dict[str, list[Reference]]:
        """By field name, what it may refer to, among what is exported before."""
        found: dict[str, list[Reference]] = {}
        for reference in self.api.references:
            parent = self._company.kind_of_table.get(reference.parent)
            if reference.kind is ReferenceKind.CREATE or len(reference.columns) != 1 or parent is None:
                continue
            if len(parent.key) == 1 and (parent is self or self._is_before(parent)):
                found.setdefault(self._name_behind(reference.columns[0]), []).append(reference)
        return found

    def _is_before(self, other: "Kind") -> bool:
        return (other.api.level, other.api.name) < (self.api.level, self.api.name)

    def _name_behind(self, column: str) -> str:
        """The field that fills a column, which may be one derived from it."""
        source = next((d.source for d in self.api.derived if d.field.column == column), column)
        return self._of_column[source].name

    @cached_property
    def _parents(self) -> dict[str, "Kind"]:
        kinds = [
            self._company.kind_of_table[reference.parent]
            for references in self._references.values()
            for reference in references
        ]
        return {kind.api.name: kind for kind in kinds if kind is not self}

    def parent(self, name: str, index: int, line: int) -> "tuple[Kind, int] | None":
        """What a line of a record refers to with a field: which record of which kind; None if nothing."""
        if name in self.profile.through:
            via, says = self.profile.through[name]
            between = self.parent(via, index, line)
            if between is not None and says in between[0]._references:
                return between[0].parent(says, between[1], line)
        for reference in self._references.get(name, []):
            if reference.when is not None:
                decides = self._of_column[reference.when.column]
                if self.text(decides.name, index, 1) not in reference.when.values:
                    continue
            kind = self._company.kind_of_table[reference.parent]
            if kind is self:
                return (self, (index - 1) // 4) if index else None
            if name == self._exact:
                return kind, index // self._per
            return kind, self._one_of(kind, name, index, line)
        return None

    def _one_of(self, parent: "Kind", name: str, index: int, line: int) -> int:
        there = max(parent.initial, index // FAN_OUT)
        there = there if parent.most is None else min(there, parent.most)
        drawn = mixed(self.seed, number_of(name), index, self._line(name, line))
        turns = there // len(_TRADE)
        if turns and self.profile.is_traded and parent.profile.is_traded:
            return drawn % turns * len(_TRADE) + index % len(_TRADE)
        return drawn % there

    def _line(self, name: str, line: int) -> int:
        """By which line a field differs: those of the header by none."""
        return 0 if self.is_of_header(name) else line

    def is_of_header(self, name: str) -> bool:
        """Whether a field says the same in all rows of a record."""
        return name in self._of_header

    @cached_property
    def _of_header(self) -> frozenset[str]:
        header = self.api.tables[0].columns
        return frozenset(f.name for f in self.api.fields if f.column in header or not self.line_key)

    # --- how it is called ---

    @cached_property
    def _exact(self) -> str | None:
        """The key's field whose parents have the same number of records each, if there is one."""
        if self._free and self.profile.per is None:
            return None
        return next((field.name for field in self.key if field.name in self._references), None)

    @cached_property
    def _exact_parent(self) -> str | None:
        parents = self._references.get(self._exact or "", [])
        return self._company.kind_of_table[parents[0].parent].api.name if parents else None

    @cached_property
    def _per(self) -> int:
        return self.profile.per or prod(digit.size for digit in self._digits.values())

    @cached_property
    def _free(self) -> list[Field]:
        """The fields of the key that can have any value."""
        return [field for field in self.key if pool_of(field) is None and field.name not in self._references]

    @cached_property
    def _digits(self) -> dict[str, _Digit]:
        """The fields of the key with few values: codes, and parents of which there are few."""
        found = {}
        for field in self.key:
            if (pool := pool_of(field)) is not None:
                found[field.name] = _Digit(len(pool), pool.__getitem__)
            elif len(few := self._references.get(field.name, [])) == 1 and self._free:
                parent = self._company.kind_of_table[few[0].parent]
                if parent is not self and parent.profile.most is not None:
                    found[field.name] = _Digit(parent.initial, parent.own_number)
        return found

    @cached_property
    def _texts(self) -> dict[str, _Text]:
        """By field, what it says of record and line, where others may rely on it."""
        found: dict[str, _Text] = {name: self._referring(name) for name in self._references}
        found |= {name: self._through(name) for name in self.profile.through if self._has(name)}
        decides = {r.when.column for some in self._references.values() for r in some if r.when}
        found |= {self._of_column[column].name: self._deciding(column) for column in sorted(decides)}
        found |= {field.name: self._numbering(field) for field in self.key}
        if self.line_key:
            found[self.line_key[0].name] = lambda _, line: str(line)
        return found

    def own_number(self, index: int) -> str:
        """What others refer to a record by."""
        return self.text(self.key[0].name, index, 1)

    def text(self, name: str, index: int, line: int) -> str:
        """What a field says that is part of the key, refers to others, or decides to whom."""
        return self._texts[name](index, line)

    def texts(self, index: int, line: int) -> dict[str, str]:
        """All of these, by field name."""
        return {name: text(index, line) for name, text in self._texts.items()}

    def has_text(self, name: str) -> bool:
        """Whether a field is one of these."""
        return name in self._texts

    def is_credit(self, index: int) -> bool:
        """Whether a record takes something back."""
        return self.profile.is_traded and index % len(_TRADE) == _CREDIT

    def _has(self, name: str) -> bool:
        return any(field.name == name for field in self.api.fields)

    def _numbering(self, field: Field) -> _Text:
        """The text of a part of the key: all of them together tell the records apart."""
        if field.name in self._references and field.name not in self._digits:
            return self._referring(field.name)
        if self.profile.per is not None and self._exact is not None:
            return self._within_parent(field, self.profile.per)
        sizes = 1
        for name, digit in self._digits.items():
            if name == field.name:
                return self._turning(digit, sizes)
            sizes *= digit.size
        counter = self._counter(field)
        return lambda index, _: counter.text(index // sizes)

    def _turning(self, digit: _Digit, every: int) -> _Text:
        """The text of a part with few values, the next one after so many records."""
        return lambda index, _: digit.text(index // every % digit.size)

    def _within_parent(self, field: Field, per: int) -> _Text:
        """The text of a part that tells apart the few records of one parent."""
        pool = pool_of(field)
        if pool is not None:
            return lambda index, _: pool[(index // per + index % per) % len(pool)]
        if field.type in {FieldType.DATE, FieldType.DATETIME}:
            counter = self._counter(field)
            return lambda index, _: "" if index % 3 == 0 and not field.required else counter.text(0)
        return lambda index, _: str(index % per + 1)

    def _counter(self, field: Field) -> Counter:
        profile, plan = self.profile, self.plan
        return Counter(field, profile.number, profile.known, plan.first_day, plan.date_format)

    def _referring(self, name: str) -> _Text:
        kinds = {reference.kind for reference in self._references[name]}
        field = next(field for field in self.api.fields if field.name == name)
        is_loose = kinds == {ReferenceKind.KEEP} and field.type is FieldType.STRING and not field.key
        number = number_of(name)

        def text(index: int, line: int) -> str:
            if is_loose:
                chance = mixed(self.seed, number, index, self._line(name, line)) % 64
                if chance == 0:
                    # What the store does not know is kept as text (contract L5).
                    return f"unknown {index}"[: field.length]
                if chance < 8 and not field.required:
                    return ""
            parent = self.parent(name, index, line)
            if parent is None and not field.required:
                return ""
            if parent is None:
                # A root that must name a parent names itself.
                return str(index + 1) if field in self.key else self.own_number(index)
            kind, other = parent
            return kind.own_number(other)[: field.length]

        return text

    def _through(self, name: str) -> _Text:
        """What the parent says that another field names; where it names none, the field's own reference."""
        via, says = self.profile.through[name]
        own = self._referring(name) if name in self._references else lambda _index, _line: "1"

        def text(index: int, line: int) -> str:
            parent = self.parent(via, index, line)
            if parent is None or not parent[0].has_text(says):
                return own(index, line)
            kind, other = parent
            return kind.text(says, other, (line - 1) % kind.form.lines_of(other) + 1)

        return text

    def _deciding(self, column: str) -> _Text:
        """A code that decides to whom a record refers."""
        field = self._of_column[column]
        conditions = [r.when for r in self.api.references if r.when and r.when.column == column]
        codes = sorted(field.codes) or sorted({value for when in conditions for value in when.values})

        def text(index: int, _line: int) -> str:
            if self.profile.is_traded and not field.required and index % 16 == 5:
                return ""
            trade = pick(_TRADE, index)
            if self.profile.is_traded and trade in codes:
                return trade
            return pick(codes, mixed(self.seed, index))

        return text
