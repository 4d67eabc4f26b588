"""Bytes become numbered rows, whatever the bytes are and wherever they were cut (contract L2, L3)."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders.options import EncodingRefused, SourceOptions
from loaders.rejects import Reject
from loaders.tabular import FileRefused, read

NAMES = ("Item ID", "Price", "Start Date")

# Pieces that meet in ways that matter: line ends, marks, halves of characters, names of fields.
pieces = st.sampled_from(
    [
        b"a",
        b"\t",
        b"\n",
        b"\r",
        b"\r\n",
        b"\x00",
        b"\xff",
        b"\xc3",
        b"\xa9",
        "é€😀".encode(),
        b'"',
        b"\xef\xbb\xbf",
        b"Item ID",
        b"price",
        b"START_DATE",
        b"1\t2\t3\n",
        b"\n\n",
        b"long " * 4,
    ]
)
contents = st.lists(pieces, max_size=25).map(b"".join)


def table(
    data: bytes, *, block_bytes: int = 1 << 16, rows: int = 4096, longest: int = 60, **options: Any
) -> Any:
    """All that was read, without the batches: rows by line number, and refused rows."""
    got: list[Any] = []
    refused: list[Reject] = []
    batches = read(
        io.BytesIO(data),
        NAMES,
        SourceOptions(**options),
        block_bytes=block_bytes,
        batch_rows=rows,
        longest_line_bytes=longest,
    )
    for batch in batches:
        cells = zip(*batch.columns, strict=True)
        got += list(zip(batch.numbers, batch.texts, cells, batch.extras, strict=True))
        refused += batch.refused
    return got, sorted(refused, key=lambda r: r.line)


def rows(data: bytes, **options: Any) -> list[tuple[str, ...]]:
    return [cells for _, _, cells, _ in table(data, **options)[0]]


@given(contents, st.integers(1, 9), st.integers(1, 3), st.booleans())
def test_where_the_blocks_fall_has_no_influence(data: bytes, block: int, size: int, ragged: bool) -> None:
    try:
        whole = table(data, ragged=ragged)
    except FileRefused:
        with pytest.raises(FileRefused):
            table(data, block_bytes=block, rows=size, ragged=ragged)
        return
    assert table(data, block_bytes=block, rows=size, ragged=ragged) == whole


@given(contents)
def test_every_line_with_bytes_is_a_row_or_refused_or_the_header(data: bytes) -> None:
    try:
        got, refused = table(data)
    except FileRefused:
        return
    body = data.removeprefix(b"\xef\xbb\xbf")
    lines = body.split(b"\n")
    ended = [line.removesuffix(b"\r") for line in lines[:-1]] + lines[-1:]
    filled = {number: line for number, line in enumerate(ended, 1) if line}
    seen = [number for number, *_ in got] + [reject.line for reject in refused]
    assert len(set(seen)) == len(seen)
    missing = set(filled) - set(seen)
    assert len(missing) <= 1
    for number in missing:
        for cell in filled[number].decode().split("\t"):
            spelt = "".join(c for c in cell.lower() if c.isalnum() or not c.isascii())
            assert spelt in {"itemid", "price", "startdate"} or not cell.strip()
    for number, text, cells, extra in got:
        assert text.encode() == filled[number]
        # Wherever a header put it, each cell that says something is still there.
        kept = [*cells, *(json.loads(extra) if extra else [])]
        assert sorted(filter(None, kept)) == sorted(filter(None, text.split("\t")))


def test_lf_and_crlf_end_lines_and_a_lone_cr_is_data() -> None:
    assert rows(b"a\t1\tx\r\nb\t2\ty\nc\r\t3\tz\r\r\n") == [
        ("a", "1", "x"),
        ("b", "2", "y"),
        ("c\r", "3", "z\r"),
    ]


def test_the_last_line_needs_no_end() -> None:
    assert rows(b"a\t1\tx\nb\t2\ty") == [("a", "1", "x"), ("b", "2", "y")]


def test_quotes_are_data() -> None:
    assert rows(b'3/4" pipe\t"1\t""\n') == [('3/4" pipe', '"1', '""')]


def test_empty_lines_hold_no_row_but_count() -> None:
    assert [number for number, *_ in table(b"\n\na\t1\tx\n\r\nb\t2\ty\n")[0]] == [3, 5]


@pytest.mark.parametrize(
    "header", [b"Item ID\tPrice\tStart Date", b"item_id\tPRICE\tStartDate", b"ITEM-ID\tprice\t"]
)
def test_a_first_line_of_field_names_is_skipped(header: bytes) -> None:
    assert table(header + b"\na\t1\tx\n")[0] == [(2, "a\t1\tx", ("a", "1", "x"), None)]


def test_a_first_line_that_is_not_all_names_is_a_row() -> None:
    assert rows(b"Item ID\tPrice\tZ\n") == [("Item ID", "Price", "Z")]
    assert rows(b"\t\t\n") == [("", "", "")]


def test_a_header_in_another_order_gives_columns_by_name() -> None:
    assert rows(b"Start Date\tItem ID\nx\ta\n") == [("a", "", "x")]


def test_a_header_that_names_a_field_twice_refuses_the_file() -> None:
    with pytest.raises(FileRefused, match="`Price` twice"):
        rows(b"Item ID\tPrice\tprice\n")


def test_missing_columns_are_blank_and_surplus_ones_are_kept() -> None:
    assert rows(b"a\nb\n") == [("a", "", ""), ("b", "", "")]
    assert table(b'a\t1\tx\tsurplus\t"2"\t\nb\t2\ty\t\t\t\n')[0] == [
        (1, 'a\t1\tx\tsurplus\t"2"\t', ("a", "1", "x"), '["surplus", "\\"2\\""]'),
        (2, "b\t2\ty\t\t\t", ("b", "2", "y"), None),
    ]


def test_a_row_of_another_width_is_refused_with_its_text() -> None:
    got, refused = table(b"a\t1\tx\nb\t2\nc\t3\tz\n")
    assert [number for number, *_ in got] == [1, 3]
    assert [(r.line, r.field, r.reason, r.raw) for r in refused] == [
        (2, None, "2 columns, where 3 are expected", "b\t2")
    ]


def test_a_ragged_source_may_send_any_width() -> None:
    got, refused = table(b"a\nb\t2\ty\tmore\n", ragged=True)
    assert [cells for _, _, cells, _ in got] == [("a", "", ""), ("b", "2", "y")]
    assert [extra for *_, extra in got] == [None, '["more"]']
    assert not refused


def test_bytes_that_do_not_decode_refuse_their_line_only() -> None:
    got, refused = table(b"a\t1\tx\nb\t\xff\ty\nc\t\0\tz\nd\t4\tw\n")
    assert [number for number, *_ in got] == [1, 4]
    assert [(r.line, r.raw) for r in refused] == [(2, "b\t\\xff\ty"), (3, "c\t\\x00\tz")]


def test_a_line_without_end_is_refused_without_being_held() -> None:
    class Endless(io.BytesIO):
        """A first row, then a line of 64 MiB, then a row."""

        def __init__(self) -> None:
            super().__init__()
            self.left = [b"a\t1\tx\n", *[b"x" * (1 << 20)] * 64, b"\nb\t2\ty\n"]

        def read(self, _size: int | None = -1, /) -> bytes:
            return self.left.pop(0) if self.left else b""

    batches = list(read(Endless(), NAMES, SourceOptions()))
    assert [number for batch in batches for number in batch.numbers] == [1, 3]
    (refused,) = [reject for batch in batches for reject in batch.refused]
    assert refused.line == 2
    assert len(refused.raw) < 10_000


def test_a_byte_order_mark_is_no_data() -> None:
    assert rows(b"\xef\xbb\xbfa\t1\tx\n") == [("a", "1", "x")]


def test_another_encoding_is_taken_at_its_word() -> None:
    assert rows("é\t€\t\n".encode("cp1252"), encoding="cp1252") == [("é", "€", "")]
    assert [r.line for r in table(b"a\t\x81\t\n", encoding="cp1252")[1]] == [1]


@pytest.mark.parametrize("encoding", ["utf-16", "cp037", "no-such", "rot13", "hex"])
def test_an_encoding_without_single_byte_line_ends_is_refused(encoding: str) -> None:
    with pytest.raises(EncodingRefused, match=encoding):
        SourceOptions(encoding=encoding)
