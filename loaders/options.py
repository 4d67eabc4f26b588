"""What differs by source: how its files are written (contract L2, L3)."""

import codecs
from dataclasses import dataclass

from loaders.dates import DateReader
from loaders.numbers import Notation

DATE_FORMATS = ("YYYY-MM-DD", "MM-DD-YYYY", "MM/DD/YYYY", "YYYYMMDD")
# A line's number has to fit the `line` column of every table; see `[load] max_lines`.
MOST_LINES = 2_147_483_647
DEFAULT_LINES = 10_000_000

# Structure, and what other encodings than those of plain bytes take for something else: UTF-7, HZ, ISO-2022,
# Python's escapes, domain names.
_PLAIN_BYTES = b"\t\r\n 09AZaz+AAo-~{!!~}\x1b$B!!\x1b(B\\n\\u0041.xn--mnchen-3ya."


class EncodingRefused(ValueError):
    """An encoding that is unknown, or in which ASCII characters are not single bytes that mean themselves."""


def check_encoding(encoding: str) -> None:
    """EncodingRefused unless lines and cells can be told apart before they are decoded."""
    try:
        fits = _PLAIN_BYTES.decode(encoding) == _PLAIN_BYTES.decode("ascii")
    except LookupError as error:
        raise EncodingRefused(f"`{encoding}` is not an encoding of text") from error
    except ValueError:
        fits = False
    if not fits:
        raise EncodingRefused(
            f"`{encoding}` cannot be read, as its tabs, line ends and letters are not single bytes that mean"
            " nothing else; utf-8 and the code pages can"
        )


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How the files of one source are to be read.

    `encoding` must keep ASCII as it is, as UTF-8 and the code pages do. `trim` takes blanks off both ends of
    every cell. `ragged` allows rows of any width. `date_formats` are written with YYYY, MM, DD (two digits)
    or M, D (one or two); a text that two of them read as different days is refused. Numbers have a point, or
    with `decimal_comma` a comma, and may have `thousands` (a character, or nothing) between groups of three
    digits. A file with more than `max_lines` lines is refused.

    Raises EncodingRefused, DateFormatRefused or NotationRefused, all of them ValueErrors, for what cannot be.
    """

    encoding: str = "utf-8"
    trim: bool = False
    ragged: bool = False
    date_formats: tuple[str, ...] = DATE_FORMATS
    decimal_comma: bool = False
    thousands: str = ""
    max_lines: int = DEFAULT_LINES

    def __post_init__(self) -> None:
        check_encoding(self.encoding)
        DateReader(self.date_formats)
        Notation(decimal_comma=self.decimal_comma, thousands=self.thousands)

    @property
    def codec(self) -> str:
        """The encoding's own name; the mark at a file's beginning is not the codec's affair."""
        return codecs.lookup(self.encoding).name.removesuffix("-sig")
