"""The grammar of file names: text to `FileName`, and back.

`DT_0000017_KS_ORDERS.NET` says where a file comes from, which number it has, which integration it serves,
which API specifies it, and whether it is a net change or a full refresh (contract N1). Nothing here knows
whether the API exists or whether the number is due; that is for `catalog` and `sequence`.

`DT_0000017_KS_ORDERS.NET.FIX` has corrected rows of the file that it names, and no number of its own (E3).
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

FIRST_SEQUENCE = 1
LAST_SEQUENCE = 9_999_999

# Longer names would not fit the ledger's columns, and no ERP has them.
MAX_LENGTH = 120

_PART = r"[A-Za-z0-9-]{1,30}"
_NAME = re.compile(
    rf"(?P<source>{_PART})_(?P<sequence>[0-9]{{6,7}})_(?P<integration>{_PART})"
    r"_(?P<api>[A-Za-z0-9][A-Za-z0-9_-]{0,39})\.(?P<mode>NET|FULL)(?P<fix>\.FIX)?",
    re.IGNORECASE | re.ASCII,
)


class Mode(StrEnum):
    """What a file holds: the rows that changed, or the complete set (contract L6)."""

    NET = "NET"
    FULL = "FULL"


@dataclass(frozen=True, order=True)
class FileName:
    """A name that follows the grammar, in upper case (contract N3).

    `sequence` runs from 1 to 9999999 and is always shown with seven digits (contract N2).
    """

    source: str
    sequence: int
    integration: str
    api: str
    mode: Mode
    is_fix: bool = False

    def __str__(self) -> str:
        return f"{self.stem}_{self.integration}_{self.api}.{self.mode}{'.FIX' if self.is_fix else ''}"

    @property
    def stem(self) -> str:
        """Source and number, e.g. `DT_0000017`: enough to tell an operator which file is meant."""
        return f"{self.source}_{self.sequence:07d}"

    @property
    def fix(self) -> "FileName":
        """The name under which corrected rows of this file come."""
        return replace(self, is_fix=True)

    @property
    def mended(self) -> "FileName":
        """The file whose rows a fix corrects."""
        return replace(self, is_fix=False)


class NameRefused(ValueError):
    """A name outside the grammar; the message says what is wrong with it (contract N4)."""


def parse(text: str) -> FileName:
    """Read a file name, whatever its case (contract N1 to N3).

    Six digits are read too, as the convention's only published example has them.

    Raises:
        NameRefused: the name is outside the grammar; nothing can be said about its sequence.
    """
    match = _NAME.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise NameRefused(_what_is_wrong(text))
    sequence = int(match["sequence"])
    if sequence < FIRST_SEQUENCE:
        raise NameRefused("the sequence starts at 0000001")
    return FileName(
        source=match["source"].upper(),
        sequence=sequence,
        integration=match["integration"].upper(),
        api=match["api"].upper(),
        mode=Mode(match["mode"].upper()),
        is_fix=match["fix"] is not None,
    )


def is_temporary(text: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a name is only staging, to be renamed when its upload is complete (contract N6).

    Args:
        text: the name as sent.
        suffixes: endings in lower case with their dot, e.g. `(".tmp", ".part")`.
    """
    return text.lower().endswith(suffixes)


def _what_is_wrong(text: str) -> str:
    if len(text) > MAX_LENGTH:
        return f"the name has {len(text)} characters, {MAX_LENGTH} are allowed"
    stem, dot, mode = text.removesuffix(".fix").removesuffix(".FIX").rpartition(".")
    if not dot or mode.upper() not in Mode.__members__:
        return "the name must end in .NET or .FULL"
    parts = stem.split("_", 3)
    if len(parts) < 4:
        return (
            "the name must have the form SOURCE_SEQUENCE_INTEGRATION_API.MODE, e.g. DT_0000017_KS_ORDERS.NET"
        )
    if not re.fullmatch(r"[0-9]{6,7}", parts[1], re.ASCII):
        return "the sequence must have seven digits, e.g. 0000017"
    return "source, integration and API may hold ASCII letters, digits and - only (the API also _)"
