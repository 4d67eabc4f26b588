"""Single refused and parked rows are judged again without their files (contract L7, section 8)."""

from pathlib import Path

import pytest
from sqlalchemy import select

from loaders.records import parked_row, rejected_row
from server import views
from server.settings.source import Source
from tests.support.commands import Run, json_of
from tests.support.inboxes import Bench

NAME = "DT_0000001_KS_CATEGORY.NET"
# B is refused until its source is `ragged`; C and D wait for their parents.
ROWS = b"A\tone\t\nB\ttwo\nC\tthree\tB\nD\tfour\tZ\nE\tfive\t\n"
NEWER = b"E\tnewer\t\n"
NOT_IN = [(2, "rejected"), (3, "parked"), (4, "parked")]
RAGGED = {"sources": {"DT": Source(ragged=True)}}


def _be_ragged(tmp_path: Path) -> None:
    with (tmp_path / "conf" / "inbox.toml").open("a") as settings:
        settings.write("[sources.DT]\nragged = true\n")


def _everything(bench: Bench) -> list[object]:
    """Tables, what is not in, and the counts of files."""
    r, p = rejected_row.c, parked_row.c
    refused = select(r.file_id, r.line, r.field, r.reason, r.raw)
    waiting = select(p.file_id, p.line, p.waits_table, p.waits_key, p.row_values)
    with bench.database.read() as connection:
        not_in = [sorted(connection.execute(query).all(), key=str) for query in (refused, waiting)]
        files = views.files(connection, views.Filter())
    counts = [{key: file[key] for key in file if key.startswith("rows_")} for file in files]
    return [bench.tables(), not_in, counts]


def test_rows_that_are_right_now_go_in_alone_and_it_is_as_if_their_file_was_loaded_again(
    bench: Bench, run: Run, tmp_path: Path
) -> None:
    bench.arrive(NAME, ROWS)
    bench.arrive("DT_0000002_KS_CATEGORY.NET", NEWER)
    bench.work()
    before = _everything(bench)
    [ack] = (bench.spool.root / "acks").rglob(f"{NAME}.ack")
    said_before = ack.read_text()
    assert [incident["kind"] for incident in json_of(run, "exceptions")] == ["rejected rows"]
    _be_ragged(tmp_path)
    for words in (("--dry-run",), ()):
        assert _everything(bench) == before
        tried = json_of(run, "replay", "--rows", NAME, "--by", "ann", "--reason", "ragged now", *words)
        assert [(row["line"], row["was"]) for row in tried] == NOT_IN
        assert [row["becomes"] for row in tried] == ["loaded", "loaded", "parked"]
        assert [row["reason"] for row in tried] == [None, None, "category has no `Z`"]
    after = _everything(bench)
    assert {row["category_id"]: row["category_name"] for row in bench.rows("category")} == {
        "A": "one",
        "B": "two",
        "C": "three",
        "E": "newer",
    }
    assert json_of(run, "exceptions") == []
    history = json_of(run, "show", NAME)[0]["history"]
    assert ("replayed", "ann", "refused and parked rows: ragged now") in [
        (event["event"], event["done_by"], event["reason"]) for event in history
    ]
    bench.work(**RAGGED)
    assert ack.read_text() != said_before
    assert "rows_rejected\t0\n" in ack.read_text()
    run("replay", "--loaded")
    bench.work(**RAGGED)
    assert _everything(bench) == after


def test_rows_are_chosen_by_file_source_and_api_and_what_is_still_wrong_is_told(
    bench: Bench, run: Run
) -> None:
    bench.arrive(NAME, ROWS)
    bench.work()
    for words, rows in (((), 3), (("--api", "ORDERS"), 0), (("--api", "CATEGORY", "--source", "DT"), 3)):
        code, told, _ = run("replay", "--rows", *words)
        assert (code, len(told.splitlines())) == (1 if rows else 0, 1 + rows)
    assert "1 column" not in told
    assert "2 columns, where 3 are expected" in told
    assert bench.states() == {NAME: "loaded"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("DT_0000003_KS_CATEGORY.NET",), "is held; single rows are replayed of loaded files."),
        ((f"{NAME}.FIX",), f"They are those of {NAME}."),
        ((NAME, "--with", "README.md"), "not with --with"),
        (("--quarantined",), "--rows goes with loaded files"),
        (("--source", "ZZ"), "Nothing has come from a source ZZ"),
    ],
)
def test_there_are_no_single_rows_of_what_is_not_loaded(
    bench: Bench, run: Run, words: tuple[str, ...], said: str
) -> None:
    bench.arrive(NAME, ROWS)
    bench.arrive(f"{NAME}.fix", b"2\t\t\tB\ttwo\t\n2\t\t\n")
    bench.arrive("DT_0000003_KS_CATEGORY.NET", ROWS)
    bench.work()
    code, _, told = run("replay", "--rows", *words)
    assert code == 2
    assert said in told


def test_a_file_whose_bytes_are_gone_keeps_its_rows_as_they_were(bench: Bench, run: Run) -> None:
    receipt = bench.arrive(NAME, ROWS)
    bench.work()
    before = _everything(bench)
    bench.spool.data_path(receipt.data).unlink()
    code, told, _ = run("replay", "--rows", NAME)
    assert code == 1
    assert told.count("the file cannot be loaded again: its bytes are") == 3
    assert _everything(bench) == before
    assert bench.states() == {NAME: "loaded"}
