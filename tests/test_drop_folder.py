"""Files that are left in a folder (contract A11): real files, and a clock that the test moves."""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from server import drop_folder, drop_troubles, drop_watch
from server.acceptance import Acceptance
from server.config import Inbox, Settings
from server.drop_folder import DropFolder
from server.drop_troubles import Trouble, Troubles
from server.drop_watch import Watch
from server.receipt import Receipt
from server.settings.drop_folder import DropFolders, address_of
from server.spool import Spool
from server.upload import Upload
from tests.support.commands import Run, json_of
from tests.support.inboxes import Bench
from tests.support.receiving import Told
from tests.support.running import RunningInbox, until

ORDERS = "DT_0000005_KS_ORDERS.NET"
ROW = b"a\tb\n"


@dataclass
class Place:
    """A folder, what looks at it, and the spool behind."""

    root: Path
    settings: DropFolders = field(default_factory=lambda: DropFolders(stable_for=10))
    inbox: dict[str, Any] = field(default_factory=dict)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.folder = self.root / "share"
        self.folder.mkdir(exist_ok=True)
        self.spool = Spool(self.root / "spool")
        self.spool.create()
        self.start()

    def start(self) -> None:
        """As after a restart of the receiver."""
        inbox = Inbox.model_validate({"spool": self.spool.root, "min_free_disk": 0, **self.inbox})
        self.acceptance = Acceptance(self.spool, Settings(inbox=inbox), Told(), lambda: frozenset({"ORDERS"}))
        self.acceptance.load()
        self.drop = DropFolder(
            self.folder,
            ("DT",),
            self.settings,
            self.acceptance,
            temporary_suffixes=inbox.temporary_suffixes,
            stop=threading.Event(),
            clock=lambda: self.now,
        )

    def watch(self) -> Watch:
        """What looks at the folder in its own threads, when it is started."""
        folders = self.settings.model_copy(update={"folders": {self.folder: ("DT",)}})
        return Watch(Settings(drop_folder=folders), self.spool, self.acceptance, lambda: self.now)

    def leave(self, name: str, data: bytes = ROW) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def look(self, after: float = 0.0) -> str:
        self.now += after
        return self.drop.scan()

    def settle(self) -> str:
        """Look twice, so that what stands still is taken; returns what is wrong then."""
        self.look()
        return self.look(10)

    def there(self) -> set[str]:
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.name != "taken")
        return {os.fsencode(path).decode("utf-8", "backslashreplace") for path in found}

    def receipts(self) -> list[Receipt]:
        return [receipt for name in self.spool.pending_ids() if (receipt := self.spool.read(name))]

    def came(self) -> list[tuple[str, bool]]:
        """The names of all receipts, and whether they were accepted."""
        return [(receipt.name, receipt.refusal is None) for receipt in self.receipts()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_file_is_taken_when_it_has_stopped_growing(place: Place) -> None:
    path = place.leave(ORDERS)
    assert (place.look(), place.look(9)) == ("", "")
    with path.open("ab") as file:
        file.write(ROW)
    assert (place.look(5), place.look(9), place.came()) == ("", "", [])
    assert place.look(1) == ""
    [receipt] = place.receipts()
    assert (receipt.name, receipt.user, receipt.address) == (ORDERS, "drop folder", str(place.folder))
    assert place.spool.data_path(receipt.data).read_bytes() == ROW * 2
    assert receipt.proofs["folder"] == "passed: it had stopped growing"
    assert place.there() == {f"taken/{ORDERS}"}


def test_a_file_whose_time_changes_alone_is_not_standing_still(place: Place) -> None:
    path = place.leave(ORDERS)
    place.look()
    os.utime(path, (1, 1))
    place.look(10)
    assert place.came() == []


@pytest.mark.parametrize("mark", [".done", ".DONE"])
def test_with_a_marker_a_file_is_taken_when_it_is_marked(tmp_path: Path, mark: str) -> None:
    place = Place(tmp_path, DropFolders(marker=".done"))
    place.leave(ORDERS)
    place.settle()
    assert place.came() == []
    place.leave(f"{ORDERS}{mark}", b"")
    place.look()
    assert place.came() == [(ORDERS, True)]
    assert place.there() == {f"taken/{ORDERS}"}


def test_originals_are_deleted_if_wanted(tmp_path: Path) -> None:
    place = Place(tmp_path, DropFolders(originals="delete"))
    place.leave(ORDERS)
    place.settle()
    assert (place.came(), place.there()) == ([(ORDERS, True)], set())


def test_files_are_taken_in_the_order_of_their_numbers(place: Place) -> None:
    names = [f"DT_{number:07d}_KS_ORDERS.NET" for number in (7, 5, 6)]
    for name in names:
        place.leave(name)
    place.settle()
    assert [name for name, _ in place.came()] == sorted(names)


def test_what_is_refused_stays_with_the_reason_until_it_changes(place: Place) -> None:
    wrong = place.leave("orders.txt")
    place.leave("XX_0000001_KS_ORDERS.NET")
    assert place.settle() == ""
    assert sorted(place.came()) == [("XX_0000001_KS_ORDERS.NET", False), ("orders.txt", False)]
    reason = (place.folder / "orders.txt.reason").read_text()
    assert reason.startswith(
        "orders.txt refused: the name must end in .NET or .FULL; it is kept for the operator."
    )
    assert (
        "drop folder may not push files of XX"
        in (place.folder / "XX_0000001_KS_ORDERS.NET.reason").read_text()
    )
    place.settle()
    place.start()
    place.settle()
    assert len(place.came()) == 2, "not again, nor after a restart"
    os.utime(wrong, (1, 1))
    place.settle()
    assert len(place.came()) == 3
    (place.folder / "orders.txt.reason").unlink()
    place.settle()
    assert len(place.came()) == 4
    wrong.rename(place.folder / ORDERS)
    place.settle()
    assert place.there() == {
        f"taken/{ORDERS}",
        "XX_0000001_KS_ORDERS.NET",
        "XX_0000001_KS_ORDERS.NET.reason",
    }


def test_the_same_name_again_is_a_duplicate_or_a_conflict(place: Place) -> None:
    for data in (ROW, ROW, b"other\n"):
        place.leave(ORDERS, data)
        place.settle()
    assert [accepted for _, accepted in place.came()] == [True, True, False]
    assert place.there() == {f"taken/{ORDERS}", f"taken/{ORDERS}.2", ORDERS, f"{ORDERS}.reason"}
    place.leave(ORDERS)
    place.settle()
    assert place.there() == {f"taken/{ORDERS}", f"taken/{ORDERS}.2", f"taken/{ORDERS}.3"}


class Killed(BaseException):
    """The process is gone."""


def test_a_crash_before_the_original_is_put_away_loads_nothing_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise Killed

    place.leave(ORDERS)
    with monkeypatch.context() as patch:
        patch.setattr(DropFolder, "_put_away", die)
        with pytest.raises(Killed):
            place.settle()
    assert (len(place.came()), place.there()) == (1, {ORDERS})
    place.start()
    place.settle()
    first, second = place.receipts()
    assert first.sha256 == second.sha256, "the ledger takes the second for a duplicate (A6)"
    assert place.there() == {f"taken/{ORDERS}"}


def test_an_original_that_cannot_be_put_away_is_not_taken_again(place: Place) -> None:
    (place.folder / "taken").write_text("in the way")
    place.leave(ORDERS)
    for _ in range(3):
        assert place.settle() == f"{ORDERS} is accepted, but cannot be put away (File exists)"
    assert place.came() == [(ORDERS, True)]
    (place.folder / "taken").unlink()
    assert (place.look(), place.there()) == ("", {f"taken/{ORDERS}"})


def test_a_reason_that_cannot_be_written_is_said_and_the_file_not_tried_again(place: Place) -> None:
    place.leave("orders.txt")
    (place.folder / "orders.txt.reason").mkdir()
    for _ in range(3):
        assert place.settle() == "orders.txt cannot be taken (File exists)"
    assert len(place.came()) == 1
    (place.folder / "orders.txt.reason").rmdir()
    assert place.settle() == ""
    assert place.there() == {"orders.txt", "orders.txt.reason"}


def test_a_share_that_is_away_is_said_and_taken_up_when_it_is_back(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    troubles = Troubles(place.spool, [place.folder])
    place.folder.rename(place.root / "away")
    for _ in range(2):
        troubles.report(place.folder, place.look())
    [told] = drop_troubles.read(place.spool)
    assert (told.folder, told.trouble) == (
        str(place.folder),
        "it cannot be read (No such file or directory)",
    )
    (place.root / "away").rename(place.folder)
    place.leave(ORDERS)
    troubles.report(place.folder, place.settle())
    assert (drop_troubles.read(place.spool), place.came()) == ([], [(ORDERS, True)])
    assert [
        record.message.partition(": ")[2] for record in caplog.records if "drop folder /" in record.message
    ] == [
        told.trouble,
        "",
    ]


def test_since_when_a_folder_is_in_trouble_is_known_over_a_restart(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    folders = [place.folder, place.root / "no more in the settings"]
    for days in range(2):
        monkeypatch.setattr(drop_troubles, "utc_now", lambda now=began + timedelta(days=days): now)
        troubles = Troubles(place.spool, folders)
        for folder in folders:
            troubles.report(folder, "it is away")
        folders = folders[:1]
    [told] = drop_troubles.read(place.spool)
    assert (told.folder, told.since) == (str(place.folder), began.replace(tzinfo=None))


@pytest.mark.parametrize(
    "damaged", [b"", bytes(4), b'{"/mnt/erp": {"trou', b"[]", b'{"/mnt/erp": {}}', b"7"], ids=str
)
@pytest.mark.parametrize("trouble", ["", "it is away"])
@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_what_a_power_cut_has_left_of_the_troubles_says_nothing_and_is_written_anew(
    bench: Bench, run: Run, damaged: bytes, trouble: str
) -> None:
    share, spool = Path("/mnt/erp"), bench.spool
    (spool.root / "drop_folder.json").write_bytes(damaged)
    assert json_of(run, "status")[0]["drop_folders"] == []
    Troubles(spool, [share]).report(share, trouble)
    told = [said["trouble"] for said in json_of(run, "status")[0]["drop_folders"]]
    assert told == [trouble] * bool(trouble)
    assert (spool.root / "drop_folder.json").read_bytes() != damaged


def test_troubles_that_the_spool_does_not_take_are_written_by_the_next_look(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    troubles = Troubles(place.spool, [place.folder])
    troubles.report(place.folder, "it is away")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        troubles.report(place.folder, "")
        assert len(drop_troubles.read(place.spool)) == 1, "whole or not at all"
    troubles.report(place.folder, "")
    assert drop_troubles.read(place.spool) == []


@dataclass
class Hanging:
    """A share whose list of names comes only when it is let go."""

    folder: Path
    patch: pytest.MonkeyPatch
    asked: threading.Event = field(default_factory=threading.Event)
    answers: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        scandir = os.scandir

        def hang(path: Any) -> Any:
            if path == self.folder:
                self.asked.set()
                assert self.answers.wait(60)
            return scandir(path)

        self.patch.setattr(os, "scandir", hang)


def test_a_share_that_hangs_for_a_minute_is_told_until_it_answers(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, share = place.watch(), Hanging(place.folder, monkeypatch)
    looking = threading.Thread(target=watch.look, args=(place.folder,))
    looking.start()
    assert share.asked.wait(60)
    place.now += 59
    watch.check()
    assert drop_troubles.read(place.spool) == []
    place.now += 1
    before = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    watch.check()
    [told] = drop_troubles.read(place.spool)
    assert (told.folder, told.trouble) == (str(place.folder), "it does not answer")
    assert told.since >= before - timedelta(seconds=60)
    assert told.since <= datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=60)
    share.answers.set()
    looking.join(60)
    watch.check()
    assert drop_troubles.read(place.spool) == []


def test_a_share_that_hangs_is_noticed_by_whoever_does_not_wait_for_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop_watch, "_CHECK_SECONDS", 0.01)
    watch, share = place.watch(), Hanging(place.folder, monkeypatch)
    watch.start()
    try:
        assert share.asked.wait(60)
        place.now += 60
        until(lambda: bool(drop_troubles.read(place.spool)), "that it hangs is told")
        share.answers.set()
        until(lambda: not drop_troubles.read(place.spool), "that it is well again is told")
    finally:
        share.answers.set()
        watch.stop()


def test_a_large_file_on_a_slow_share_and_a_slow_disk_are_not_taken_for_one_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(step: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        def take(*args: Any) -> Any:
            place.now += seconds
            watch.check()
            told.extend(drop_troubles.read(place.spool))
            slept.append(seconds)
            return step(*args)

        return take

    told: list[Trouble] = []
    slept: list[float] = []
    place = Place(tmp_path, DropFolders(stable_for=0))
    watch = place.watch()
    place.leave(ORDERS, ROW * 3)
    monkeypatch.setattr(drop_folder, "_BLOCK_BYTES", len(ROW))
    monkeypatch.setattr(Upload, "write", slow(Upload.write, 59))
    monkeypatch.setattr(Acceptance, "finish", slow(Acceptance.finish, 600))
    for _ in range(2):
        watch.look(place.folder)
    assert (place.came(), slept, told) == ([(ORDERS, True)], [59, 59, 59, 600], [])


def test_links_are_refused_and_what_is_no_file_or_not_complete_is_left_alone(place: Place) -> None:
    secret = place.root / "secret"
    secret.write_bytes(ROW)
    (place.folder / ORDERS).symlink_to(secret)
    # Whoever wrote the reason into what lies there would write into the secret.
    (place.folder / "orders.txt.reason").symlink_to(secret)
    place.leave("orders.txt")
    (place.folder / "DT_0000006_KS_ORDERS.NET").mkdir()
    os.mkfifo(place.folder / "DT_0000007_KS_ORDERS.NET")
    for name in (f"{ORDERS}.tmp", f"{ORDERS}.PART", f".{ORDERS}", "a.reason"):
        place.leave(name)
    before = place.there()
    assert place.settle() == ""
    assert place.settle() == ""
    assert place.came() == [("orders.txt", False)]
    assert place.there() == before | {f"{ORDERS}.reason"}
    assert "is a link" in (place.folder / f"{ORDERS}.reason").read_text()
    assert secret.read_bytes() == ROW


@pytest.mark.parametrize(
    "name", [b"two\nlines.NET", b"caf\xe9.NET", b"\x1b[31m.NET", b"-rf", b"%s%n.NET", "ÅÄÖ.NET".encode()]
)
def test_hostile_names_are_refused_in_characters_that_can_be_shown(
    place: Place, name: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = os.fsencode(place.folder) + b"/" + name
    Path(os.fsdecode(path)).write_bytes(ROW)
    assert place.settle() == ""
    assert [accepted for _, accepted in place.came()] == [False]
    first = Path(os.fsdecode(path + b".reason")).read_bytes().splitlines()[0]
    assert first.isascii()
    assert b" refused: " in first
    assert all(record.message.isprintable() for record in caplog.records)


def test_a_name_too_long_for_a_reason_is_said(place: Place) -> None:
    place.leave("x" * 251)
    assert place.settle().endswith("cannot be taken (File name too long)")
    place.settle()
    assert len(place.came()) == 1


def test_a_file_that_changes_while_it_is_read_is_not_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = DropFolder._copy
    path = place.leave(ORDERS)

    def with_a_writer(self: DropFolder, *args: Any) -> Any:
        refusal = copy(self, *args)
        with path.open("ab") as file:
            file.write(ROW)
        return refusal

    with monkeypatch.context() as patch:
        patch.setattr(DropFolder, "_copy", with_a_writer)
        place.settle()
    assert place.came() == []
    assert [path for path in place.spool.data.iterdir() if path.is_file()] == []
    place.settle()
    [receipt] = place.receipts()
    assert receipt.size_bytes == 2 * len(ROW)


def test_another_file_that_comes_under_the_name_meanwhile_is_not_put_away(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_away = DropFolder._put_away

    def late(self: DropFolder, *args: Any) -> None:
        place.leave(ORDERS, ROW * 3)
        put_away(self, *args)

    place.leave(ORDERS)
    with monkeypatch.context() as patch:
        patch.setattr(DropFolder, "_put_away", late)
        place.settle()
    assert place.there() == {ORDERS}
    assert (place.folder / ORDERS).read_bytes() == ROW * 3


def between(patch: pytest.MonkeyPatch, *, before: Callable[[Path], Any], after: Callable[[], Any]) -> None:
    """Have something happen before and after a file is moved to `taken/`; it is told as what."""
    rename = Path.rename

    def rename_among_others(self: Path, target: Path) -> Path:
        if target.parent.name != "taken":
            return rename(self, target)
        before(target)
        moved = rename(self, target)
        after()
        return moved

    patch.setattr(Path, "rename", rename_among_others)


def test_a_name_that_another_inbox_takes_at_the_last_moment_is_not_overwritten(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def takes(target: Path) -> None:
        with suppress(FileExistsError), target.open("xb") as file:
            file.write(b"of another\n")
            others.append(target)

    others: list[Path] = []
    between(monkeypatch, before=takes, after=lambda: None)
    place.leave(ORDERS)
    place.settle()
    kept = sorted(path.read_bytes() for path in (place.folder / "taken").iterdir())
    assert kept == sorted([ROW, *(b"of another\n" for _ in others)])


def test_what_came_while_a_file_was_put_away_overwrites_nothing_on_its_way_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.leave(ORDERS)
    between(
        monkeypatch,
        before=lambda _: place.leave(ORDERS, b"second\n"),
        after=lambda: place.leave(ORDERS, b"the third\n"),
    )
    place.settle()
    contents = {path.name: path.read_bytes() for path in place.folder.iterdir() if path.is_file()}
    assert contents == {ORDERS: b"the third\n", f"{ORDERS}.2": b"second\n"}
    place.settle()
    assert (place.folder / f"{ORDERS}.2.reason").exists(), "nobody has to find it by chance"


def test_a_move_that_fails_leaves_nothing_behind(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    place.leave(ORDERS)
    with monkeypatch.context() as patch:
        between(patch, before=refuse, after=lambda: None)
        assert place.settle() == f"{ORDERS} is accepted, but cannot be put away (Permission denied)"
        assert place.there() == {ORDERS}
    assert (place.look(), place.there()) == ("", {f"taken/{ORDERS}"})


def test_what_somebody_else_has_written_in_the_place_of_a_reason_stays(place: Place) -> None:
    told = "orders.txt cannot be taken (File exists)"
    wrong = place.leave("orders.txt")
    note = place.leave("orders.txt.reason", b"Ask Anna before you touch this.\n")
    assert (place.settle(), place.settle(), len(place.came())) == (told, told, 1)
    wrong.unlink()
    assert (place.settle(), note.read_bytes()) == ("", b"Ask Anna before you touch this.\n")
    place.leave("orders.txt")
    assert (place.settle(), note.read_bytes()) == (told, b"Ask Anna before you touch this.\n")
    note.write_bytes(b"")
    assert place.settle() == "", "a crash leaves it so"
    assert note.read_text().startswith("orders.txt refused: ")


def test_a_last_line_that_was_cut_gets_time_to_come(place: Place) -> None:
    """A5: and what comes twice, byte by byte, is taken as it is."""
    place.leave(ORDERS, b"a\tb\tc\nd")
    assert "the last line has no line end" in place.settle()
    assert place.came() == []
    assert place.settle() == ""
    assert place.came() == [(ORDERS, True)]


def test_what_the_spool_does_not_take_now_is_tried_again_and_what_it_never_takes_is_refused(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path, inbox={"min_free_disk": 1 << 60})
    place.leave(ORDERS)
    assert "disk is nearly full" in place.settle()
    assert place.there() == {ORDERS}
    place.inbox = {"max_file_size": 3}
    place.start()
    assert place.settle() == ""
    assert "(max_file_size)" in (place.folder / f"{ORDERS}.reason").read_text()
    assert place.came() == []


def test_a_running_inbox_takes_files_from_a_folder_that_comes_later(tmp_path: Path) -> None:
    share, name = tmp_path / "share", "DT_0000001_KS_CATEGORY.NET"
    settings = f'[drop_folder]\nfolders = {{"{share}" = ["dt"]}}\nscan_interval = 0.05\nstable_for = 0\n'
    with RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}", settings) as inbox:
        until(lambda: bool(inbox.ask("status")[0]["drop_folders"]), "the missing folder is told")
        assert f"drop folder {share}: it cannot be read" in inbox.command("status")
        share.mkdir()
        (tmp_path / "aside").write_bytes(b"A\tone\n")
        (tmp_path / "aside").rename(share / name)
        until(lambda: inbox.ask("status")[0]["files"] == {"loaded": 1}, "the file is loaded")
        until((share / "taken" / name).exists, "the original is put away")
        until(lambda: inbox.ask("status")[0]["drop_folders"] == [], "the folder is well")
        assert "folder: passed: it had stopped growing" in inbox.command("show", name)


@pytest.mark.parametrize(
    "wrong", [{"folders": {"/x": []}}, {"folders": {"/x": ["D_T"]}}, {"marker": "done"}, {"marker": ".NET"}]
)
def test_settings_that_cannot_be_are_mistakes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DropFolders.model_validate(wrong)


def test_what_one_folder_may_hold_another_may_not() -> None:
    deep = Path("/mnt", "d" * 60, "e" * 60)
    folders = DropFolders.model_validate({"folders": {"/mnt/one": ["dt"], deep: ["XX", "DT"]}})
    may = {
        (address, source): folders.may_hold(address_of(Path(address)), source)
        for address in ("/mnt/one", str(deep), "/mnt/two")
        for source in ("DT", "XX")
    }
    assert [key for key, value in may.items() if value] == [
        ("/mnt/one", "DT"),
        (str(deep), "DT"),
        (str(deep), "XX"),
    ]


# --- sweeping -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_originals_go_when_they_are_older_than_retention_and_nothing_else_does(
    tmp_path: Path, run: Run
) -> None:
    share = tmp_path / "share"
    (share / "taken" / "folder").mkdir(parents=True)
    settings = tmp_path / "conf" / "inbox.toml"
    settings.write_text(settings.read_text() + f'[drop_folder]\nfolders = {{"{share}" = ["DT"]}}\n')
    for path in (share / "taken" / "old.net", share / "waits.net", tmp_path / "else"):
        path.write_bytes(b"A\tone\n")
    (share / "taken" / "link").symlink_to(tmp_path / "else")
    assert run("sweep")[1] == "Nothing is old enough to go.\n"
    settings.write_text(settings.read_text().replace("[inbox]\n", "[inbox]\nretention = 0\n"))
    [found] = json_of(run, "sweep", "--dry-run")
    assert (found["folder"], found["name"], found["size_bytes"]) == (str(share), "old.net", 6)
    assert [one["name"] for one in json_of(run, "sweep")] == ["old.net"]
    assert json_of(run, "sweep") == []
    assert sorted(path.name for path in share.rglob("*")) == ["folder", "link", "taken", "waits.net"]
    shutil.rmtree(share)
    code, _, messages = run("sweep")
    assert (code, "No such file" in messages) == (1, True)
