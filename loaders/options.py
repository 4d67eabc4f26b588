"""What differs by source: how its files are written (contract L2, L3)."""

from dataclasses import dataclass

DATE_FORMATS = ("YYYY-MM-DD", "MM-DD-YYYY", "MM/DD/YYYY", "YYYYMMDD")

_STRUCTURE = "\t\r\n 09AZaz"


class EncodingRefused(ValueError):
    """An encoding that is unknown, or in which tabs and line ends are not single ASCII bytes."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How the files of one source are to be read.

    `encoding` must hold tabs and line ends as single ASCII bytes, as UTF-8 and the Windows code pages do
    (EncodingRefused if not). `trim` takes blanks off both ends of every cell. `ragged` allows rows of any
    width. `date_formats` are written with YYYY, MM, DD (two digits) or M, D (one or two); a text that two of
    them read as different days is refused.
    """

    encoding: str = "utf-8"
    trim: bool = False
    ragged: bool = False
    date_formats: tuple[str, ...] = DATE_FORMATS

    def __post_init__(self) -> None:
        try:
            fits = _STRUCTURE.encode(self.encoding) == _STRUCTURE.encode("ascii")
        except (LookupError, UnicodeError) as error:
            raise EncodingRefused(f"`{self.encoding}` is not an encoding of text") from error
        if not fits:
            raise EncodingRefused(f"`{self.encoding}` does not keep tabs and line ends as single bytes")
