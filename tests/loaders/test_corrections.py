"""Corrected rows go out and come back as they are (contract E3)."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders import corrections
from loaders.options import SourceOptions
from loaders.rejects import Reject
from tests.loaders.store import Store

OPTIONS = SourceOptions()
texts = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: not text.endswith("\r")
)


def read(text: str) -> corrections.Corrections:
    return corrections.read(io.BytesIO(text.encode()), OPTIONS)


@given(rows=st.dictionaries(st.integers(1, 10**7), texts, max_size=20), end=st.sampled_from(["\n", "\r\n"]))
def test_refused_rows_come_back_as_they_went_out(rows: dict[int, str], end: str) -> None:
    rejects = [Reject(line, "Name", "too long", raw) for line, raw in rows.items()]
    written = "".join(line + end for line in corrections.written(rejects))
    assert read(written) == corrections.Corrections(rows, ())


@given(text=st.text())
def test_every_line_is_a_corrected_row_or_is_refused(text: str) -> None:
    found = read(text)
    lines = [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]
    rows = [line for line in lines if re.match("[0-9]{1,12}\t[^\t]*\t[^\t]*\t", line)]
    assert len(found.rows) == len({int(row.split("\t")[0]) for row in rows if "\0" not in row})


def test_what_holds_no_row_is_refused_with_its_reason() -> None:
    found = read("line\tfield\treason\trow\n7\t\t\tA\tone\nseven\t\t\tB\n8\t\n\n7\t\t\tA\ttwo\n")
    assert found.rows == {7: "A\ttwo"}
    assert [str(reject) for reject in found.refused] == [
        "line 3: `seven` is not a line's number",
        "line 4: number, field and reason are not followed by a row",
    ]


def test_a_line_that_is_too_long_is_refused_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrections, "LONGEST_LINE_BYTES", 20)
    found = read("1\t\t\t" + "x" * 15 + "2\t\t\tEVIL\n3\t\t\tA\n4\t\t\t" + "y" * 60)
    assert found.rows == {3: "A"}
    assert [(reject.line, reject.reason) for reject in found.refused] == [
        (1, "longer than 20 bytes"),
        (3, "longer than 20 bytes"),
    ]


def test_a_line_beyond_all_that_a_file_may_have_is_refused() -> None:
    found = corrections.read(io.BytesIO(b"7\t\t\tA\n8\t\t\tB\n"), SourceOptions(max_lines=7))
    assert found.rows == {7: "A"}
    assert [str(reject) for reject in found.refused] == [
        "line 2: no file has a line `8`, 7 are allowed (max_lines)"
    ]


def test_no_more_is_held_of_a_fix_than_anybody_mends_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrections, "MOST_ROWS", 2)
    found = read("garbage\n1\t\t\tA\nmore\nand more\n")
    assert (found.rows, len(found.refused)) == ({1: "A"}, 2)


def test_a_corrected_row_takes_the_place_of_the_refused_one_alone(store: Store) -> None:
    content = "A\tone\nB\t" + "x" * 31 + "\nC\tthree\n"
    assert store.load("CATEGORY", content, version=1).rows_rejected == 1
    outcome = store.load("CATEGORY", content, version=1, corrections=[{1: "A\tlost", 2: "B\ttwo"}])
    assert (outcome.rows_read, outcome.rows_rejected, outcome.tried) == (3, 0, [{2: True}])
    assert store.rows("category", "category_id, category_name, version, line") == [
        ("A", "one", 1, 1),
        ("B", "two", 1, 2),
        ("C", "three", 1, 3),
    ]


def test_a_corrected_row_never_beats_a_newer_one(store: Store) -> None:
    content = "B\t" + "x" * 31 + "\nA\tone\n"
    store.load("CATEGORY", content, version=1)
    store.load("CATEGORY", "B\tnewer\n", version=2)
    store.load("CATEGORY", content, version=1, corrections=[{1: "B\tolder"}])
    assert store.rows("category", "category_id, category_name, version") == [
        ("A", "one", 1),
        ("B", "newer", 2),
    ]


def test_a_correction_that_is_wrong_is_refused_under_the_line_of_its_file(store: Store) -> None:
    content = "A\tone\nB\t" + "x" * 31 + "\n"
    outcome = store.load("CATEGORY", content, file_id=9, corrections=[{2: "B\t" + "y" * 32}])
    assert (outcome.rows_read, outcome.rows_rejected) == (2, 1)
    assert store.rows("inbox_rejected_row", "file_id, line, reason") == [(9, 2, "32 characters, 30 allowed")]


def test_a_corrected_row_is_read_as_the_header_of_its_file_says(store: Store) -> None:
    content = "Category Name\tCategory ID\n" + "x" * 31 + "\tB\n"
    store.load("CATEGORY", content, corrections=[{2: "two\tB"}])
    assert store.rows("category", "category_id, category_name") == [("B", "two")]


def test_lines_that_could_not_be_read_at_all_can_be_corrected(store: Store) -> None:
    content = b"A\tone\n\xff\t\nC\tthree\tfour\nD\t\0\n"
    mended = {2: "B\ttwo", 3: "C\tthree", 4: "D\tfour"}
    assert store.load("CATEGORY", content).rows_rejected == 3
    assert store.load("CATEGORY", content, corrections=[mended]).rows_rejected == 0
    assert len(store.rows("category")) == 4


def test_a_created_parent_takes_its_attributes_from_the_lowest_row_corrected_or_not(store: Store) -> None:
    """L7.3."""
    header = "Customer Number\tSite ID\tSite Name\tCustomer Name\n"
    content = header + "C1\tS\tfirst\t" + "x" * 1000 + "\nC2\tS\tsecond\tAda\n"
    store.load("CUSTOMERS", content, version=1)
    assert store.rows("warehouses", "site_name, line") == [("second", 3)]
    store.load("CUSTOMERS", content, version=1, corrections=[{2: "C1\tS\tfirst\tBob"}])
    assert store.rows("warehouses", "site_name, line") == [("first", 2)]
