"""Bytes to batches of numbered rows (contract L2, L3): the shape of a file, not yet its values.

A file is tab-delimited without quoting; a line ends with LF or CRLF, and a lone CR is data. Wholly empty
lines hold no row, but they count as lines. The first row may be a header, which can name the fields in any
order. What has no readable shape (bytes that do not decode, NUL, another width, an endless line) is a refused
row, and the rows around it are read as if it were not there.

Reading is by blocks, so memory is bounded by the block and the longest line allowed, whatever the file is.
"""

import codecs
import json
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import BinaryIO

from loaders.options import SourceOptions
from loaders.rejects import Reject

BLOCK_BYTES = 256 * 1024
LONGEST_LINE_BYTES = 1024 * 1024
# Enough rows for the work per batch to vanish, few enough for their values to stay in the processor's caches.
BATCH_ROWS = 4096
# What is kept of a line that is too long to be a row.
_HEAD_BYTES = 4096
_BOM = b"\xef\xbb\xbf"
_PUNCTUATION = re.compile(rf"[\s{re.escape(string.punctuation)}]")


class FileRefused(ValueError):
    """The file as a whole cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive rows of a file, column by column.

    `columns` has one sequence of texts for each field of the API, in its order; a column that the file does
    not have is blank. `extras` has, by row, what the file holds beyond the API's fields, as a JSON list, or
    None. `numbers` are line numbers, from 1; `texts` the rows as they came.
    """

    numbers: Sequence[int]
    texts: Sequence[str]
    columns: Sequence[Sequence[str]]
    extras: Sequence[str | None]
    refused: Sequence[Reject]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a file keeps the fields: by ordinal, or where a header says (`places`, by field)."""

    width: int
    is_header: bool
    places: Mapping[int, int] | None

    @classmethod
    def of(cls, first: str, names: Sequence[str]) -> "Layout":
        """Read the layout from the first row; FileRefused if it is a header that names a field twice."""
        cells = first.split("\t")
        known = {_bare(name): i for i, name in enumerate(names)}
        named = {position: _bare(cell) for position, cell in enumerate(cells) if cell.strip()}
        if not named or not all(bare in known for bare in named.values()):
            return cls(len(cells), is_header=False, places=None)
        places: dict[int, int] = {}
        for position, bare in named.items():
            if places.setdefault(known[bare], position) != position:
                raise FileRefused(f"the header names `{names[known[bare]]}` twice")
        in_order = all(place == position for place, position in places.items())
        return cls(len(cells), is_header=True, places=None if in_order else places)

    def positions(self, fields: int, width: int) -> list[int | None]:
        """By field, its position in rows of `width` cells; None where they do not have it."""
        places = [i if self.places is None else self.places.get(i) for i in range(fields)]
        return [place if place is not None and place < width else None for place in places]


def _bare(name: str) -> str:
    """A field's name without case and punctuation, as headers are compared."""
    return _PUNCTUATION.sub("", name.lower())


@dataclass(slots=True)
class _Lines:
    """Consecutive lines: those with a text, and those refused before they had one."""

    numbers: Sequence[int]
    texts: list[str]
    refused: list[Reject] = field(default_factory=list)


