"""Bytes become numbered rows, whatever the bytes are and wherever they were cut (contract L2, L3)."""

import contextlib
import io
import itertools
import json
from encodings.aliases import aliases
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
        b"\t\t\n",
        b"\xff\xfe",
        "\u0085\u2028\ufeff\ufffe".encode(),
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
    body = data.removeprefix(b"\xef\xbb\xbf")
    lines = [line.removesuffix(b"\r") for line in body.split(b"\n")]
    is_cr_alone = len(lines) == 1 and b"\r" in lines[0]
    is_marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        got, refused = table(data)
    except FileRefused as error:
        told = str(error)
    else:
        told = ""
    assert (is_cr_alone or is_marked) == (bool(told) and "twice" not in told)
    if told:
        return
    filled = {number: line for number, line in enumerate(lines, 1) if line}
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


@pytest.mark.parametrize("end", [b"", b"\r", b"\n", b"\r\n"])
def test_the_last_line_needs_no_end_and_may_have_half_of_one(end: bytes) -> None:
    assert rows(b"a\t1\tx\r\nb\t2\ty" + end) == [("a", "1", "x"), ("b", "2", "y")]
    assert rows(b"a\t1\tx\r\nb\t2\ty\rz" + end)[-1] == ("b", "2", "y\rz")


def test_of_two_crs_at_the_end_one_is_data() -> None:
    assert rows(b"a\t1\tx\r\r\nb\t2\ty\r\r") == [("a", "1", "x\r"), ("b", "2", "y\r")]


@pytest.mark.parametrize("data", [b"a\t1\tx\rb\t2\ty\r", b"a\t1\r\tx", b"\r\ra", b"\xef\xbb\xbfa\rb"])
def test_lines_that_end_in_cr_alone_refuse_the_file(data: bytes) -> None:
    with pytest.raises(FileRefused, match="CR alone"):
        rows(data)


def test_whether_lines_end_in_cr_alone_shows_in_the_first_64_kib() -> None:
    beginning = b"a\r" + b"x" * (64 * 1024 - 2)
    with pytest.raises(FileRefused, match="CR alone"):
        table(beginning + b"\n", longest=1 << 20)
    (row,) = table(beginning[:-1] + b"\n", longest=1 << 20)[0]
    assert row[2] == (beginning[:-1].decode(), "", "")
    # The CR at the very end of what is looked at may belong to a CRLF.
    (row,) = table(b"x" * (64 * 1024 - 1) + b"\r\n", longest=1 << 20)[0]
    assert row[2] == ("x" * (64 * 1024 - 1), "", "")


@pytest.mark.parametrize(
    "mark", ["\v", "\f", "\x1a", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\ufeff", "\ufffe"]
)
def test_what_other_programs_take_for_a_line_end_is_data(mark: str) -> None:
    assert rows(f"a{mark}b\t{mark}\tx\nb\t2\t{mark}".encode()) == [(f"a{mark}b", mark, "x"), ("b", "2", mark)]


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


@pytest.mark.parametrize("blank", [b"\t\t", b" \t\t   ", b"  "])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_row_of_blanks_says_nothing_and_is_refused(blank: bytes, ragged: bool) -> None:
    got, refused = table(b"a\t1\tx\n" + blank + b"\n\t2\ty\n", ragged=ragged)
    assert [number for number, *_ in got] == [1, 3]
    assert [(r.line, r.field, r.reason) for r in refused] == [(2, None, "every cell is blank")]


def test_a_header_in_the_middle_of_a_file_is_refused() -> None:
    got, refused = table(b"Price\tItem ID\n1\ta\nPrice\tItem ID\n2\tb\n")
    assert [number for number, *_ in got] == [2, 4]
    assert [(r.line, r.reason) for r in refused] == [(3, "it is the header once more")]


def test_a_header_may_have_blank_names_and_columns_beyond_the_catalog() -> None:
    assert table(b"Start Date\t\tItem ID\t \n1\t2\t3\t4\n")[0] == [
        (2, "1\t2\t3\t4", ("3", "", "1"), '["2", "4"]')
    ]


def test_a_ragged_file_with_a_header_in_another_order_gives_columns_by_name() -> None:
    got, refused = table(b"Start Date\tItem ID\nx\ny\tb\nz\tc\tmore\n", ragged=True)
    assert [(cells, extra) for _, _, cells, extra in got] == [
        (("", "", "x"), None),
        (("b", "", "y"), None),
        (("c", "", "z"), '["more"]'),
    ]
    assert not refused


def test_more_columns_than_any_table_has_are_refused() -> None:
    wide = b"\t".join([b"x"] * 1001) + b"\n"
    with pytest.raises(FileRefused, match="1,001 columns, 1,000 are allowed"):
        table(wide, longest=1 << 20)
    got, refused = table(b"a\n" + wide + b"b\n", longest=1 << 20, ragged=True)
    assert [number for number, *_ in got] == [1, 3]
    assert [(r.line, r.reason) for r in refused] == [(2, "1,001 columns, 1,000 are allowed")]
    assert len(table(wide.removeprefix(b"x\t"), longest=1 << 20)[0]) == 1


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
@pytest.mark.parametrize("fourth", [b"", b"\n", b"\nd", b"\n\0"])
def test_more_lines_than_allowed_refuse_the_file(block: int, fourth: bytes) -> None:
    data = b"a\n\nc" + fourth
    if len(fourth) > 1:
        with pytest.raises(FileRefused, match="more than 3 lines"):
            table(data, max_lines=3, block_bytes=block)
    else:
        assert [number for number, *_ in table(data, max_lines=3, block_bytes=block)[0]] == [1, 3]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("é".encode("utf-16"), "utf-16"),
        ("\ufeffé".encode("utf-16-be"), "utf-16"),
        ("é".encode("utf-32"), "utf-32"),
        ("\ufeffé".encode("utf-32-be"), "utf-32"),
    ],
)
def test_a_file_whose_mark_says_another_encoding_is_refused(data: bytes, name: str) -> None:
    with pytest.raises(FileRefused, match=f"written in {name}, and utf-8 is expected"):
        rows(data)
    with pytest.raises(FileRefused, match="written in utf-8, and cp1252 is expected"):
        rows(b"\xef\xbb\xbfa\n", encoding="cp1252")


