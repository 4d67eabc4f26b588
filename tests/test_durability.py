"""Durability: nothing is promised before it is on disk, nor what the disk refuses (contract A2)."""

import errno
import ftplib
import os
import resource
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from server.ftp.session import Session
from server.spool import Spool
from tests.support.disks import mount, unmount
from tests.support.receiving import Running

ORDERS = "DT_0000005_KS_ORDERS.NET"
DATA = b"a\tb\n" * 100_000


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    server = Running(tmp_path)
    yield server
    server.stop()


class Trace:
    """What a receiver asks of the disk and says to its senders, in order; a step of it can be made to fail.

    It stands between our code and the system calls, in the very process that receives.
    """

    def __init__(self, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.sizes: dict[str, int] = {}
        self._spool = spool
        self._lock = threading.Lock()
        self._fails: tuple[int, int] | None = None
        self._asked = 0
        for name, said in (
            ("open", lambda path, *_: self._named(path)),
            ("write", lambda handle, _: self._named(_path_of(handle))),
            ("fsync", self._synced),
            ("rename", lambda old, new: f"{self._named(old)} {self._named(new)}"),
            ("unlink", self._named),
        ):
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name), said))
        respond = Session.respond

        def responding(session: Session, reply: str, *args: Any, **kwargs: Any) -> None:
            with self._lock:
                self.steps.append(f"say {reply[:3]}")
            respond(session, reply, *args, **kwargs)

        monkeypatch.setattr(Session, "respond", responding)

    def fail(self, step: int, error: int) -> None:
        """From the step with this index on every step fails; steps are counted from now."""
        self._asked, self._fails = 0, (step, error)

    def heal(self) -> int:
        """Nothing fails any more; returns how many steps were asked for."""
        self._fails = None
        return self._asked

    def _wrapped(self, name: str, real: Callable[..., Any], said: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            what = said(*args)
            if not what.strip():
                return real(*args, **kwargs)
            with self._lock:
                failing = self._fails is not None and self._asked >= self._fails[0] and name != "unlink"
                self._asked += name != "unlink"
                # Writes of one file are one step, however many they are.
                if self.steps[-1:] != [f"{name} {what}"]:
                    self.steps.append(f"{name} {what}")
            if failing and self._fails is not None:
                raise OSError(self._fails[1], os.strerror(self._fails[1]))
            return real(*args, **kwargs)

        return call

    def _synced(self, handle: int) -> str:
        path = _path_of(handle)
        named = self._named(path)
        if path.is_file():
            self.sizes[named] = path.stat().st_size
        return named

    def _named(self, path: Any) -> str:
        """A place in the spool: a folder, or a file as its folder and a slash. Empty elsewhere."""
        path = Path(os.fsdecode(path))
        if not path.is_relative_to(self._spool) or path.name in ("nudge", "receiver.lock"):
            return ""
        relative = path.relative_to(self._spool)
        return str(relative) if path.is_dir() else f"{relative.parent}/"


def _path_of(handle: int) -> Path:
    return Path(f"/proc/self/fd/{handle}").readlink()


DURABLE_DATA = ["open data/", "write data/", "fsync data/", "open data", "fsync data"]


def receipt_in(folder: str) -> list[str]:
    return ["fsync aside/", f"rename aside/ {folder}/", f"open {folder}", f"fsync {folder}"]


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        (ORDERS, [*DURABLE_DATA, *receipt_in("new"), "say 226"]),
        (f"{ORDERS}.tmp", [*DURABLE_DATA, *receipt_in("staged"), "say 226"]),
        (
            "nonsense.txt",
            [
                *DURABLE_DATA,
                "open data/refused",
                "fsync data/refused",
                *receipt_in("new"),
                "unlink data/",
                "say 553",
            ],
        ),
    ],
)
def test_data_then_receipt_then_rename_then_folder_then_the_reply(
    running: Running, monkeypatch: pytest.MonkeyPatch, name: str, steps: list[str]
) -> None:
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        trace = Trace(running.spool.root, monkeypatch)
        with suppress(ftplib.error_perm):
            session.storbinary(f"STOR {name}", BytesIO(DATA))
        monkeypatch.undo()
    asked = [step for step in trace.steps if not step.startswith(("say 1", "say 2")) or step == "say 226"]
    assert asked == steps
    assert trace.sizes["data/"] == len(DATA), "synced when all of it was written"
    [receipt] = [*running.receipts(), *running.spool.staged_receipts()]
    folder = running.spool.staged if name.endswith(".tmp") else running.spool.new
    assert trace.sizes["aside/"] == (folder / receipt.id).stat().st_size


