"""Answers to senders: written by the loader after every change, read over FTP (contract E3)."""

import ftplib
import os
import subprocess
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from server import spool as spools
from server.acks import ACK, Acks, Answer
from server.config import Inbox, Load
from server.names import parse
from tests.support.commands import Run
from tests.support.inboxes import Bench
from tests.support.receiving import Running
from tests.support.running import RunningInbox, until

NAME = "DT_0000001_KS_CATEGORY.NET"
LONG = "x" * 31
BAD = f"A\tone\nB\t{LONG}\n".encode()


def _files(bench: Bench) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (bench.spool.acks).glob("*/*")}


def _ack(bench: Bench, name: str = NAME) -> dict[str, str]:
    return _read(_files(bench)[f"{name}.ack"])


def _read(content: bytes) -> dict[str, str]:
    lines = [line.split("\t") for line in content.decode().splitlines()]
    assert {len(line) for line in lines} == {2}
    return {line[0]: line[1] for line in reversed(lines)}


def test_a_sender_reads_what_became_of_his_file(bench: Bench) -> None:
    receipt = bench.arrive(NAME, BAD)
    bench.work()
    ack = _ack(bench)
    # It may be written in the second after.
    assert ack.pop("received_at") <= ack.pop("loaded_at") <= ack.pop("written_at")
    assert ack == {
        "file": NAME,
        "state": "loaded",
        "cause": "",
        "reason": "",
        "size_bytes": str(len(BAD)),
        "sha256": receipt.sha256,
        "rows_read": "2",
        "rows_loaded": "1",
        "rows_rejected": "1",
        "rows_parked": "0",
        "next_expected": "0000002",
        "error": "line 2, Category Name: 31 characters, 30 allowed",
    }


def test_rejects_are_those_of_the_command_and_end_when_they_came_back_corrected(
    bench: Bench, run: Run, tmp_path: Path
) -> None:
    bench.arrive(NAME, BAD)
    bench.work()
    rejects = _files(bench)[f"{NAME}.rejects"]
    run("rejects", NAME, "--output", str(tmp_path / "out"))
    assert rejects == (tmp_path / "out").read_bytes()
    bench.arrive(f"{NAME}.fix", rejects.replace(LONG.encode(), b"mended"))
    bench.work()
    assert set(_files(bench)) == {f"{NAME}.ack", f"{NAME}.FIX.ack"}
    assert (_ack(bench)["rows_loaded"], _ack(bench, f"{NAME}.FIX")["rows_loaded"]) == ("2", "1")
    bench.arrive(f"{NAME}.fix", rejects.replace(LONG.encode(), b"mended"))
    bench.work()
    assert _ack(bench, f"{NAME}.FIX")["state"] == "loaded", "the copy does not stand for the fix"


def test_whatever_happens_to_a_file_later_is_in_its_answer(bench: Bench, run: Run) -> None:
    second = "DT_0000002_KS_CATEGORY.NET"
    strict = Load(max_rejected=0)
    bench.arrive(second, BAD)
    bench.work(load=strict)
    assert (_ack(bench, second)["state"], _ack(bench, second)["next_expected"]) == ("held", "0000001")
    bench.arrive(NAME, b"A\tone\n")
    bench.work(load=strict)
    ack = _ack(bench, second)
    assert (ack["state"], ack["cause"], ack["rows_loaded"]) == ("quarantined", "rejected rows", "")
    assert f"{second}.rejects" in _files(bench)
    run("withdraw", second, "--reason", "a\tnew\nline")
    bench.work(load=strict)
    assert (_ack(bench, second)["state"], _ack(bench, second)["reason"]) == ("withdrawn", "a\\tnew\\nline")
    mended = bench.arrive(second, b"B\ttwo\n")
    bench.work(load=strict)
    ack = _ack(bench, second)
    assert (ack["state"], ack["sha256"]) == ("loaded", mended.sha256)
    assert f"{second}.rejects" not in _files(bench)
    bench.arrive(second, b"B\ttwo\n")
    bench.work(load=strict)
    assert _ack(bench, second)["state"] == "loaded", "the copy does not stand for the file"


def test_rows_that_go_in_later_are_counted_in_the_answer_of_their_file(bench: Bench) -> None:
    bench.arrive(NAME, b"B\ttwo\tA\n")
    bench.work()
    parked = _ack(bench)
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    assert (parked["rows_parked"], _ack(bench)["rows_parked"]) == ("1", "0")
    assert _ack(bench)["rows_loaded"] == "1"