def read(
    data: BinaryIO,
    names: Sequence[str],
    options: SourceOptions,
    *,
    block_bytes: int = BLOCK_BYTES,
    longest_line_bytes: int = LONGEST_LINE_BYTES,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[Batch]:
    """Yield the rows of `data` in batches; `names` are the API's field names in order.

    Where the blocks fall has no influence on what is read. Raises FileRefused for a header that names a field
    twice.
    """
    layout: Layout | None = None
    for lines in _lines(data, options.encoding, block_bytes, longest_line_bytes):
        numbers, texts = lines.numbers, lines.texts
        if layout is None and texts:
            layout = Layout.of(texts[0], names)
            if layout.is_header:
                numbers, texts = numbers[1:], texts[1:]
        if lines.refused:
            yield Batch((), (), [()] * len(names), (), lines.refused)
        if layout is None:
            continue
        for start in range(0, len(texts), batch_rows):
            stop = start + batch_rows
            yield _batch(numbers[start:stop], texts[start:stop], layout, len(names), options.ragged)


def _batch(numbers: Sequence[int], texts: list[str], layout: Layout, fields: int, ragged: bool) -> Batch:
    rows = [text.split("\t") for text in texts]
    widths = set(map(len, rows))
    width = layout.width
    refused: list[Reject] = []
    if widths != {width}:
        if ragged:
            width = max(width, *widths)
            for row in rows:
                row.extend([""] * (width - len(row)))
        else:
            refused = [
                Reject(number, None, f"{_cells(len(row))}, where {width} are expected", text)
                for number, text, row in zip(numbers, texts, rows, strict=True)
                if len(row) != width
            ]
            fit = [i for i, row in enumerate(rows) if len(row) == width]
            numbers, texts, rows = [numbers[i] for i in fit], [texts[i] for i in fit], [rows[i] for i in fit]
    held: list[Sequence[str]] = list(zip(*rows, strict=True)) if rows else [()] * width
    blank = ("",) * len(rows)
    positions = layout.positions(fields, width)
    columns = [blank if position is None else held[position] for position in positions]
    surplus = [held[i] for i in range(width) if i not in positions]
    return Batch(numbers, texts, columns, _extras(surplus, len(rows)), refused)


def _cells(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _extras(surplus: list[Sequence[str]], rows: int) -> Sequence[str | None]:
    """By row, the surplus cells as a JSON list without the blanks at its end; None if all are blank."""
    if not surplus:
        return (None,) * rows
    extras: list[str | None] = []
    for cells in zip(*surplus, strict=True):
        filled = max((i for i, cell in enumerate(cells, 1) if cell), default=0)
        extras.append(json.dumps(cells[:filled], ensure_ascii=False) if filled else None)
    return extras


def _chunks(blocks: Iterable[bytes], longest: int) -> Iterator[tuple[bytes, bool]]:
    """Yield whole lines, many at a time, or the head of one line that is too long (True)."""
    held, overlong = b"", False
    for read_block in blocks:
        block = read_block
        if overlong:
            _, found, block = block.partition(b"\n")
            if not found:
                continue
            yield held, True
            held, overlong = b"", False
        body, found, tail = block.rpartition(b"\n")
        if found:
            yield held + body + found, False
            held = tail
        else:
            held += tail
        if len(held) > longest:
            held, overlong = _head(held, longest), True
    if held:
        yield held, overlong


def _head(line: bytes, longest: int) -> bytes:
    return line[: min(_HEAD_BYTES, longest)]


def _lines(data: BinaryIO, encoding: str, block_bytes: int, longest: int) -> Iterator[_Lines]:
    """Yield the lines that are not empty, decoded and numbered."""
    start = data.read(len(_BOM))
    if start == _BOM and codecs.lookup(encoding).name in {"utf-8", "utf-8-sig"}:
        start = b""
    blocks = chain([start], iter(lambda: data.read(block_bytes), b""))
    first = 1
    for chunk, overlong in _chunks(blocks, longest):
        if overlong:
            yield _Lines((), [], [_too_long(first, chunk, encoding, longest)])
        else:
            lines = _decoded(chunk, encoding, first) if len(chunk) <= longest else None
            yield lines or _careful(chunk, encoding, first, longest)
        first += chunk.count(b"\n") or 1


def _decoded(body: bytes, encoding: str, first: int) -> _Lines | None:
    """All lines at once, which is what nearly every chunk allows; None if one of them has to be refused."""
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    texts = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if "" not in texts:
        return _Lines(range(first, first + len(texts)), texts)
    filled = [i for i, line in enumerate(texts) if line]
    return _Lines([first + i for i in filled], [texts[i] for i in filled])


def _careful(body: bytes, encoding: str, first: int, longest: int) -> _Lines:
    """Line by line, refusing those that have no readable text."""
    numbers: list[int] = []
    texts: list[str] = []
    refused: list[Reject] = []
    unended = first + body.count(b"\n")
    for number, line in enumerate(body.removesuffix(b"\n").split(b"\n"), first):
        if len(line) > longest:
            refused.append(_too_long(number, _head(line, longest), encoding, longest))
            continue
        ended = line.removesuffix(b"\r") if number < unended else line
        raw = ended.decode(encoding, "backslashreplace").replace("\0", "\\x00")
        try:
            text = ended.decode(encoding)
        except UnicodeDecodeError as error:
            refused.append(Reject(number, None, f"byte {error.start + 1:,} is not {encoding}", raw))
            continue
        if "\0" in text:
            refused.append(Reject(number, None, "it holds a NUL character", raw))
        elif text:
            numbers.append(number)
            texts.append(text)
    return _Lines(numbers, texts, refused)


def _too_long(number: int, head: bytes, encoding: str, longest: int) -> Reject:
    raw = head.decode(encoding, "backslashreplace").replace("\0", "\\x00")
    return Reject(number, None, f"longer than {longest:,} bytes; only its beginning is kept", raw)
