"""Numbers: a text in the notation of its source becomes exactly that number (contract L3).

Notations differ in the decimal mark, and in what may stand between groups of three digits. A text that the
notation does not allow is refused, also where another notation would make sense of it: `12,34` is neither
1234 nor 12.34 by guess. Nothing is rounded, and no number is cut to what a column holds.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from loaders.rejects import Refused, shown

_SMALLEST_NORMAL_FLOAT = 2.2250738585072014e-308


class NotationRefused(ValueError):
    """A way to write numbers in which a text could mean two of them."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A number as written: sign, digits before and after the decimal mark, exponent (`e-3`, or nothing)."""

    negative: bool
    whole: str
    decimals: str
    exponent: str


class Notation:
    """How a source writes numbers: with a decimal point or comma, and perhaps a separator of thousands."""

    def __init__(self, *, decimal_comma: bool = False, thousands: str = "") -> None:
        """NotationRefused if the separator is not one character, or means something else in a number."""
        self.mark = "," if decimal_comma else "."
        self._thousands = thousands
        if thousands == self.mark:
            raise NotationRefused(f"`{thousands}` cannot separate thousands: it is the decimal mark")
        if thousands and not _can_separate(thousands):
            raise NotationRefused(
                f"{thousands!r} cannot separate thousands; it has to be one of , . ' _ or a blank"
            )
        # What begins with a zero, as 0,123 does, is more likely a decimal comma than a group of thousands.
        grouped = rf"[1-9][0-9]{{0,2}}(?:{re.escape(thousands)}[0-9]{{3}})+|" if thousands else ""
        self._pattern = re.compile(
            rf"([+-]?)({grouped}[0-9]*)(?:{re.escape(self.mark)}([0-9]*))?([eE][+-]?[0-9]+)?"
        )
        # Who expects another notation is told this one; the usual one needs no telling.
        self._such_as = f" such as 1{thousands}234{self.mark}50" if decimal_comma or thousands else ""

    def parts(self, text: str) -> Parts:
        """The parts of a number; Refused if the text is none in this notation."""
        match = self._pattern.fullmatch(text)
        if match is None or not (match[2] or match[3]):
            raise self.refused(text)
        whole = match[2].replace(self._thousands, "") if self._thousands else match[2]
        return Parts(match[1] == "-", whole, match[3] or "", match[4] or "")

    def refused(self, text: str) -> Refused:
        """That a text is no number."""
        return Refused(f"{shown(text)} is not a number{self._such_as}")


def _can_separate(text: str) -> bool:
    return len(text) == 1 and text in _SEPARATORS


# The last two are blanks that do not break a line, as French has them.
_SEPARATORS = ",.'’_ \u00a0\u202f"

PLAIN = Notation()


def integer(length: int, notation: Notation = PLAIN) -> Callable[[str], int]:
    """A reader of whole numbers of so many bytes; decimals are allowed as long as they are zeros."""
    smallest, largest = -(1 << (8 * length - 1)), (1 << (8 * length - 1)) - 1
    digits = len(str(largest))

    def read(text: str) -> int:
        # Nearly all numbers are a few digits, and columns of numbers repeat little: this is a hot path.
        if len(text) < digits and text.isdecimal() and text.isascii():
            return int(text)
        parts = notation.parts(text)
        if parts.exponent:
            raise notation.refused(text)
        if parts.decimals.strip("0"):
            raise Refused(f"{shown(text)} is not a whole number")
        whole = parts.whole.lstrip("0")
        # Counted before converting: Python refuses, and is slow at, numbers of thousands of digits.
        value = int(whole or "0") * (-1 if parts.negative else 1) if len(whole) <= digits else largest + 1
        if smallest <= value <= largest:
            return value
        raise Refused(f"{shown(text)} is not between {smallest:,} and {largest:,}")

    return read


def decimal(precision: int, scale: int, notation: Notation = PLAIN) -> Callable[[str], str]:
    """A reader of decimals, which gives them as texts with all their decimals and a point: `12.5000`."""
    places = precision - scale
    plain = (
        re.compile(rf"(?:0|[1-9][0-9]{{0,{places - 1}}}){re.escape(notation.mark)}([0-9]{{1,{scale}}})")
        if places and scale
        else None
    )
    zeros = "0" * scale
    has_point = notation.mark == "."

    def read(text: str) -> str:
        # A hot path, as above: amounts that lack nothing but zeros at their end.
        if plain is not None and (match := plain.fullmatch(text)) is not None:
            filled = text + zeros[match.end() - match.start(1) :]
            return filled if has_point else filled.replace(notation.mark, ".")
        parts = notation.parts(text)
        if parts.exponent:
            raise notation.refused(text)
        whole, decimals = parts.whole.lstrip("0"), parts.decimals.rstrip("0")
        if len(decimals) > scale:
            raise Refused(f"{shown(text)} has {len(decimals)} decimals, {scale} allowed")
        if len(whole) > places:
            raise Refused(f"{shown(text)} has {len(whole)} digits before the decimal mark, {places} allowed")
        sign = "-" if parts.negative and (whole or decimals) else ""
        return f"{sign}{whole or 0}.{decimals:0<{scale}}" if scale else f"{sign}{whole or 0}"

    return read


def floating(notation: Notation = PLAIN) -> Callable[[str], float]:
    """A reader of finite numbers with floating point, as both databases keep them."""

    def read(text: str) -> float:
        parts = notation.parts(text)
        sign = "-" if parts.negative else ""
        value = float(f"{sign}{parts.whole or 0}.{parts.decimals or 0}{parts.exponent}")
        # Numbers next to zero lose digits, or vanish, in one database and not in the other.
        vanishing = abs(value) < _SMALLEST_NORMAL_FLOAT and (parts.whole + parts.decimals).strip("0")
        if not math.isfinite(value) or vanishing:
            raise Refused(f"{shown(text)} is too large or too small for a number with floating point")
        # Databases disagree on whether a zero has a sign; this one has none.
        return value + 0.0

    return read