def test_what_was_refused_for_its_name_has_no_answer(bench: Bench) -> None:
    bench.arrive("orders.txt", b"x", refusal="a bad name")
    bench.arrive(NAME, b"x", refusal="somebody else's source")
    bench.work()
    assert _files(bench) == {}


class Killed(BaseException):
    """The process is gone."""


def test_a_loader_that_dies_before_it_has_answered_answers_after_its_restart(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise Killed

    bench.arrive(NAME, BAD)
    with monkeypatch.context() as patch:
        patch.setattr(Acks, "write", die)
        with pytest.raises(Killed):
            bench.work()
    assert bench.states() == {NAME: "loaded"}
    assert _files(bench) == {}
    bench.work()
    assert set(_files(bench)) == {f"{NAME}.ack", f"{NAME}.rejects"}


def test_what_a_power_cut_took_of_the_answers_is_written_anew(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.arrive(NAME, b"A\tone\n")
    bench.work()
    path = bench.spool.acks / "DT" / f"{NAME}.ack"
    path.write_bytes(b"")
    bench.work()
    assert path.read_bytes() == b"", "nothing is written without a reason"
    boot = tmp_path / "boot"
    boot.write_text("another start of the machine")
    monkeypatch.setattr(spools, "_BOOT", boot)
    bench.work()
    assert _ack(bench)["state"] == "loaded"


def test_answers_that_the_disk_refuses_hold_up_no_load(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.spool.acks.rmdir()
    bench.spool.acks.write_text("in the way")
    bench.arrive(NAME, b"A\tone\n")
    bench.work()
    assert bench.states() == {NAME: "loaded"}
    assert "answers in /acks cannot be written" in caplog.text
    bench.spool.acks.unlink()
    bench.spool.acks.mkdir()
    bench.work()
    assert _ack(bench)["state"] == "loaded"


def test_the_folder_of_the_answers_is_made_anew_when_it_was_removed(bench: Bench) -> None:
    bench.spool.acks.rmdir()
    bench.arrive(NAME, BAD)
    bench.work()
    assert _ack(bench)["state"] == "loaded"


def test_answers_are_kept_for_the_time_of_retention(bench: Bench) -> None:
    old = "DT_0000002_KS_CATEGORY.NET"
    bench.arrive(NAME, b"A\tone\n")
    bench.arrive(old, b"B\ttwo\n")
    bench.work()
    os.utime(bench.spool.acks / "DT" / f"{old}.ack", (0, 0))
    bench.work(inbox=Inbox(spool=bench.spool.root, retention=60))
    assert set(_files(bench)) == {f"{NAME}.ack"}


# --- over FTP ---


CONTENT = b"file\t" + NAME.encode() + b"\nstate\tloaded\n"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    server = Running(tmp_path)
    acks = Acks(server.spool)
    for text in (NAME, "XX_0000001_KS_CATEGORY.NET"):
        acks.write(Answer(parse(text), ACK), CONTENT)
    yield server
    server.stop()


def _fetch(session: ftplib.FTP, path: str) -> bytes:
    got = BytesIO()
    session.retrbinary(f"RETR {path}", got.write)
    return got.getvalue()


@pytest.mark.parametrize("folder", ["/acks", "/inbox/ACKS"])
def test_a_sender_lists_and_fetches_the_answers_for_his_sources(running: Running, folder: str) -> None:
    with running.ftp() as session:
        assert session.nlst() == []
        assert [(name, facts["type"]) for name, facts in session.mlsd()] == [("acks", "dir")]
        assert [name for name, _ in session.mlsd(folder)] == [f"{NAME}.ack"]
        session.cwd(folder)
        assert session.nlst() == [f"{NAME}.ack"]
        lines: list[str] = []
        session.dir(lines.append)
        assert [line.split()[-1] for line in lines] == [f"{NAME}.ack"]
        assert str(len(CONTENT)) in lines[0].split()
        for spelling in (f"{NAME}.ack", f"{folder}/dt_000001_ks_category.net.ACK"):
            assert _fetch(session, spelling) == CONTENT
            assert session.size(spelling) == len(CONTENT)
            assert session.sendcmd(f"MDTM {spelling}").startswith("213 20")
            assert "type=file" in session.sendcmd(f"MLST {spelling}")
        got = BytesIO()
        session.retrbinary(f"RETR {NAME}.ack", got.write, rest=5)
        assert got.getvalue() == CONTENT[5:]
        text: list[str] = []
        session.retrlines(f"RETR {NAME}.ack", text.append)
        assert text == CONTENT.decode().splitlines()
        assert f"{NAME}.ack" in session.sendcmd(f"STAT {folder}")


@pytest.mark.parametrize(
    "path",
    [
        "XX_0000001_KS_CATEGORY.NET.ack",
        "../../../spool/node",
        "acks/../../node",
        "DT_0000009_KS_CATEGORY.NET.ack",
        f"{NAME}.rejects",
        NAME,
        ".ack",
        "",
    ],
)
def test_nothing_else_can_be_fetched(running: Running, path: str) -> None:
    with running.ftp() as session:
        for command in ("RETR", "SIZE", "MDTM"):
            session.sendcmd("EPSV")
            with pytest.raises(ftplib.error_perm, match=r"^550"):
                session.sendcmd(f"{command} /acks/{path}")
        with pytest.raises(ftplib.error_perm, match=r"^554"):
            session.retrbinary(f"RETR /acks/{NAME}.ack", bytes, rest=len(CONTENT) + 1)
        assert _fetch(session, f"/acks/{NAME}.ack") == CONTENT, "the session goes on"


def test_the_answers_can_only_be_read(running: Running) -> None:
    with running.ftp() as session:
        session.cwd("/acks")
        with pytest.raises(ftplib.error_perm, match=r"^553 Files are sent to / and to no other folder"):
            session.storbinary("STOR DT_0000005_KS_ORDERS.NET", BytesIO(b"x"))
        with pytest.raises(ftplib.error_perm, match=r"^550"):
            session.rename(f"{NAME}.ack", "DT_0000005_KS_ORDERS.NET")
        for command in (f"DELE {NAME}.ack", f"APPE {NAME}.ack"):
            with pytest.raises(ftplib.error_perm):
                session.sendcmd(command)
    assert running.receipts() == []


def test_a_long_listing_keeps_no_other_session_waiting(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, go_on = Acks.all, threading.Event()

    def slowly(self: Acks, sources: Any) -> Any:
        assert go_on.wait(60)
        return found(self, sources)

    monkeypatch.setattr(Acks, "all", slowly)
    with running.ftp() as session, running.ftp() as other:
        lists = threading.Thread(target=lambda: names.extend(session.nlst("/acks")))
        names: list[str] = []
        lists.start()
        assert other.sendcmd("NOOP").startswith("200")
        assert running.store("DT_0000005_KS_ORDERS.NET", b"x").startswith("226")
        go_on.set()
        lists.join(60)
        assert names == [f"{NAME}.ack"]


def test_curl_and_lftp_fetch_answers(running: Running, tmp_path: Path) -> None:
    host, port = running.receiver.address
    fetched = subprocess.run(
        ["curl", "-sS", "--user", "erp:secret", f"ftp://{host}:{port}/acks/{NAME}.ack"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert fetched.stdout == CONTENT
    script = f"open -u erp,secret ftp://{host}:{port}; mirror /acks {tmp_path / 'got'}"
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(["lftp", "-c", script], check=True, timeout=60, env=environment)
    assert (tmp_path / "got" / f"{NAME}.ack").read_bytes() == CONTENT


def test_a_rejected_row_makes_its_round_over_ftp_alone(tmp_path: Path) -> None:
    """As an ERP does it: push, read the answer, correct, push the correction, read the answer."""
    with RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox, inbox.ftp() as session:

        def answer() -> dict[str, str]:
            try:
                return _read(_fetch(session, f"/acks/{NAME}.ack"))
            except ftplib.error_perm:
                return {}

        session.storbinary(f"STOR {NAME}", BytesIO(BAD))
        until(lambda: answer().get("rows_rejected") == "1", "the answer names the rejected row")
        rejects = _fetch(session, f"/acks/{NAME}.rejects")
        session.storbinary(f"STOR {NAME}.fix", BytesIO(rejects.replace(LONG.encode(), b"mended")))
        until(lambda: answer().get("rows_loaded") == "2", "the corrected row is in")
