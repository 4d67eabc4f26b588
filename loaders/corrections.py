"""Corrected rows of a file: what goes back to its sender for mending, and how it comes again (contract E3).

The text is tab-delimited: the line's number in the file, the field, the reason, and then the row as it came.
On its way back number and row count, field and reason may say anything.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from loaders.options import SourceOptions
from loaders.rejects import Reject, shown
from loaders.tabular import LONGEST_LINE_BYTES

HEADER = "line\tfield\treason\trow"
# More than anybody mends by hand; they are held in memory, good ones and others.
MOST_ROWS = 100_000

_CELLS_BEFORE = 3
_MOST_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Corrections:
    """Rows by their line in the file that they mend; `refused` are lines of the correction that say none."""

    rows: dict[int, str]
    refused: tuple[Reject, ...]

    @property
    def rows_read(self) -> int:
        """How many rows there were, good ones and others."""
        return len(self.rows) + len(self.refused)


def written(rejects: Iterable[Reject]) -> Iterator[str]:
    """Refused rows as their sender gets them, line by line, without line ends."""
    yield HEADER
    for reject in rejects:
        yield f"{reject.line}\t{reject.field or ''}\t{reject.reason}\t{reject.raw}"


def as_bytes(rejects: Iterable[Reject], codec: str) -> bytes:
    """The same as a file in the encoding of its source; what that cannot hold is written in escapes."""
    return "".join(f"{line}\n" for line in written(rejects)).encode(codec, "backslashreplace")


def read(data: BinaryIO, options: SourceOptions) -> Corrections:
    """Read corrected rows; of two for one line the later counts."""
    rows: dict[int, str] = {}
    refused: list[Reject] = []
    for number, line in enumerate(_lines(data), 1):
        raw = line.decode(options.codec, "backslashreplace").removeprefix("\ufeff").rstrip("\r\n")
        if not raw or (number == 1 and raw.lower().startswith("line\t")):
            continue
        if len(rows) + len(refused) >= MOST_ROWS:
            refused.append(Reject(number, None, f"more than {MOST_ROWS:,} corrected rows", raw))
            break
        if (reason := _mistake(line, raw, options)) is not None:
            refused.append(Reject(number, None, reason, raw.replace("\0", "\\x00")))
        else:
            place, *_, row = raw.split("\t", _CELLS_BEFORE)
            rows[int(place)] = row
    return Corrections(rows, tuple(refused))


def _lines(data: BinaryIO) -> Iterator[bytes]:
    """The lines, of those that are too long their beginning."""
    while line := data.readline(LONGEST_LINE_BYTES + 1):
        if len(line) <= LONGEST_LINE_BYTES:
            yield line
            continue
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = data.readline(LONGEST_LINE_BYTES)
        yield line


def _mistake(line: bytes, raw: str, options: SourceOptions) -> str | None:
    """Why a line holds no corrected row, if it does not."""
    if len(line) > LONGEST_LINE_BYTES:
        return f"longer than {LONGEST_LINE_BYTES:,} bytes"
    try:
        line.decode(options.codec)
    except UnicodeDecodeError:
        return f"it is not {options.codec}"
    if "\0" in raw:
        return "it holds a NUL character"
    cells = raw.split("\t", _CELLS_BEFORE)
    if not (cells[0].isascii() and cells[0].isdecimal() and len(cells[0]) <= _MOST_DIGITS):
        return f"{shown(cells[0])} is not a line's number"
    if int(cells[0]) > options.max_lines:
        return f"no file has a line {shown(cells[0])}, {options.max_lines:,} are allowed (max_lines)"
    return None if len(cells) > _CELLS_BEFORE else "number, field and reason are not followed by a row"