def test_refused_lines_come_where_they_stand() -> None:
    data = b"".join(b"%d\t1\tx\n" % i if i % 3 else b"\0\n" for i in range(1, 20))
    batches = read(io.BytesIO(data), NAMES, SourceOptions(), batch_rows=4)
    spans = [[*batch.numbers, *(reject.line for reject in batch.refused)] for batch in batches]
    assert all(max(one) < min(two) for one, two in itertools.pairwise(spans))
    assert sorted(line for span in spans for line in span) == list(range(1, 20))


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


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-8-sig"])
def test_a_byte_order_mark_at_the_beginning_is_no_data(encoding: str) -> None:
    data = b"\xef\xbb\xbfa\t1\tx\n\xef\xbb\xbfb\t2\ty\n"
    # With every line a block of its own, the second mark is at the beginning of a block.
    assert rows(data, encoding=encoding, block_bytes=1) == [("a", "1", "x"), ("\ufeffb", "2", "y")]


class Trickling(io.BytesIO):
    """A stream that gives a byte at a time, whatever it is asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(1)


def test_a_stream_may_give_less_than_it_is_asked_for() -> None:
    batches = read(Trickling(b"\xef\xbb\xbfa\t1\tx\r\nb\t2\ty"), NAMES, SourceOptions())
    assert [text for batch in batches for text in batch.texts] == ["a\t1\tx", "b\t2\ty"]


def test_another_encoding_is_taken_at_its_word() -> None:
    assert rows("é\t€\t\n".encode("cp1252"), encoding="cp1252") == [("é", "€", "")]
    assert [r.line for r in table(b"a\t\x81\t\n", encoding="cp1252")[1]] == [1]


@pytest.mark.parametrize(
    "encoding",
    ["utf-16", "cp037", "no-such", "rot13", "hex", "utf-7", "hz", "iso2022_jp", "unicode_escape", "idna"],
)
def test_an_encoding_without_single_byte_line_ends_is_refused(encoding: str) -> None:
    with pytest.raises(EncodingRefused, match=encoding):
        SourceOptions(encoding=encoding)


def test_in_every_encoding_that_is_allowed_only_line_ends_end_lines() -> None:
    allowed = 0
    for encoding in sorted(set(aliases.values())):
        try:
            SourceOptions(encoding=encoding)
        except EncodingRefused:
            continue
        allowed += 1
        for first in range(0x80, 0x100):
            for second in (b"", b"a", b"\\", b"0", b"\x81", b"\xa1", b"\t", b"\n"):
                # Bytes that do not decode are refused.
                with contextlib.suppress(UnicodeDecodeError):
                    text = (bytes([first]) + second).decode(encoding)
                    marks = "".join(character for character in text if character in "\t\r\n\0")
                    assert marks == (second.decode() if second in b"\t\n" else ""), (encoding, first, second)
    assert allowed > 50