def test_a_renamed_file_is_durable_before_the_250_and_a_cut_one_before_the_426(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.store(f"{ORDERS}.tmp", DATA)
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        trace = Trace(running.spool.root, monkeypatch)
        session.rename(f"{ORDERS}.tmp", ORDERS)
        assert trace.steps == ["say 350", *receipt_in("new"), "unlink staged/", "say 250"]
        trace.steps.clear()
        session.sendcmd("ALLO 1000000")
        with pytest.raises(ftplib.error_temp, match="426"):
            session.storbinary("STOR DT_0000006_KS_ORDERS.NET", BytesIO(DATA))
        monkeypatch.undo()
    asked = [step for step in trace.steps if not step.startswith(("say 1", "say 2")) or step == "say 226"]
    assert asked == [*DURABLE_DATA, *receipt_in("staged"), "say 426"]


CODES = {errno.ENOSPC: "452", errno.EDQUOT: "452", errno.EFBIG: "552", errno.EROFS: "451", errno.EIO: "451"}


@pytest.mark.parametrize("error", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", [ORDERS, f"{ORDERS}.tmp"])
def test_whatever_step_fails_its_sender_hears_why_and_may_send_again(
    running: Running, monkeypatch: pytest.MonkeyPatch, error: int, name: str
) -> None:
    trace = Trace(running.spool.root, monkeypatch)
    for step in range(100):
        trace.fail(step, error)
        reply = running.store(name, DATA)
        reached = trace.heal() > step
        if not reached:
            break
        assert reply.startswith(CODES[error]), trace.steps
        assert os.strerror(error) in reply
        assert "send it again" in reply
        assert running.receipts() == []
        assert list(running.spool.staged_receipts()) == []
    assert step >= 8, "opened, written, synced, renamed: all of them have failed once"
    assert reply.startswith("226")


def test_a_failed_step_leaves_nothing_but_what_the_sweep_looks_after(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = Trace(running.spool.root, monkeypatch)
    for step in range(100):
        trace.fail(step, errno.ENOSPC)
        running.store(ORDERS, DATA)
        if trace.heal() <= step:
            break
        undone = "unlink new/" in trace.steps
        # Whoever saw the receipt, before it was taken back, may rely on the bytes.
        assert bool(running.uploads()) == undone, (step, trace.steps)
        for path in running.uploads():
            path.unlink()
        trace.steps.clear()
    assert list(running.spool.aside.iterdir()) == []
    assert running.accepted() == [ORDERS]


# --- a disk that really refuses --------------------------------------------------------------------------


class Disk:
    """A file system of one megabyte below a folder; where none may be mounted its refusals are played."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._patch = monkeypatch
        folder.mkdir()
        self._read_only = folder / "spool" / "data"
        self.real = mount(folder, "size=1m,nr_inodes=64")
        if not self.real:
            warnings.warn(
                "No file system may be mounted here: a full disk is played, not real.", stacklevel=2
            )
            self._play_size()

    def unmount(self) -> None:
        if self.real:
            unmount(self.folder)

    def use_up_the_files(self) -> None:
        """One more file can be made, and no second one."""
        if not self.real:
            self._refuse(Spool, "_write", errno.ENOSPC)
        while self.real and os.statvfs(self.folder).f_ffree > 1:
            (self.folder / f"filler{os.statvfs(self.folder).f_ffree}").touch()

    def give_files_back(self) -> None:
        self._patch.undo()
        for path in self.folder.glob("filler*"):
            path.unlink()

    def make_read_only(self) -> None:
        if self.real:
            subprocess.run(["mount", "--bind", self._read_only, self._read_only], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", self._read_only], check=True)
        else:
            self._refuse(Spool, "open_data", errno.EROFS)

    def make_writable(self) -> None:
        self._patch.undo()
        if self.real:
            unmount(self._read_only)

    def _play_size(self) -> None:
        write = os.write

        def limited(handle: int, data: Any) -> int:
            if _path_of(handle).is_relative_to(self.folder) and os.fstat(handle).st_size > 1 << 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(handle, data)

        self._patch.setattr(os, "write", limited)

    def _refuse(self, owner: type, name: str, error: int) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(error, os.strerror(error))

        self._patch.setattr(owner, name, refuse)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk", monkeypatch)
    yield made
    monkeypatch.undo()
    made.unmount()


@pytest.fixture
def on_disk(tmp_path: Path, disk: Disk) -> Iterator[Running]:
    server = Running(tmp_path, spool=disk.folder / "spool")
    server.spool = Spool(disk.folder / "spool")
    yield server
    server.stop()


def test_a_disk_that_fills_up_while_receiving_gets_452_and_has_room_again(on_disk: Running) -> None:
    reply = on_disk.store(ORDERS, b"a\tb\n" * 1_000_000)
    assert reply.startswith("452")
    assert "No space left on device" in reply
    assert on_disk.store(ORDERS, b"a\tb\n").startswith("226")
    assert on_disk.accepted() == [ORDERS]


def test_a_disk_that_is_full_when_the_receipt_is_written_gets_452(on_disk: Running, disk: Disk) -> None:
    disk.use_up_the_files()
    reply = on_disk.store(ORDERS, b"a\tb\n")
    assert reply.startswith("452"), reply
    assert on_disk.receipts() == []
    disk.give_files_back()
    assert on_disk.store(ORDERS, b"a\tb\n").startswith("226")


def test_a_disk_that_may_only_be_read_gets_451_before_data_flows(on_disk: Running, disk: Disk) -> None:
    disk.make_read_only()
    with on_disk.ftp() as session, pytest.raises(ftplib.error_temp, match=r"451 .*Read-only file system"):
        session.transfercmd(f"STOR {ORDERS}")
    disk.make_writable()
    assert on_disk.store(ORDERS, b"a\tb\n").startswith("226")
    # Nor has it kept what was never there in mind.
    assert on_disk.receiver.acceptance._spool.in_use == frozenset()


def test_a_disk_that_is_gone_gets_451_before_data_flows(running: Running) -> None:
    """A share that is not mounted, say: not even its free room can be asked for."""
    away = running.spool.data.rename(running.spool.root / "away")
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        for command in (f"STOR {ORDERS}", f"APPE {ORDERS}"):
            with pytest.raises(ftplib.error_temp, match=r"451 .*the inbox's spool is not there"):
                session.transfercmd(command)
    away.rename(running.spool.data)
    assert running.store(ORDERS, DATA).startswith("226")


def test_a_file_that_is_larger_than_the_system_lets_it_be_gets_552(running: Running) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        reply = running.store(ORDERS, DATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert reply.startswith("552"), reply
    assert "File too large" in reply
    assert running.uploads() == []
    assert running.store(ORDERS, DATA).startswith("226")
