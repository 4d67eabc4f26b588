"""What is loaded stays as it was until it, or what takes its place, is loaded (contract A7, L1, L7)."""

from dataclasses import replace

import pytest

from loaders.shapes import Catalog
from server import views
from server.admin import Decision
from server.config import Load, Sequence
from server.errors import UsageError
from server.receipt import Receipt
from server.sequence import Scope
from server.spool import Spool
from server.states import State
from tests.support import oracle
from tests.support.commands import Run, json_of
from tests.support.faults import Killed, die
from tests.support.inboxes import Bench, replace_settings
from tests.support.prepared import CATALOG

NAME = "DT_0000001_KS_CATEGORY.NET"
# C has fewer cells than the others.
FIRST = b"A\tone\t\nB\tchild\tP\nC\n"
PARENT = b"P\tparent\t\n"
ME = Decision(by="me", reason="a test")


def _names(bench: Bench) -> dict[str, str | None]:
    return {row["category_id"]: row["category_name"] for row in bench.rows("category")}


def _states(bench: Bench) -> list[str]:
    """By file, in order of registration."""
    with bench.database.read() as connection:
        return [file["state"] for file in views.files(connection, views.Filter())]


def _waiting(bench: Bench) -> list[int]:
    """By parked row, its file."""
    with bench.database.read() as connection:
        return [row["file_id"] for row in views.parked(connection)]


def _all_is_as_if_loaded_once(bench: Bench) -> None:
    bench.arrive("DT_0000002_KS_CATEGORY.NET", PARENT)
    bench.work()
    assert _names(bench) == {"A": "one", "B": "child", "P": "parent"}
    assert oracle.differences(bench) == []


@pytest.mark.parametrize("fault", ["too many refused", "bytes missing", "no such API"])
def test_a_loaded_file_that_cannot_be_loaded_again_stays_as_it_was(
    bench: Bench, run: Run, fault: str
) -> None:
    receipt = bench.arrive(NAME, FIRST)
    bench.work()
    [before] = json_of(run, "files")
    bench.inbox.replay([NAME], [], [], ME)
    kept = bench.spool.data_path(receipt.data)
    if fault == "too many refused":
        bench.work(load=Load(max_rejected=0))
    elif fault == "bytes missing":
        aside = kept.rename(kept.with_name("aside"))
        bench.work()
        aside.rename(kept)
    else:
        loader = bench.loader()
        others = {name: api for name, api in CATALOG.items() if name != "CATEGORY"}
        loader._loading._catalog = Catalog(others, CATALOG.created)
        loader.work()
    [after] = json_of(run, "files")
    assert "loading it again failed, and its rows stay as they are" in after.pop("reason")
    assert before.pop("reason") is None
    assert after == before
    assert "loading it again failed" in run("why", NAME)[1]
    _all_is_as_if_loaded_once(bench)


def test_a_longer_file_that_cannot_be_loaded_leaves_the_number_to_the_loaded_one(bench: Bench) -> None:
    bench.arrive(NAME, FIRST)
    bench.work()
    worse = FIRST + b"bad\n" * 1001
    for _ in range(2):
        bench.arrive(NAME, worse)
        bench.work()
    assert _states(bench) == ["loaded", "quarantined", "duplicate"]
    _all_is_as_if_loaded_once(bench)
    bench.arrive(NAME, FIRST + b"D\tfour\t\n")
    bench.work()
    assert _states(bench) == ["replaced", "replaced", "duplicate", "loaded", "loaded"]
    assert _names(bench) == {"A": "one", "B": "child", "P": "parent", "D": "four"}
    assert oracle.differences(bench) == []


def test_rows_that_wait_are_the_first_ones_until_the_longer_file_is_loaded(bench: Bench) -> None:
    bench.arrive(NAME, FIRST)
    bench.work()
    bench.arrive(NAME, FIRST + b"D\tfour\t\n")
    bench.loader().register()
    _, waiting = _states(bench)
    assert waiting == "ready"
    assert _waiting(bench) == [1]
    bench.work()
    assert _waiting(bench) == [2]
    bench.arrive("DT_0000002_KS_CATEGORY.NET", PARENT)
    bench.work()
    assert oracle.differences(bench) == []


def test_a_longer_file_that_is_withdrawn_gives_the_number_back(bench: Bench) -> None:
    bench.arrive(NAME, FIRST)
    bench.work()
    bench.arrive(NAME, FIRST + b"D\tfour\t\n")
    bench.loader().register()
    bench.inbox.withdraw(["2"], ME)
    assert _states(bench) == ["loaded", "withdrawn"]
    bench.inbox.replay(["2"], [], [], ME)
    bench.work()
    assert _states(bench) == ["replaced", "loaded"]
    assert oracle.differences(bench) == []


def test_corrected_rows_of_a_longer_file_that_was_turned_away_let_it_in(bench: Bench) -> None:
    bench.arrive(NAME, b"A\tone\n")
    bench.work()
    bench.arrive(NAME, b"A\tone\nB\t" + b"x" * 31 + b"\n")
    bench.work(load=Load(max_rejected=0))
    assert _states(bench) == ["loaded", "quarantined"]
    bench.arrive(f"{NAME}.fix", b"2\t\t\tB\ttwo\n")
    bench.work(load=Load(max_rejected=0))
    assert _states(bench) == ["replaced", "loaded", "loaded"]
    assert _names(bench) == {"A": "one", "B": "two"}
    assert oracle.differences(bench) == []


