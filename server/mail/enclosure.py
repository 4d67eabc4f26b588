"""The refused rows that go with a letter, as much of them as fits. Pure text.

They are written as their sender gets them, so that what is attached can come back corrected (contract E3).
The name ends in `.txt`, so that no spreadsheet opens it by itself and takes a cell with `=` for a formula.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from loaders import corrections
from loaders.rejects import Reject
from server.wording import counted

_SAMPLE_ROWS = 5
_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Enclosure:
    """Refused rows of a file, to be attached.

    Attributes:
        file_id: whose rows they are.
        name: of the attachment.
        content: tab-delimited, in lines that end in LF.
        charset: of the content; that of the file.
        rows: how many it holds, of
        total: how many were refused.
        sample: the first of them, as place (line and field), reason, and row.
    """

    file_id: int
    name: str
    content: bytes
    charset: str
    rows: int
    total: int
    sample: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        if self.rows >= self.total:
            return f"Attached: {counted(self.rows, 'refused row')}, tab-delimited."
        return (
            f"Attached: the first {self.rows:,} of {self.total:,} refused rows, tab-delimited. More of them: "
            f"`kore-inbox rejects {self.file_id}`."
        )


def pack(
    file_id: int, name: str, rejects: Sequence[Reject], *, total: int, codec: str, limit_bytes: int
) -> Enclosure:
    """Attach refused rows of a file.

    Args:
        file_id: its id.
        name: its name.
        rejects: its refused rows, or the first of them.
        total: how many there are.
        codec: in which the file was written.
        limit_bytes: how long the attachment may be; whole rows only.
    """
    content, lines = bytearray(), 0
    for line in corrections.written(rejects):
        encoded = f"{line}\n".encode(codec, "backslashreplace")
        if len(content) + len(encoded) > limit_bytes:
            break
        content += encoded
        lines += 1
    return Enclosure(
        file_id=file_id,
        name=f"{name}.rejects.txt",
        content=bytes(content),
        charset=codec,
        # The first line is the heading.
        rows=max(0, lines - 1),
        total=max(total, len(rejects)),
        sample=tuple(map(_shown, rejects[:_SAMPLE_ROWS])),
    )


def _shown(reject: Reject) -> tuple[str, str, str]:
    place = f"line {reject.line:,}" if reject.field is None else f"line {reject.line:,}, {reject.field}"
    row = reject.raw if len(reject.raw) <= _LONGEST_SHOWN else f"{reject.raw[:_LONGEST_SHOWN]}…"
    return place, reject.reason, row
