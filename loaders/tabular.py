"""Bytes to batches of numbered rows (contract L2, L3): the shape of a file, not yet its values.

A file is tab-delimited without quoting; a line ends with LF or CRLF, and a CR elsewhere is data. Wholly empty
lines hold no row, but they count as lines. The first row may be a header, which can name the fields in any
order. What has no readable shape (bytes that do not decode, NUL, another width, an endless line) is a refused
row, and the rows around it are read as if it were not there. A file that is written in another way altogether
is refused as a whole.

Reading is by blocks, so memory is bounded by the block and the longest line allowed, whatever the file is.
"""

import json
import re
import string
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import BinaryIO

from loaders.options import SourceOptions
from loaders.rejects import Reject, Stray

BLOCK_BYTES = 256 * 1024
LONGEST_LINE_BYTES = 1024 * 1024
# More than any API has fields.
MOST_COLUMNS = 1000
# Enough rows for the work per batch to vanish, few enough for their values to stay in the processor's caches.
BATCH_ROWS = 4096
# What is looked at to see how a file is written.
_BEGINNING_BYTES = 64 * 1024
# What is kept of a line that is too long to be a row.
_HEAD_BYTES = 4096
# Byte order marks, with which a file says itself how it is written; the longer ones first.
_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
# Rows of which one can see that they are nobody's.
_BLANK = "every cell is blank"
_AGAIN = "it is the header once more"
_STRAY = (_BLANK, _AGAIN)
_PUNCTUATION = re.compile(rf"[\s{re.escape(string.punctuation)}]")


