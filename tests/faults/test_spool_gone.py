"""The spool, or a part of it, is taken away while the loader works, or before it starts, and comes back."""

import ftplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from server import dispatcher, home, notices, roles, waits
from server.admin import Inbox
from server.intake import Intake
from server.spool import Spool, SpoolGone
from tests.support.faults import living
from tests.support.inboxes import Bench
from tests.support.receiving import Running
from tests.support.running import RunningInbox, until

FIRST, SECOND = "DT_0000001_KS_CATEGORY.NET", "DT_0000002_KS_CATEGORY.NET"


@contextmanager
def _away(path: Path) -> Iterator[None]:
    elsewhere = path.rename(path.with_name("elsewhere"))
    try:
        yield
    finally:
        elsewhere.rename(path)


@pytest.fixture
def at_work(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """An inbox whose loader has loaded one file, and does not wait long between its tries."""
    monkeypatch.setattr(dispatcher, "AWAY_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(dispatcher, "AWAY_LAST_SECONDS", 0.01)
    bench.arrive(FIRST, b"A\tone\n")
    with roles.take(bench.spool.root, "loader"), living(bench):
        until(lambda: bench.states() == {FIRST: "loaded"}, "the first is loaded")
        yield bench


@pytest.mark.parametrize("folder", ["", "data", "new", "done", "staged", "aside"])
def test_a_spool_that_is_away_is_waited_for_and_goes_on_when_it_is_back(
    at_work: Bench, caplog: pytest.LogCaptureFixture, folder: str
) -> None:
    with _away(at_work.spool.root / folder):
        until(lambda: "is not there" in caplog.text, "the loader has noticed")
    at_work.arrive(SECOND, b"B\ttwo\n")
    until(lambda: at_work.states() == {FIRST: "loaded", SECOND: "loaded"}, "the second is loaded")
    until(lambda: notices.read(at_work.spool, "loader") is None, "nothing is waited for")


def test_an_empty_spool_in_the_place_of_the_one_that_is_away_is_not_taken_for_it(
    at_work: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    root = at_work.spool.root
    with _away(root):
        Spool(root).create()
        said = f"{root} is not there, another one is in its place"
        until(lambda: caplog.text.count(said) > 1, "the loader has noticed, and tries again")
        empty = root.rename(root.with_name("the empty one"))
    assert notices.read(Spool(empty), "loader") is None, "it does not wait"
    assert "cannot be noted" not in caplog.text
    at_work.arrive(SECOND, b"B\ttwo\n")
    until(lambda: at_work.states() == {FIRST: "loaded", SECOND: "loaded"}, "the second is loaded")


def test_what_of_the_spool_is_waited_for_is_noted(at_work: Bench) -> None:
    with _away(at_work.spool.data):
        until(lambda: notices.read(at_work.spool, "loader") is not None, "it is noted")
        notice = notices.read(at_work.spool, "loader")
    assert notice is not None
    assert notice.kind == "spool gone"
    assert f"{at_work.spool.data} of the spool is not there" in notice.happened
    assert notice.kept == waits.kept("spool gone")


def test_a_spool_that_is_away_is_told_once_a_try(at_work: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with _away(at_work.spool.root):
        until(lambda: caplog.text.count("is not there") > 1, "the loader has tried twice")
    assert "cannot be noted" not in caplog.text


@pytest.mark.parametrize("folder", ["", "data"])
def test_a_file_that_was_to_be_loaded_while_the_spool_is_away_is_not_taken_for_one_without_bytes(
    bench: Bench, folder: str
) -> None:
    bench.arrive(FIRST, b"A\tone\n")
    loader = bench.loader()
    loader.register()
    files = loader._cut_wave()
    with _away(bench.spool.root / folder), pytest.raises(SpoolGone):
        loader._load_group(files)
    bench.work()
    assert bench.states() == {FIRST: "loaded"}


def test_a_file_that_is_registered_while_the_spool_is_away_waits_for_its_verdict_until_it_is_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes when the receipts are read, and is back at the next try."""
    bench.arrive(SECOND, b"B\ttwo\n")
    bench.work()
    bench.arrive(SECOND, b"B\ttwo\n")
    third = "DT_0000003_KS_CATEGORY.NET"
    bench.arrive(third, b"C\tthree\n")
    bench.arrive(third, b"C\tthree\nD\tfour\n")
    register = Intake.register

    def away(*args: Any) -> list[str]:
        with _away(bench.spool.root):
            return register(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Intake, "register", away)
        with pytest.raises(SpoolGone):
            bench.loader().register()
    bench.arrive(FIRST, b"A\tone\n")
    bench.work()
    assert [row["category_id"] for row in bench.rows("category")] == ["A", "B", "C", "D"]


def test_nothing_is_made_anew_in_place_of_a_folder_with_bytes_or_receipts(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.create()
    for folder in (spool.data, spool.new, spool.done, spool.staged):
        with _away(folder):
            with pytest.raises(SpoolGone, match=f"The folder {folder} of the spool is not there"):
                Spool(tmp_path).create()
            assert not folder.exists()
    # What is under way there counts for nothing.
    spool.aside.rmdir()
    Spool(tmp_path).create()
    assert spool.aside.is_dir()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.stop()


@pytest.mark.parametrize("in_its_place", [False, True], ids=["nothing in its place", "an empty one"])
def test_nothing_is_accepted_while_the_spool_is_away(receiver: Running, in_its_place: bool) -> None:
    root = receiver.spool.root
    with _away(root):
        if in_its_place:
            Spool(root).create()
        # Before a byte is sent.
        with receiver.ftp() as session, pytest.raises(ftplib.error_temp, match=f"451 {FIRST} not accepted: "):
            session.transfercmd(f"STOR {FIRST}")
        if in_its_place:
            assert Spool(root).pending_ids() == []
            root.rename(root.with_name("the empty one"))
    assert receiver.store(FIRST, b"A\tone\n").startswith("226 ")
    assert receiver.accepted() == [FIRST]


def test_an_upload_during_which_the_spool_goes_is_not_accepted_into_another(receiver: Running) -> None:
    root = receiver.spool.root
    with receiver.ftp() as session:
        session.voidcmd("TYPE I")
        with session.transfercmd(f"STOR {FIRST}") as connection:
            connection.sendall(b"A\tone\n")
            until(lambda: bool(receiver.came()), "it has come")
            away = root.rename(root.with_name("away"))
            Spool(root).create()
        with pytest.raises(ftplib.error_temp, match=f"451 {FIRST} not accepted: "):
            session.voidresp()
    for place in (root, away):
        assert Spool(place).pending_ids() == []
        assert list(Spool(place).aside.iterdir()) == []
        assert list(Spool(place).staged_receipts()) == []


@pytest.mark.parametrize("in_its_place", [False, True], ids=["its file is gone", "an empty folder of it"])
def test_an_upload_whose_bytes_are_removed_meanwhile_is_not_accepted(
    receiver: Running, in_its_place: bool
) -> None:
    with receiver.ftp() as session:
        session.voidcmd("TYPE I")
        with session.transfercmd(f"STOR {FIRST}") as connection:
            connection.sendall(b"A\tone\n")
            until(lambda: bool(receiver.came()), "it has come")
            if in_its_place:
                receiver.spool.data.rename(receiver.spool.root / "away")
                receiver.spool.refused.mkdir(parents=True)
            else:
                [path] = receiver.came()
                path.unlink()
        with pytest.raises(ftplib.error_temp, match=f"451 {FIRST} not accepted: its bytes were removed"):
            session.voidresp()
    assert receiver.accepted() == []
    assert receiver.store(FIRST, b"A\tone\n").startswith("226 ")


@pytest.mark.parametrize("folder", ["", "data"])
def test_an_upload_that_waits_for_its_real_name_while_the_spool_is_away_is_accepted_when_it_is_back(
    receiver: Running, folder: str
) -> None:
    temporary = f"{FIRST}.tmp"
    assert receiver.store(temporary, b"A\tone\n").startswith("226 ")
    with receiver.ftp() as session:
        with _away(receiver.spool.root / folder):
            with pytest.raises(ftplib.error_temp, match=f"451 {FIRST} not accepted: "):
                session.rename(temporary, FIRST)
            assert session.nlst() == [temporary]
        assert session.rename(temporary, FIRST).startswith("250 ")
    assert receiver.accepted() == [FIRST]


def test_a_command_makes_no_spool_in_the_place_of_one_that_is_away(tmp_path: Path) -> None:
    inbox = RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}")
    home.claim(Inbox.open(inbox.conf).database, Spool(inbox.spool))
    with _away(inbox.spool):
        assert f"The spool {inbox.spool} is not there." in inbox.command("files", code=1)
        inbox.command("status")
        assert not inbox.spool.exists()


@pytest.mark.parametrize("folder", ["", "data"])
def test_status_says_what_it_knows_while_the_spool_is_away(tmp_path: Path, folder: str) -> None:
    inbox = RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}")
    # Of a new inbox there is nothing to say.
    assert "A new inbox makes it when it is started." in inbox.command("status", code=1)
    home.claim(Inbox.open(inbox.conf).database, Spool(inbox.spool))
    with _away(inbox.spool / folder):
        said = inbox.command("status")
        assert f"waits (spool gone): The {'folder' if folder else 'spool'} {inbox.spool / folder}" in said
        assert waits.kept("spool gone") in said
        assert "exceptions: 0" in said
