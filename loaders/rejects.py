"""Rows that did not get in, each with where, why and what it said (contract L4)."""

from dataclasses import dataclass

_SHOWN_CHARACTERS = 60


class Refused(ValueError):
    """A text that is no value of its field; the message is the reason, a short sentence for a person."""


def shown(text: str) -> str:
    """A text as reasons quote it: in backticks, cut when long."""
    return f"`{text}`" if len(text) <= _SHOWN_CHARACTERS else f"`{text[:_SHOWN_CHARACTERS]}…`"


@dataclass(frozen=True, slots=True)
class Reject:
    """One refused row.

    `line` counts from 1, the header included; `field` is the field's name, or None where the row as a whole
    is at fault; `reason` is a short sentence for a person; `raw` is the row as it came.
    """

    line: int
    field: str | None
    reason: str
    raw: str

    def __str__(self) -> str:
        place = f"line {self.line:,}" if self.field is None else f"line {self.line:,}, {self.field}"
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Stray(Reject):
    """A refused row that is nobody's record: it is blank, or the header once more."""
