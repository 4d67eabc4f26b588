"""Field types: a text becomes a value, or is refused with a reason (contract L3).

Values are good for every database and equal on all of them: texts as they came, integers, finite floats,
decimals as text with all their decimals (`12.5000`), days as `2024-01-31`, times as `2024-01-31 00:00:00`.
A text either means exactly one value or is refused; nothing is rounded, cut or guessed.

A column is checked as a whole, at the speed of C: the longest text, the set of its codes, a dictionary that
remembers what each distinct text became. A column that fails is halved until the refused rows are found, and
only what is left around them is gone through cell by cell. Both ways give the same answer, which a test holds
them to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from loaders.dates import DateReader
from loaders.numbers import Notation, decimal, floating, integer
from loaders.options import SourceOptions
from loaders.rejects import Refused, shown
from loaders.shapes import Field, FieldType

Value = str | int | float | None

# Cells that are not worth halving any more.
_FEW = 16

# Distinct texts that a column remembers; a full memory is emptied, which costs time and nothing else.
_REMEMBERED_TEXTS = 50_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first field of a row (by ordinal) that was refused, and why; `columns` has all that were."""

    field: str
    reason: str
    columns: frozenset[str]


class Column:
    """What one field of an API accepts, and what it makes of it."""

    def __init__(self, field: Field, options: SourceOptions) -> None:
        self.field = field
        self._trim = options.trim
        self._is_text = field.type is FieldType.STRING
        self._convert = _converter(field, options)
        self._empty: Value = _blank(field) if field.key else None
        self._codes = (
            {code for code in field.codes if code.strip(" ")} if field.required else {*field.codes, ""}
        )
        # No text of blanks alone sorts after it, if its length is allowed.
        self._blanks = " " * (field.length or 0)
        self._memory = _Memory(self.value)

    def value(self, text: str) -> Value:
        """The value of one cell; Refused if it has none."""
        if self._trim:
            text = text.strip(" ")
        if self.field.required and not text.strip(" "):
            raise Refused("required, but blank" if text else "required, but empty")
        return self._convert(text) if text else self._empty

    def values(self, texts: Sequence[str]) -> tuple[Sequence[Value], dict[int, str]]:
        """The values of a column, and the reasons by index where there is none (the value is then None)."""
        checked = self._text_column(texts) if self._is_text else self._converted_column(texts)
        if checked is not None:
            return checked, {}
        if len(texts) <= _FEW:
            return self._cell_by_cell(texts)
        half = len(texts) // 2
        values, reasons = self.values(texts[:half])
        others, other_reasons = self.values(texts[half:])
        return [*values, *others], reasons | {half + i: reason for i, reason in other_reasons.items()}

    def _text_column(self, texts: Sequence[str]) -> Sequence[Value] | None:
        if self._trim:
            texts = [text.strip(" ") for text in texts]
        if self.field.codes:
            fit = self._codes.issuperset(texts)
        else:
            fit = max(map(len, texts), default=0) <= (self.field.length or 0)
        if not fit:
            return None
        if self.field.required:
            # With codes, those that fit are not blank.
            return texts if self.field.codes or min(texts, default="!") > self._blanks else None
        return texts if all(texts) else [text or self._empty for text in texts]

    def _converted_column(self, texts: Sequence[str]) -> Sequence[Value] | None:
        try:
            return list(map(self._memory.__getitem__, texts))
        except Refused:
            return None

    def _cell_by_cell(self, texts: Sequence[str]) -> tuple[Sequence[Value], dict[int, str]]:
        values: list[Value] = []
        reasons: dict[int, str] = {}
        for i, text in enumerate(texts):
            try:
                values.append(self.value(text))
            except Refused as refused:
                values.append(None)
                reasons[i] = str(refused)
        return values, reasons


class _Memory(dict[str, Value]):
    """What each distinct text of a column became; asks once per text."""

    def __init__(self, convert: Callable[[str], Value]) -> None:
        super().__init__()
        self._ask = convert

    def __missing__(self, text: str) -> Value:
        if len(self) >= _REMEMBERED_TEXTS:
            self.clear()
        value = self[text] = self._ask(text)
        return value


class Checker:
    """All fields of an API, for the files of one source. Not for use by two threads at once."""

    def __init__(self, fields: Sequence[Field], options: SourceOptions) -> None:
        self.columns = [Column(field, options) for field in fields]

    def check(self, columns: Sequence[Sequence[str]]) -> tuple[list[Sequence[Value]], dict[int, Refusal]]:
        """Check rows given column by column; the refused rows come by index, each with its first fault."""
        values: list[Sequence[Value]] = []
        refusals: dict[int, Refusal] = {}
        for column, texts in zip(self.columns, columns, strict=True):
            converted, reasons = column.values(texts)
            values.append(converted)
            own = frozenset({column.field.column})
            for i, reason in reasons.items():
                first = refusals.get(i) or Refusal(column.field.name, reason, own)
                refusals[i] = replace(first, columns=first.columns | own)
        return values, refusals


def _converter(field: Field, options: SourceOptions) -> Callable[[str], Value]:
    """How a text that is not empty becomes a value of this field."""
    notation = Notation(decimal_comma=options.decimal_comma, thousands=options.thousands)
    match field.type:
        case FieldType.STRING:
            return _code(field.codes) if field.codes else _string(field.length or 0)
        case FieldType.INTEGER:
            return integer(field.length or 4, notation)
        case FieldType.DECIMAL | FieldType.MONEY:
            return decimal(field.precision or 1, field.scale or 0, notation)
        case FieldType.FLOAT:
            return floating(notation)
        case FieldType.DATE:
            return DateReader(options.date_formats).day
        case FieldType.DATETIME:
            return DateReader(options.date_formats).moment


def _blank(field: Field) -> Value:
    """What a blank part of a key is stored as: equal to itself, which NULL is not (contract L3)."""
    match field.type:
        case FieldType.STRING:
            return ""
        case FieldType.INTEGER:
            return 0
        case FieldType.DECIMAL | FieldType.MONEY:
            return decimal(field.precision or 1, field.scale or 0)("0")
        case FieldType.FLOAT:
            return 0.0
        case FieldType.DATE:
            return "0001-01-01"
        case FieldType.DATETIME:
            return "0001-01-01 00:00:00"


def _code(codes: Mapping[str, str]) -> Callable[[str], Value]:
    allowed = ", ".join(codes)

    def convert(text: str) -> Value:
        if text in codes:
            return text
        raise Refused(f"{shown(text)} is not one of {allowed}")

    return convert


def _string(length: int) -> Callable[[str], Value]:
    def convert(text: str) -> Value:
        if len(text) <= length:
            return text
        raise Refused(f"{len(text):,} characters, {length:,} allowed")

    return convert
