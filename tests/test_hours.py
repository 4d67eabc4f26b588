"""FULL files wait for their hours (contract D5)."""

import ftplib
import re
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from server import schema
from server.admin import Decision
from server.config import Dispatch
from server.dispatcher import Dispatcher
from server.errors import UsageError
from server.settings.source import Source
from tests.support.commands import Run, json_of
from tests.support.inboxes import Bench
from tests.support.receiving import Running

FULL = "DT_0000001_KS_CATEGORY.FULL"
NET = "DT_0000002_KS_CATEGORY.NET"
NIGHT = Dispatch(settle=0, full_window="22:00-05:00 UTC")
# As the ledger has times.
NOON, EVENING = (datetime(2026, 11, 25, hour, tzinfo=UTC).replace(tzinfo=None) for hour in (12, 22))


def _work(bench: Bench, at: datetime, **changes: Any) -> Dispatcher:
    loader = bench.loader(**{"dispatch": NIGHT, **changes})
    loader.clock = lambda: at
    while loader.work():
        pass
    return loader


def _names(bench: Bench) -> dict[str, tuple[str | None, int]]:
    return {row["category_id"]: (row["category_name"], row["active"]) for row in bench.rows("category")}


def test_a_full_waits_for_its_hours_and_loads_by_itself_when_they_begin(bench: Bench, run: Run) -> None:
    bench.arrive(FULL, b"A\tfull\nB\tfull\n")
    bench.arrive(NET, b"A\tnet\nC\tnet\n")
    _work(bench, NOON)
    assert bench.states() == {FULL: "deferred", NET: "loaded"}
    [status] = json_of(run, "status")
    assert status["deferred"] == {"after hours": 1}
    assert json_of(run, "exceptions") == [], "it is in order"
    _work(bench, EVENING - timedelta(seconds=1))
    assert bench.states()[FULL] == "deferred"
    _work(bench, EVENING)
    assert bench.states() == {FULL: "loaded", NET: "loaded"}
    # As if it had come first: its rows do not beat the newer ones, nor make them inactive (L7).
    assert _names(bench) == {"A": ("net", 1), "B": ("full", 1), "C": ("net", 1)}


def test_the_window_of_a_source_goes_before_that_of_all(bench: Bench) -> None:
    other = "XX_0000001_KS_CATEGORY.FULL"
    bench.arrive(FULL, b"A\tone\n")
    bench.arrive(other, b"B\ttwo\n")
    _work(bench, NOON, sources={"XX": Source(full_window="always")})
    assert bench.states() == {FULL: "deferred", other: "loaded"}
    _work(bench, NOON, dispatch=Dispatch(settle=0))
    assert bench.states()[FULL] == "loaded", "there are no hours any more"


def test_a_window_that_closes_during_a_wave_keeps_what_has_not_begun(bench: Bench) -> None:
    bench.arrive(FULL, b"A\tone\n")
    loader = bench.loader(dispatch=NIGHT)
    loader.clock = lambda: EVENING
    loader.register()
    [file] = loader._cut_wave()
    loader.clock = lambda: NOON
    loader._load_group([file])
    assert bench.states() == {FULL: "ready"}
    _work(bench, NOON)
    assert bench.states() == {FULL: "deferred"}


def test_on_quarantine_wait_keeps_later_files_of_the_api_for_the_deferred_one(bench: Bench, run: Run) -> None:
    other = "DT_0000003_KS_CURRENCY.NET"
    waits = NIGHT.model_copy(update={"on_quarantine": "wait"})
    for name in (FULL, NET, other):
        bench.arrive(name, b"A\tone\n")
    _work(bench, NOON, dispatch=waits)
    assert bench.states() == {FULL: "deferred", NET: "ready", other: "loaded"}
    _work(bench, EVENING, dispatch=waits)
    assert set(bench.states().values()) == {"loaded"}


@pytest.fixture
def closed() -> str:
    """A window that opens in six hours, whenever the test runs."""
    now = datetime.now(UTC)
    return f"{now + timedelta(hours=6):%H:%M}-{now + timedelta(hours=7):%H:%M} UTC"


@pytest.fixture
def night(bench: Bench, tmp_path: Path, run: Run, closed: str) -> Bench:
    """An inbox whose commands know the window as well."""
    toml = tmp_path / "conf" / "inbox.toml"
    toml.write_text(f'{toml.read_text()}full_window = "{closed}"\n')
    bench.settings = bench.settings.model_copy(update={"dispatch": Dispatch(settle=0, full_window=closed)})
    return bench


def test_why_says_when_it_loads_and_release_loads_it_at_once(night: Bench, run: Run, closed: str) -> None:
    night.arrive(FULL, b"A\tone\n")
    night.work()
    _, told, _ = run("why", FULL)
    assert f"waits for its hours: FULL files of DT load {closed}." in told
    assert re.search(rf"Its hours begin at ....-..-.. {closed[:5]} UTC; then it loads by itself\.", told)
    assert run("release", FULL, "--dry-run")[0] == 0
    night.work()
    assert night.states() == {FULL: "deferred"}
    [touched] = json_of(run, "release", FULL, "--reason", "the customer waits")
    assert (touched["was"], touched["becomes"]) == ("deferred", "ready")
    assert json_of(run, "release", FULL)[0]["becomes"] == "ready"
    night.work()
    assert night.states() == {FULL: "loaded"}
    history = json_of(run, "show", FULL)[0]["history"]
    assert ("released early", "the customer waits") in [
        (event["event"], event["reason"]) for event in history
    ]


def test_release_may_come_ahead_of_time_but_is_no_approval(night: Bench, run: Run) -> None:
    held = "DT_0000002_KS_CATEGORY.FULL"
    night.arrive(held, b"A\tone\n")
    night.work()
    assert run("release", held)[0] == 0
    night.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    night.work()
    assert set(night.states().values()) == {"loaded"}
    for name, said in (("DT_0000001_KS_CATEGORY.NET", "no FULL"), (held, "is loaded")):
        code, _, messages = run("release", name)
        assert (code, said in messages) == (2, True)
    with night.database.write("a test") as connection:
        connection.execute(update(schema.file).values(state="deferred", cause="needs approval"))
    with pytest.raises(UsageError, match="waits for approval"):
        night.inbox.release([held], Decision())


def test_the_reply_says_when_a_full_loads(tmp_path: Path, closed: str) -> None:
    running = Running(tmp_path, sources={"DT": Source(full_window=closed)})
    try:
        with running.ftp() as session:
            reply = _store(session, "DT_0000005_KS_CATEGORY.FULL")
            assert re.search(rf"loaded in its hours, which begin at ....-..-.. {closed[:5]} UTC\.$", reply)
            assert _store(session, "DT_0000006_KS_CATEGORY.NET").endswith("will be loaded now.")
    finally:
        running.stop()


def _store(session: ftplib.FTP, name: str) -> str:
    return session.storbinary(f"STOR {name}", BytesIO(b"A\tone\n"))
