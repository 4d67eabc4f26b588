"""What can be wrong with a row: every kind of fault for which a row is refused (contract L3, L4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from loaders.shapes import Api, Field, FieldType

_NUMBERS = {FieldType.INTEGER, FieldType.DECIMAL, FieldType.MONEY, FieldType.FLOAT}
_DATES = {FieldType.DATE, FieldType.DATETIME}


class FaultKind(StrEnum):
    """A way in which a row is bad."""

    TOO_LONG = "too long"
    NO_NUMBER = "not a number"
    BAD_DATE = "bad date"
    MISSING = "required, but empty"
    UNKNOWN_CODE = "unknown code"
    TOO_NARROW = "a column too few"
    TOO_WIDE = "a column too many"
    NUL = "a NUL character"
    BAD_ENCODING = "bad encoding"


_IN_FIELD: dict[FaultKind, tuple[Callable[[Field], bool], Callable[[Field], str]]] = {
    FaultKind.TOO_LONG: (
        lambda of: of.type is FieldType.STRING and not of.codes,
        lambda of: "too-long-" * ((of.length or 0) // 9 + 1),
    ),
    FaultKind.NO_NUMBER: (lambda of: of.type in _NUMBERS, lambda _: "12,5x"),
    FaultKind.BAD_DATE: (lambda of: of.type in _DATES, lambda _: "02-30-2026"),
    FaultKind.MISSING: (lambda of: of.required, lambda _: ""),
    FaultKind.UNKNOWN_CODE: (lambda of: bool(of.codes), lambda _: "~"),
}
"""By kind: which fields can have the fault, and what they hold then."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One bad row of a file.

    Attributes:
        row: which of the file's rows, from 0.
        kind: what is wrong.
        column: with which field, by its place; None where the row as a whole is at fault.
    """

    row: int
    kind: FaultKind
    column: int | None

    def spoil(self, cells: Sequence[str], fields: Sequence[Field]) -> str:
        """The line that comes instead; bytes that are no UTF-8 are in it as surrogates."""
        if self.column is not None:
            bad = _IN_FIELD[self.kind][1](fields[self.column])
            return "\t".join([*cells[: self.column], bad, *cells[self.column + 1 :]])
        line = "\t".join(cells)
        match self.kind:
            case FaultKind.TOO_NARROW:
                return "\t".join(cells[:-1]) if len(cells) > 1 else f"{line}\t"
            case FaultKind.TOO_WIDE:
                return f"{line}\tstray"
            case FaultKind.NUL:
                return f"{line}\0"
            case _:
                # A latin-1 é.
                return f"{line}\udce9"


def possible(
    api: Api, width: int, *, key_is_safe: bool, shape_is_safe: bool
) -> list[tuple[FaultKind, int | None]]:
    """What can be wrong with a row of an API: kinds, each with the place of a field where it needs one.

    Args:
        api: whose row.
        width: how many columns its file has.
        key_is_safe: whether the row's key must be readable still.
        shape_is_safe: whether it must be whole, as a first row, which says how wide its file is.
    """
    found: list[tuple[FaultKind, int | None]] = [
        (kind, place)
        for kind, (fits, _) in _IN_FIELD.items()
        for place, of in enumerate(api.fields[:width])
        if fits(of) and not (of.key and key_is_safe)
    ]
    if not key_is_safe and not shape_is_safe:
        found += [(kind, None) for kind in FaultKind if kind not in _IN_FIELD]
    return found
