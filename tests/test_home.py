"""A ledger belongs to one spool; a second inbox on its database is refused before it does anything."""

from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from server import home, schema
from server.admin import Decision
from server.database import Database
from server.dispatcher import Dispatcher
from server.errors import UsageError
from server.home import AnotherSpool
from server.spool import Spool, SpoolGone
from tests.support.inboxes import Bench
from tests.support.running import RunningInbox, free_port, until

NAME = "DT_0000001_KS_CATEGORY.NET"
HELD = "DT_0000003_KS_CATEGORY.NET"
ME = Decision(by="me", reason="the disk is gone")


def _with_another_spool(bench: Bench, folder: Path) -> Bench:
    spool = Spool(folder)
    spool.create()
    return Bench(bench.settings, spool, bench.database, bench.catalog)


def _begin(bench: Bench) -> None:
    """Start a loader that is to stop at once."""
    stop = Event()
    loader = Dispatcher(bench.settings, bench.spool, bench.database, bench.catalog, stop)
    loader.work = lambda: stop.set() or True  # type: ignore[method-assign,func-returns-value]
    loader.run()


def test_a_loader_does_not_begin_on_the_ledger_of_another_spool(bench: Bench, tmp_path: Path) -> None:
    _begin(bench)
    other = _with_another_spool(bench, tmp_path / "other")
    other.arrive(NAME, b"A\tone\n")
    with pytest.raises(AnotherSpool, match=f"last seen as {bench.spool.root}.*kore-inbox adopt"):
        _begin(other)
    assert len(other.spool.pending_ids()) == 1
    _begin(bench)


def test_a_spool_that_is_new_in_the_place_of_the_ledgers_own_is_told_as_such(
    bench: Bench, tmp_path: Path
) -> None:
    _begin(bench)
    place = bench.spool.root
    place.rename(tmp_path / "lost")
    with pytest.raises(AnotherSpool, match=f"last seen as {place}; this one in its place is new"):
        _begin(_with_another_spool(bench, place))


def test_a_spool_that_is_moved_is_still_the_ledgers(bench: Bench, tmp_path: Path) -> None:
    bench.arrive(NAME, b"A\tone\n")
    _begin(bench)
    moved = _with_another_spool(bench, bench.spool.root.rename(tmp_path / "moved"))
    _begin(moved)
    moved.work()
    assert moved.states() == {NAME: "loaded"}
    with bench.database.read() as connection:
        assert connection.execute(schema.home.select()).one().place == str(tmp_path / "moved")


def test_a_ledger_whose_spool_is_lost_goes_on_with_another_when_a_person_says_so(
    bench: Bench, tmp_path: Path
) -> None:
    bench.arrive(NAME, b"A\tone\n")
    bench.arrive(HELD, b"C\tthree\n")
    bench.work()
    _begin(bench)
    other = _with_another_spool(bench, tmp_path / "other")
    assert other.inbox.adopt(Decision(dry_run=True)) == str(bench.spool.root)
    with pytest.raises(AnotherSpool):
        home.claim(other.database, other.spool)
    assert other.inbox.adopt(ME) == str(bench.spool.root)
    assert other.inbox.adopt(ME) is None, "it is safe to repeat"
    _begin(other)
    with pytest.raises(AnotherSpool):
        _begin(bench)
    # What was held comes again, and so do its bytes.
    other.arrive("DT_0000002_KS_CATEGORY.NET", b"B\ttwo\n")
    other.arrive(HELD, b"C\tthree\n")
    other.work()
    assert {row["category_id"]: row["category_name"] for row in other.rows("category")} == {
        "A": "one",
        "B": "two",
        "C": "three",
    }


def test_no_spool_is_made_in_the_place_of_one_that_the_ledger_knows(bench: Bench, tmp_path: Path) -> None:
    home.settle(bench.database, bench.spool)
    home.claim(bench.database, bench.spool)
    elsewhere = Spool(tmp_path / "elsewhere")
    with pytest.raises(AnotherSpool, match=f"last seen as {bench.spool.root}"):
        home.settle(bench.database, elsewhere)
    bench.spool.root.rename(tmp_path / "away")
    # What a disk that is away leaves behind.
    bench.spool.root.mkdir()
    with pytest.raises(SpoolGone, match=f"The spool {bench.spool.root} is not there"):
        home.settle(bench.database, Spool(bench.spool.root))
    assert list(bench.spool.root.iterdir()) == []
    assert not elsewhere.root.exists()


def test_nothing_begins_on_a_spool_in_the_place_of_the_ledgers_own(bench: Bench, tmp_path: Path) -> None:
    home.settle(bench.database, bench.spool)
    home.claim(bench.database, bench.spool)
    place = bench.spool.root
    place.rename(tmp_path / "away")
    Spool(place).create()
    with pytest.raises(AnotherSpool, match=f"last seen as {place}; this one in its place is new"):
        home.settle(bench.database, Spool(place))


def test_no_spool_is_made_while_nobody_can_say_whether_there_was_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    database = Database(make_url(f"mysql+pymysql://root@127.0.0.1:{free_port()}/inbox"))
    with pytest.raises(OperationalError):
        home.settle(database, spool)
    assert not spool.root.exists()
    spool.create()
    home.settle(database, spool)


def test_a_spool_that_is_not_adopted_is_not_made(bench: Bench, tmp_path: Path) -> None:
    home.claim(bench.database, bench.spool)
    other = Bench(bench.settings, Spool(tmp_path / "other"), bench.database, bench.catalog)
    assert other.inbox.adopt(Decision(dry_run=True)) == str(bench.spool.root)
    bench.loader()
    with pytest.raises(UsageError, match="is at work, on"):
        other.inbox.adopt(ME)
    assert not other.spool.root.exists()


def test_a_spool_is_made_for_a_ledger_that_has_none(database_url: str, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    database = Database(make_url(database_url))
    home.settle(database, spool)
    database.close()
    assert spool.is_made


def test_no_spool_is_given_up_while_an_inbox_works_on_it(bench: Bench, tmp_path: Path) -> None:
    home.claim(bench.database, bench.spool)
    bench.loader()
    other = _with_another_spool(bench, tmp_path / "other")
    with pytest.raises(UsageError, match="is at work, on"):
        other.inbox.adopt(ME)


def test_the_name_of_a_spool_stays_the_same(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.create()
    assert spool.node() == Spool(tmp_path).node()
    assert len(spool.node()) == 32
    assert list(spool.aside.iterdir()) == []


def test_a_second_inbox_with_a_spool_of_its_own_says_so_and_ends(
    tmp_path: Path, new_database: Callable[[], str]
) -> None:
    url = new_database()
    with RunningInbox(tmp_path / "first", url) as first:
        first.push(NAME, b"A\tone\n")
        until(lambda: first.states() == {NAME: "loaded"}, "it is loaded")
        second = RunningInbox(tmp_path / "second", url)
        said = second.command("serve", code=1)
        assert f"The ledger belongs to another spool, last seen as {first.spool}" in said
        assert not second.spool.exists()
        Spool(second.spool).create()
        said = second.command("serve", code=1)
        assert f"The ledger belongs to another spool, last seen as {first.spool}" in said
        assert "listening" not in said, "nothing is accepted into it meanwhile"
        assert "Traceback" not in said
        assert "belongs to another spool" in second.command("status", code=1)
        assert "is at work" in second.command("adopt", code=2)
        assert first.states() == {NAME: "loaded"}
