"""Values that tell records apart, or that are only a few."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from loaders.shapes import Field, FieldType
from server.simulator.vocabulary import POOLS, first


def pool_of(of: Field) -> Sequence[str] | None:
    """The few values that a field may have, if it is such a field; a blank only where it is optional."""
    if of.codes:
        return tuple(of.codes)
    if of.type is not FieldType.STRING:
        return None
    found = first(POOLS, of.name)
    if found is None:
        return None
    return list(dict.fromkeys(text[: of.length] for text in found if text or not of.required))


@dataclass(frozen=True, slots=True)
class Counter:
    """Values for a key field that are all different.

    Attributes:
        field: which.
        number: the format of texts; by default one made from the field's name.
        known: the first texts.
        first_day: from which days are counted backwards.
        date_format: for `strftime`.
    """

    field: Field
    number: str
    known: Sequence[str]
    first_day: date
    date_format: str

    def text(self, index: int) -> str:
        """The value for a record, which are counted from 0 on, up to the field's `capacity`."""
        match self.field.type:
            case FieldType.STRING:
                length = self.field.length or 1
                if index < len(self.known) and len(self.known[index]) <= length:
                    return self.known[index]
                text = (self.number or _numbered(self.field.name)).format(index + 1)
                return text if len(text) <= length else _in_letters(index, length)
            case FieldType.DATE | FieldType.DATETIME:
                return (self.first_day - timedelta(index)).strftime(self.date_format)
            case _:
                return str(index + 1)


def capacity(of: Field) -> int:
    """How many values a `Counter` has for a field."""
    if of.type is FieldType.STRING:
        return int(36 ** min(of.length or 1, 12))
    if of.type is FieldType.INTEGER:
        return int(256 ** (of.length or 4)) // 2 - 1
    if of.type in {FieldType.DECIMAL, FieldType.MONEY}:
        return int(10 ** ((of.precision or 1) - (of.scale or 0))) - 1
    # Days are counted backwards from the first, to years that still have four digits.
    return 300_000


def _numbered(name: str) -> str:
    """A format for numbers, made of the initials of a field's name."""
    return "".join(word[0] for word in re.findall("[A-Za-z0-9]+", name)) + "{:05}"


def _in_letters(index: int, length: int) -> str:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    text = ""
    for _ in range(length):
        index, digit = divmod(index, 36)
        text = digits[digit] + text
    return text
