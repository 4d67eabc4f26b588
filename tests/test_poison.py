"""Nothing that a sender sends may stop the loader: what cannot be registered is set aside alone (L9, E1)."""

from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from server import fixes, views
from server.admin import Decision
from server.config import Sequence
from server.intake import Intake
from server.receipt import Receipt
from server.sequence import Scope
from tests.support.faults import Steps, cut
from tests.support.inboxes import Bench, replace_settings

NAME = "DT_0000001_KS_CATEGORY.NET"
OTHER = "XX_0000001_KS_CATEGORY.NET"


def _names(bench: Bench) -> dict[str, str | None]:
    return {row["category_id"]: row["category_name"] for row in bench.rows("category")}


def _files(bench: Bench) -> dict[str, dict[str, Any]]:
    with bench.database.read() as connection:
        return {file["name"]: file for file in views.files(connection, views.Filter())}


def test_the_longest_of_names_is_a_stream_where_each_api_counts(bench: Bench) -> None:
    bench.settings = replace_settings(bench.settings, sequence=Sequence(scope=Scope.API))
    longest = f"{'A' * 30}_0000001_{'B' * 30}_{'C' * 40}.NET"
    bench.arrive(longest, b"A\tone\n")
    bench.arrive(NAME, b"A\ttwo\n")
    bench.work()
    assert bench.states() == {longest: "quarantined", NAME: "loaded"}


def test_a_receipt_that_cannot_be_registered_is_set_aside_and_the_others_are_registered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = Intake._register

    def breaks(self: Intake, connection: Any, receipt: Receipt, *more: Any) -> bool:
        done = register(self, connection, receipt, *more)
        if receipt.name == NAME:
            raise LookupError("nobody foresaw this")
        return done

    monkeypatch.setattr(Intake, "_register", breaks)
    bench.arrive(OTHER, b"A\tone\n")
    poison = bench.arrive(NAME, b"B\ttwo\n")
    bench.arrive("XX_0000002_KS_CATEGORY.NET", b"C\tthree\n")
    loader = bench.loader()
    assert loader.register() == 3
    assert loader.register() == 0, "it is not tried again and again"
    bench.work()
    assert _names(bench) == {"A": "one", "C": "three"}
    assert bench.spool.data_path(poison.data).read_bytes() == b"B\ttwo\n"
    aside = _files(bench)[NAME]
    assert aside["state"] == "quarantined"
    assert "it cannot be registered (LookupError: nobody foresaw this)" in aside["reason"]
    with bench.database.read() as connection:
        [incident] = views.incidents(connection, closed=False)
    assert (incident["kind"], incident["subject"]) == ("quarantined", NAME)
    # A replay cannot help, and says the same again; the sender can.
    bench.inbox.replay([str(aside["id"])], [], [], Decision(by="me"))
    assert _files(bench)[NAME] == aside
    monkeypatch.undo()
    bench.arrive(NAME, b"B\ttwo\n")
    bench.work()
    assert _names(bench) == {"A": "one", "B": "two", "C": "three"}


def test_a_fix_for_a_line_that_no_file_has_is_loaded_without_it(bench: Bench) -> None:
    bench.arrive(NAME, b"A\tone\nB\t" + b"x" * 31 + b"\n")
    bench.work()
    bench.arrive(f"{NAME}.fix", b"999999999999\t\t\tC\tthree\n2\t\t\tB\ttwo\n")
    bench.arrive(OTHER, b"D\tfour\n")
    bench.work()
    assert _names(bench) == {"A": "one", "B": "two", "D": "four"}
    assert (_files(bench)[f"{NAME}.FIX"]["state"], _files(bench)[f"{NAME}.FIX"]["rows_rejected"]) == (
        "loaded",
        1,
    )


@pytest.mark.parametrize("step", ["_read", "record"])
def test_a_fix_that_its_file_cannot_load_with_is_quarantined_and_the_file_loaded_without(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real = getattr(fixes, step)

    def breaks(*arguments: Any) -> Any:
        if step == "_read" or arguments[2]:
            raise LookupError("nobody foresaw this")
        return real(*arguments)

    monkeypatch.setattr(fixes, step, breaks)
    bench.arrive(f"{NAME}.fix", b"2\t\t\tB\ttwo\n")
    bench.arrive(NAME, b"A\tone\nB\t" + b"x" * 31 + b"\n")
    bench.work()
    assert bench.states() == {f"{NAME}.FIX": "quarantined", NAME: "loaded"}
    assert _names(bench) == {"A": "one"}
    monkeypatch.undo()
    bench.inbox.replay([f"{NAME}.fix"], [], [], Decision(by="me"))
    bench.work()
    assert _names(bench) == {"A": "one", "B": "two"}


def test_a_file_that_cannot_be_judged_anew_at_the_start_stays_where_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise LookupError("nobody foresaw this")

    bench.arrive(NAME, b"A\tone\n")
    bench.work(inbox=bench.settings.inbox.model_copy(update={"integrations": ("ZZ",)}))
    assert bench.states() == {NAME: "quarantined"}
    with monkeypatch.context() as broken:
        broken.setattr(Intake, "rejudge", fails)
        bench.work()
    assert bench.states() == {NAME: "quarantined"}
    bench.work()
    assert bench.states() == {NAME: "loaded"}


def test_the_log_says_of_files_what_became_of_them_when_it_is_committed_and_not_before(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """L1: of a load that was undone it would be untrue."""
    caplog.set_level("INFO", logger="server.dispatcher")
    bench.arrive(NAME, b"A\tone\nB\ttwo\n")
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"A\tone\rB\ttwo\r")
    loader = bench.loader()
    loader.register()
    files = loader._cut_wave()
    steps = Steps(bench.database, cut)
    steps.when(lambda statement: statement == "before COMMIT")
    with pytest.raises(DBAPIError):
        loader._load_group(files)
    assert [record.getMessage() for record in caplog.records] == []
    steps.heal()
    loader._load_group(files)
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith(f"{NAME} loaded: 2 rows in ")
    assert said[1].startswith("DT_0000002_KS_CATEGORY.NET not loaded: ")