class FileRefused(ValueError):
    """The file as a whole cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive rows of a file, column by column.

    `columns` has one sequence of texts for each field of the API, in its order; a column that the file does
    not have is blank. `extras` has, by row, what the file holds beyond the API's fields, as a JSON list, or
    None. `numbers` are line numbers, from 1; `texts` the rows as they came. `layout` is the file's, if one of
    its rows has shown it by now.
    """

    numbers: Sequence[int]
    texts: Sequence[str]
    columns: Sequence[Sequence[str]]
    extras: Sequence[str | None]
    refused: Sequence[Reject]
    layout: "Layout | None" = None

    def __len__(self) -> int:
        return len(self.numbers) + len(self.refused)

    def only(self, lines: Collection[int]) -> "Batch":
        """Those of its rows that stand in some lines of the file."""
        places = [i for i, number in enumerate(self.numbers) if number in lines]
        return Batch(
            numbers=[self.numbers[i] for i in places],
            texts=[self.texts[i] for i in places],
            columns=[[column[i] for i in places] for column in self.columns],
            extras=[self.extras[i] for i in places],
            refused=[reject for reject in self.refused if reject.line in lines],
            layout=self.layout,
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a file keeps the fields: by ordinal, or where its `header` says (`places`, by field)."""

    width: int
    header: str | None
    places: Mapping[int, int] | None

    @classmethod
    def of(cls, first: str, names: Sequence[str]) -> "Layout":
        """What the first row shows; FileRefused if it names a field twice, or has too many columns."""
        cells = first.split("\t")
        if len(cells) > MOST_COLUMNS:
            raise FileRefused(f"its first row has {len(cells):,} columns, {MOST_COLUMNS:,} are allowed")
        known = {_bare(name): i for i, name in enumerate(names)}
        named = {position: _bare(cell) for position, cell in enumerate(cells) if cell.strip()}
        if not named or not all(bare in known for bare in named.values()):
            return cls(len(cells), header=None, places=None)
        places: dict[int, int] = {}
        for position, bare in named.items():
            if places.setdefault(known[bare], position) != position:
                raise FileRefused(f"its header names `{names[known[bare]]}` twice")
        in_order = all(place == position for place, position in places.items())
        return cls(len(cells), header=first, places=None if in_order else places)

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

    Where the blocks fall has no influence on what is read, and refused rows come where they stand. Raises
    FileRefused for a file that is written in another way altogether, has too many lines or columns, or whose
    header names a field twice.
    """
    layout: Layout | None = None
    for lines in _lines(data, options, block_bytes, longest_line_bytes):
        numbers, texts, refused = lines.numbers, lines.texts, lines.refused
        if layout is None:
            if not texts:
                yield Batch((), (), [()] * len(names), (), refused)
                continue
            layout = Layout.of(texts[0], names)
            if layout.header is not None:
                numbers, texts = numbers[1:], texts[1:]
        for start in range(0, len(texts) or 1, batch_rows):
            stop = start + batch_rows
            # Refused lines come where they stand: before the rows of the next batch.
            here = (
                [reject for reject in refused if reject.line < numbers[stop]]
                if stop < len(texts)
                else refused
            )
            refused = refused[len(here) :]
            yield taken_apart(
                numbers[start:stop], texts[start:stop], here, layout, fields=len(names), ragged=options.ragged
            )


def taken_apart(
    numbers: Sequence[int],
    texts: Sequence[str],
    refused: Sequence[Reject],
    layout: Layout,
    *,
    fields: int,
    ragged: bool,
) -> Batch:
    """Rows of a file whose layout is known, column by column; `refused` are others of the same place."""
    rows = [text.split("\t") for text in texts]
    if reasons := _misshapen(texts, rows, layout, ragged):
        misshapen = [
            (Stray if reason in _STRAY else Reject)(numbers[i], None, reason, texts[i])
            for i, reason in reasons.items()
        ]
        refused = sorted([*refused, *misshapen], key=lambda reject: reject.line)
        fit = [i for i in range(len(rows)) if i not in reasons]
        numbers, texts, rows = [numbers[i] for i in fit], [texts[i] for i in fit], [rows[i] for i in fit]
    width = layout.width
    if ragged:
        width = max(map(len, rows), default=0)
        for row in rows:
            row.extend([""] * (width - len(row)))
    held: list[Sequence[str]] = list(zip(*rows, strict=True)) if rows else [()] * width
    blank = ("",) * len(rows)
    positions = layout.positions(fields, width)
    columns = [blank if position is None else held[position] for position in positions]
    surplus = [held[i] for i in range(width) if i not in positions]
    return Batch(numbers, texts, columns, _extras(surplus, len(rows)), refused, layout)


def _misshapen(
    texts: Sequence[str], rows: Sequence[Sequence[str]], layout: Layout, ragged: bool
) -> dict[int, str]:
    """By position, why a row cannot be one of its file, whatever its values are."""
    reasons: dict[int, str] = {}
    if ragged:
        over = f"{MOST_COLUMNS:,} are allowed"
        reasons = {i: f"{_cells(len(row))}, {over}" for i, row in enumerate(rows) if len(row) > MOST_COLUMNS}
    elif set(map(len, rows)) - {layout.width}:
        other = f"where {layout.width} are expected"
        reasons = {
            i: f"{_cells(len(row))}, {other}" for i, row in enumerate(rows) if len(row) != layout.width
        }
    # A blank row begins with a tab or a blank, and so sorts before all that begin with something readable.
    if min(texts, default="!") < "!":
        reasons |= {i: _BLANK for i, text in enumerate(texts) if not text.strip("\t ")}
    if layout.header is not None and layout.header in texts:
        reasons |= {i: _AGAIN for i, text in enumerate(texts) if text == layout.header}
    return reasons


def _cells(count: int) -> str:
    return "1 column" if count == 1 else f"{count:,} columns"


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
        # The last line needs no end; half of one, a CR, is made whole.
        yield held if overlong else held + b"\n", overlong


def _head(line: bytes, longest: int) -> bytes:
    return line[: min(_HEAD_BYTES, longest)]


def _beginning(data: BinaryIO, codec: str) -> bytes:
    """The first bytes without a mark of UTF-8; FileRefused if they show that the rest cannot be read."""
    start = b""
    while len(start) < _BEGINNING_BYTES and (more := data.read(_BEGINNING_BYTES - len(start))):
        start += more
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            if encoding != codec:
                raise FileRefused(f"it is written in {encoding}, and {codec} is expected of its source")
            start = start.removeprefix(mark)
            break
    if b"\n" not in start and b"\r" in start[:-1]:
        # One endless line, or lines that end in CR: whichever it is, a guess could tear a row apart.
        raise FileRefused("its lines end in CR alone, LF or CRLF is needed")
    return start


def _lines(data: BinaryIO, options: SourceOptions, block_bytes: int, longest: int) -> Iterator[_Lines]:
    """Yield the lines that are not empty, decoded and numbered."""
    codec = options.codec
    start = _beginning(data, codec)
    begun = (start[i : i + block_bytes] for i in range(0, len(start), block_bytes))
    first = 1
    for chunk, overlong in _chunks(chain(begun, iter(lambda: data.read(block_bytes), b"")), longest):
        following = first + (1 if overlong else chunk.count(b"\n"))
        if following - 1 > options.max_lines:
            raise FileRefused(f"it has more than {options.max_lines:,} lines (max_lines)")
        if overlong:
            yield _Lines((), [], [_too_long(first, chunk, codec, longest)])
        else:
            lines = _decoded(chunk, codec, first) if len(chunk) <= longest else None
            yield lines or _careful(chunk, codec, first, longest)
        first = following


def _decoded(body: bytes, encoding: str, first: int) -> _Lines | None:
    """All lines at once, which is what nearly every chunk allows; None if one of them has to be refused."""
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    texts = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if all(texts):
        return _Lines(range(first, first + len(texts)), texts)
    filled = [i for i, line in enumerate(texts) if line]
    return _Lines([first + i for i in filled], [texts[i] for i in filled])


def _careful(body: bytes, encoding: str, first: int, longest: int) -> _Lines:
    """Line by line, refusing those that have no readable text."""
    numbers: list[int] = []
    texts: list[str] = []
    refused: list[Reject] = []
    for number, line in enumerate(body.removesuffix(b"\n").split(b"\n"), first):
        if len(line) > longest:
            refused.append(_too_long(number, _head(line, longest), encoding, longest))
            continue
        ended = line.removesuffix(b"\r")
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