def test_a_file_whose_rows_are_in_cannot_be_withdrawn_while_it_waits_to_load_again(bench: Bench) -> None:
    bench.arrive(NAME, b"A\tone\n")
    bench.work()
    bench.inbox.replay([NAME], [], [], ME)
    with pytest.raises(UsageError, match="its rows are in since"):
        bench.inbox.withdraw([NAME], ME)
    bench.work()
    assert _states(bench) == ["loaded"]


def test_a_row_whose_key_was_cut_goes_when_the_whole_file_comes(bench: Bench, run: Run) -> None:
    bench.arrive(NAME, b"A\nB\nCUST")
    bench.work()
    assert set(_names(bench)) == {"A", "B", "CUST"}
    bench.arrive(NAME, b"A\nB\nCUSTOMER1\n")
    bench.work()
    assert set(_names(bench)) == {"A", "B", "CUSTOMER1"}
    assert oracle.differences(bench) == []
    assert any(
        "cut within a key" in (event["reason"] or "") for event in json_of(run, "show", "2")[0]["history"]
    )


def test_a_cut_key_that_is_anothers_gives_way_to_that_one_when_it_loads_again(bench: Bench) -> None:
    """The row that the cut line has overwritten is not known any more, but its file is."""
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"CUST\tgenuine\t\nCHILD\t\tCUST\n")
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"A\nCUST")
    bench.work()
    assert _names(bench) == {"A": None, "CUST": None, "CHILD": None}
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"A\nCUSTOMER1\n")
    bench.work()
    assert {row["category_id"]: row["active"] for row in bench.rows("category")}["CUST"] == 0
    bench.inbox.replay([], [State.LOADED], [], ME)
    bench.work()
    assert _names(bench) == {"A": None, "CUST": "genuine", "CHILD": None, "CUSTOMER1": None}
    assert oracle.differences(bench) == []


def _lose(bench: Bench, receipt: Receipt) -> None:
    bench.spool.data_path(receipt.data).unlink()


def test_a_file_whose_bytes_are_lost_has_them_back_when_it_is_sent_again(bench: Bench) -> None:
    _lose(bench, bench.arrive(NAME, b"A\tone\r\n"))
    bench.work()
    assert _states(bench) == ["quarantined"]
    bench.arrive(NAME, b"A\tone\n")
    bench.work()
    assert _states(bench) == ["loaded", "duplicate"]
    assert _names(bench) == {"A": "one"}
    bench.inbox.replay([NAME], [], [], ME)
    bench.work()
    assert oracle.differences(bench) == []


def test_a_file_without_a_number_has_its_bytes_back_as_well(bench: Bench) -> None:
    _lose(bench, bench.arrive("KS_CATEGORY.net", b"A\tone\n", source="DT"))
    bench.work()
    bench.arrive("KS_CATEGORY.net", b"A\tone\n", source="DT")
    bench.work()
    assert _states(bench) == ["loaded", "duplicate"]
    assert _names(bench) == {"A": "one"}


def test_so_has_a_fix(bench: Bench) -> None:
    bench.arrive(NAME, b"A\tone\nB\t" + b"x" * 31 + b"\n")
    bench.work()
    _lose(bench, bench.arrive(f"{NAME}.fix", b"2\t\t\tB\ttwo\n"))
    bench.work()
    assert _names(bench) == {"A": "one"}
    bench.arrive(f"{NAME}.fix", b"2\t\t\tB\ttwo\n")
    bench.work()
    assert _names(bench) == {"A": "one", "B": "two"}
    assert oracle.differences(bench) == []


def test_bytes_that_came_back_stay_though_the_loader_dies_before_it_knows_that_it_has_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    lost = bench.arrive("DT_0000003_KS_CATEGORY.NET", b"C\tthree\n")
    bench.work()
    bench.spool.data_path(lost.data).unlink()
    bench.arrive("DT_0000003_KS_CATEGORY.NET", b"C\tthree\n")
    with monkeypatch.context() as dying:
        # After the commit, and before the receipt is out of sight.
        dying.setattr(Spool, "registered", die)
        with pytest.raises(Killed):
            bench.loader().register()
    bench.work()
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"B\ttwo\n")
    bench.work()
    assert [row["category_id"] for row in bench.rows("category")] == ["A", "B", "C"]


@pytest.mark.parametrize("suffix", ["", ".fix"])
def test_a_rename_that_is_repeated_as_the_first_was_said_to_have_failed_keeps_the_bytes(
    bench: Bench, suffix: str
) -> None:
    receipt = bench.arrive(f"DT_0000002_KS_CATEGORY.NET{suffix}", b"B\ttwo\n")
    for _ in range(2):
        bench.work()
        # Only the name of the receipt could not be made durable, and the loader was quicker.
        bench.spool.accept(replace(receipt, id=bench.spool.new_id(receipt.data)))
    bench.work()
    assert bench.spool.data_path(receipt.data).exists()


def test_a_file_is_judged_anew_in_its_own_stream_whatever_counts_together_by_now(bench: Bench) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"B\ttwo\t\n\t\t\n")
    strict, by_integration = Load(max_rejected=0), Sequence(scope=Scope.INTEGRATION)
    bench.work(load=strict)
    assert _states(bench) == ["loaded", "quarantined"]
    bench.settings = replace_settings(bench.settings, sequence=by_integration)
    bench.inbox.replay(["2"], [], [], ME)
    bench.work()
    assert _states(bench) == ["loaded", "loaded"]
