"""What a sender hears: reply codes and sentences (contract A3, RFC 959 section 4.2). Pure text.

An ERP reads the code alone, a person who tests it reads the sentence: it says what is known now, the ledger
has the last word.
"""

import errno
from dataclasses import dataclass
from datetime import datetime

from server.names import FileName
from server.sequence import Scope, Verdict, Version
from server.states import State

_LONGEST_NAME = 120

# What a full disk, a quota, and a limit of file sizes say; for all else of the disk 451 is right (RFC 959).
_CODES = {errno.ENOSPC: 452, errno.EDQUOT: 452, errno.EFBIG: 552}


@dataclass(frozen=True)
class Answer:
    """A reply of one line: its code, and a sentence in printable ASCII."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"

    @property
    def accepted(self) -> bool:
        """Whether it promises that the file is in."""
        return self.code == 226


def printable(text: str) -> str:
    """Text in printable ASCII; what else it holds is escaped, so a name cannot forge a reply (X4)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if " " <= character <= "~" else character.encode("unicode_escape").decode()
        for character in text.encode("utf-8", "backslashreplace").decode()
    )


def shown(name: str) -> str:
    """A name that may be none at all, for a reply or a log line."""
    text = printable(name)
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "..."


def failure(name: str, error: OSError) -> Answer:
    """What a sender hears when the disk will not take his file (contract A2, A10)."""
    code = _CODES.get(error.errno or 0, 451)
    why = printable(error.strerror or "the disk refused it")
    return Answer(code, f"{shown(name)} not accepted: {why}. Nothing of it was kept; send it again later.")


def accepted(
    name: FileName,
    verdict: Verdict,
    due: Version,
    holder: State | None,
    scope: Scope,
    *,
    opens: datetime | None = None,
) -> str:
    """The sentence for a file that is in, as judged from the ledger and the receipts not yet registered.

    Args:
        name: of the file.
        verdict: any but `CONFLICT`.
        due: the first number of its stream that is missing.
        holder: the state of the file that had its number, if one had.
        scope: what counts together.
        opens: when its hours begin, in UTC, if it has to wait for them (contract D5).
    """
    when = "now" if opens is None else f"in its hours, which begin at {opens:%Y-%m-%d %H:%M} UTC"
    if verdict is Verdict.DUPLICATE:
        return already_received(name)
    if verdict is Verdict.REPLACEMENT:
        return f"{name} accepted; it replaces the one {_BEFORE.get(holder, 'before, which was cut short')}."
    if verdict is Verdict.TOO_EARLY:
        return f"{name} accepted; held until {_numbered(name, due, scope)} arrives."
    if verdict is Verdict.LATE:
        return f"{name} accepted late; {_numbered(name, due, scope)} is due by now. It will be loaded {when}."
    return f"{name} accepted; it is next and will be loaded {when}."


_BEFORE: dict[State | None, str] = {
    State.QUARANTINED: "in quarantine",
    State.REFUSED: "that was refused",
    State.WITHDRAWN: "that was withdrawn",
}


def fix(name: FileName) -> str:
    """For corrected rows, which need no number (contract E3)."""
    return f"{name} accepted; its rows go in with {name.mended}."


def unsequenced(name: FileName) -> str:
    """For a file whose name has no number, so that nothing can be missing before it (contract N7)."""
    return f"{name} accepted; it is numbered in the order in which it came, and will be loaded now."


def already_received(name: FileName) -> str:
    """For a repetition (contract A6)."""
    return f"{name} already received"


def quarantined(name: FileName, what: str) -> str:
    """For a file whose API or integration is unknown (contract N5)."""
    return f"{name} accepted; {what} is unknown here, so it is kept in quarantine until the catalog knows it."


def database_away(name: FileName) -> str:
    """For a file that could not be judged (contract A4)."""
    return f"{name} accepted; the database is away, it will be loaded when it is back."


def not_allowed(user: str, source: str) -> str:
    """Why a file is refused that its sender has no right to send (contract A9)."""
    return f"{user} may not push files of {source}"


def conflict(name: FileName, holder: str) -> str:
    """Why a file is refused whose number belongs to another (contract A7)."""
    if holder == str(name):
        return f"{name.stem} was received before with other content; the first one stays"
    return f"the number {name.sequence:07d} belongs to {holder}, which stays"


def _numbered(name: FileName, version: Version, scope: Scope) -> str:
    """A missing number as an operator knows it: with as much of the name as its stream has."""
    parts = {
        Scope.SOURCE: (),
        Scope.INTEGRATION: (name.integration,),
        Scope.API: (name.integration, name.api),
    }
    return "_".join((name.source, f"{version.sequence:07d}", *parts[scope]))
