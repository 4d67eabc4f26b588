"""The grammar of file names: text to `FileName`, and back.

`DT_0000017_KS_ORDERS.NET` says where a file comes from, which number it has, which integration it serves,
which API specifies it, and whether it is a net change or a full refresh (contract N1). Nothing here knows
whether the API exists or whether the number is due; that is for `catalog` and `sequence`.

Two kinds of names bring no number of their own. `DT_0000017_KS_ORDERS.NET.FIX` is a fix: corrected rows of
the file that it names (contract E3). `KS_ORDERS.NET` is unsequenced: the inbox numbers such files as they
come, and shows them as `DT_U0000001_KS_ORDERS.NET` (contract N7).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

FIRST_SEQUENCE = 1
LAST_SEQUENCE = 9_999_999

# Longer names would not fit the ledger's columns, and no ERP has them.
MAX_LENGTH = 120

_PART = r"[A-Za-z0-9-]{1,30}"
_API = r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}"
_MODE = r"\.(?P<mode>NET|FULL)"
FIX_SUFFIX = ".FIX"


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


_NAME = _compiled(
    rf"(?P<source>{_PART})_(?P<sequence>[0-9]{{6,7}})_(?P<integration>{_PART})_(?P<api>{_API}){_MODE}"
)
# As the ledger shows a file whose sender does not count; no sender may claim such a name.
_GIVEN = _compiled(
    rf"(?P<source>{_PART})_U(?P<sequence>[0-9]{{6,7}})_(?:(?P<integration>{_PART})_)?(?P<api>{_API}){_MODE}"
)
# A second part of digits alone is a sequence that went wrong, one like U0000001 was given by an inbox.
_UNSEQUENCED = _compiled(
    rf"(?![^_]*_(?:[0-9]+[_.]|U[0-9]{{6,7}}_))(?:(?P<integration>{_PART})_)?(?P<api>{_API}){_MODE}"
)


class Mode(StrEnum):
    """What a file holds: the rows that changed, or the complete set (contract L6)."""

    NET = "NET"
    FULL = "FULL"


@dataclass(frozen=True, order=True)
class FileName:
    """A name that follows the grammar, in upper case (contract N3).

    `sequence` runs from 1 to 9999999 and is always shown with seven digits (contract N2). Of an unsequenced
    name it is 0 until the inbox has given it a number, and `integration` may be empty (contract N7).
    """

    source: str
    sequence: int
    integration: str
    api: str
    mode: Mode
    is_unsequenced: bool = False
    is_fix: bool = False

    def __str__(self) -> str:
        number = f"{self.stem}_" if self.sequence else ""
        return f"{number}{self.unnumbered}{FIX_SUFFIX if self.is_fix else ''}"

    @property
    def has_own_number(self) -> bool:
        """Whether its sender has numbered it, so that it takes a number (contract S2, S5)."""
        return not (self.is_fix or self.is_unsequenced)

    @property
    def stem(self) -> str:
        """Source and number, e.g. `DT_0000017`: enough to tell an operator which file is meant."""
        return f"{self.source}_{'U' if self.is_unsequenced else ''}{self.sequence:07d}"

    @property
    def unnumbered(self) -> str:
        """Without source and number, e.g. `KS_ORDERS.NET`."""
        integration = f"{self.integration}_" if self.integration else ""
        return f"{integration}{self.api}.{self.mode}"

    @property
    def mended(self) -> "FileName":
        """The file that a fix belongs to."""
        return replace(self, is_fix=False)

    @property
    def fix(self) -> "FileName":
        """The name by which corrected rows of this file come."""
        return replace(self, is_fix=True)


class NameRefused(ValueError):
    """A name outside the grammar; the message says what is wrong with it (contract N4)."""


def parse(text: str) -> FileName:
    """Read a file name as a sender may give it, whatever its case (contract N1 to N3, E3).

    Six digits are read too, as the convention's only published example has them.

    Raises:
        NameRefused: the name is outside the grammar; nothing can be said about its sequence.
    """
    name = parse_shown(text)
    if name.is_unsequenced and not name.is_fix:
        raise NameRefused(_what_is_wrong(text))
    return name


def parse_shown(text: str) -> FileName:
    """Read a file name as the inbox shows it, which may have a number that the inbox has given (N7).

    Raises:
        NameRefused: as `parse`.
    """
    is_fix = text.upper().endswith(FIX_SUFFIX)
    stem = text[: -len(FIX_SUFFIX)] if is_fix else text
    match = (_NAME.fullmatch(stem) or _GIVEN.fullmatch(stem)) if len(stem) <= MAX_LENGTH else None
    if match is None:
        raise NameRefused(_what_is_wrong(stem))
    sequence = int(match["sequence"])
    if sequence < FIRST_SEQUENCE:
        raise NameRefused("the sequence starts at 0000001")
    return FileName(
        source=match["source"].upper(),
        sequence=sequence,
        integration=(match["integration"] or "").upper(),
        api=match["api"].upper(),
        mode=Mode(match["mode"].upper()),
        is_unsequenced=match.re is _GIVEN,
        is_fix=is_fix,
    )


def parse_accepted(text: str, source: str | None, apis: Collection[str]) -> FileName:
    """Read the name of an accepted file as its receipt has it.

    Args:
        text: as sent; an operator may give a corrected copy the name that the inbox has given.
        source: of its sender, if the name has neither source nor sequence.
        apis: as for `parse_unsequenced`.

    Raises:
        NameRefused: as `parse`.
    """
    return parse_shown(text) if source is None else parse_unsequenced(text, source, apis)


def parse_unsequenced(text: str, source: str, apis: Collection[str]) -> FileName:
    """Read a name that has neither source nor sequence, e.g. `ORDERS.net` or `KS_ORDERS.full` (contract N7).

    Args:
        text: as sent.
        source: of its sender.
        apis: those that are known. `CUST_PARTS` is the API, and not `PARTS` for `CUST`, if it is one of them.

    Raises:
        NameRefused: it is no such name.
    """
    match = _UNSEQUENCED.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise NameRefused(_what_is_wrong(text))
    name = FileName(
        source=source,
        sequence=0,
        integration=(match["integration"] or "").upper(),
        api=match["api"].upper(),
        mode=Mode(match["mode"].upper()),
        is_unsequenced=True,
    )
    return split(name, apis)


def split(name: FileName, apis: Collection[str]) -> FileName:
    """An unsequenced name with integration and API told apart by the APIs that are known."""
    whole = name.unnumbered.rpartition(".")[0]
    return replace(name, integration="", api=whole) if name.is_unsequenced and whole in apis else name


def is_unsequenced(text: str) -> bool:
    """Whether a name has the form of those without source and sequence (contract N7)."""
    return len(text) <= MAX_LENGTH and _UNSEQUENCED.fullmatch(text) is not None


def is_part(text: str) -> bool:
    """Whether a text can stand for source or integration in a name (contract N1)."""
    return re.fullmatch(_PART, text, re.ASCII) is not None


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
    stem, dot, mode = text.rpartition(".")
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
