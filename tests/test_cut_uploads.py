"""Cut uploads: told by whatever tells them, kept, taken up again, and never mixed (contract A5, A8)."""

import ftplib
import hashlib
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ByteSize

from server import acceptance, proofs
from server.answers import Answer
from server.config import Inbox
from server.receipt import Receipt
from server.sent import Sent
from server.settings.source import Source
from server.spool import Spool
from server.upload import Sender, Upload
from server.uploads import Uploads
from tests.support.receiving import Running
from tests.support.running import RunningInbox, until

ORDERS = "DT_0000005_KS_ORDERS.NET"
WHOLE = b"".join(b"order %07d\tsecond\tthird\r\n" % number for number in range(20_000))
HALF = WHOLE[: len(WHOLE) // 2]
RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    server = Running(tmp_path)
    yield server
    server.stop()


def cut(server: Running, name: str = ORDERS, data: bytes = HALF, rest: int | None = None) -> str:
    """Send something and reset the connection when it is all there; returns the reply."""
    with server.ftp() as session:
        session.voidcmd("TYPE I")
        return cut_by_reset(server, session, f"STOR {name}", data, rest)


def cut_by_reset(
    server: Running, session: ftplib.FTP, command: str, data: bytes, rest: int | None = None
) -> str:
    """As `cut`, in a session that goes on."""
    connection = session.transfercmd(command, rest)
    connection.sendall(data)
    size = (rest or 0) + len(data)
    until(lambda: any(path.stat().st_size == size for path in server.uploads()), "it has come")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()
    with pytest.raises(ftplib.error_temp) as reply:
        session.voidresp()
    return str(reply.value)


def accepted(server: Running) -> tuple[bytes, Receipt]:
    """The one accepted file, with its receipt; its digests are of the whole, however it came."""
    [receipt] = [receipt for receipt in server.receipts() if receipt.refusal is None]
    data = server.spool.data_path(receipt.data).read_bytes()
    assert receipt.sha256 == hashlib.sha256(data).hexdigest()
    assert receipt.sha256_lf == hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()
    assert receipt.size_bytes == len(data)
    return data, receipt


# --- going on --------------------------------------------------------------------------------------------


def test_what_came_before_a_reset_is_kept_and_its_sender_hears_how_to_go_on(running: Running) -> None:
    reply = cut(running)
    assert reply.startswith(
        f"426 {ORDERS} not accepted: the data connection was cut (Connection reset by peer)"
    )
    assert f"{len(HALF)} bytes are kept" in reply
    assert running.accepted() == []
    [note] = running.cut()
    assert note.proofs == {"data connection": f"failed: {note.cut}"}


@pytest.mark.parametrize("back", [0, 1, 1000, len(HALF) - 1])
def test_rest_and_stor_go_on_where_the_sender_wants_and_the_digest_is_of_the_whole(
    running: Running, back: int
) -> None:
    cut(running)
    offset = len(HALF) - back
    with running.ftp() as session:
        assert session.storbinary(f"STOR {ORDERS}", BytesIO(WHOLE[offset:]), rest=offset).startswith("226")
    data, receipt = accepted(running)
    assert data == WHOLE
    assert receipt.proofs["resumed"].startswith(f"behind {offset:,} bytes, after it was cut: the data conn")
    assert running.cut() == []
    assert len(running.uploads()) == 1


def test_size_and_listings_tell_where_to_go_on_and_appe_goes_on_there(running: Running) -> None:
    cut(running)
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        offset = session.size(ORDERS.lower())
        assert offset == len(HALF) - 1, "never as long as a file that is all there"
        assert [facts["size"] for _, facts in session.mlsd() if facts["type"] == "file"] == [str(offset)]
        assert session.storbinary(f"APPE {ORDERS}", BytesIO(WHOLE[offset:])).startswith("226")
    assert accepted(running)[0] == WHOLE


def test_an_upload_can_be_cut_again_and_again(running: Running) -> None:
    step = len(WHOLE) // 4
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        for at in range(0, 3 * step, step):
            cut_by_reset(running, session, f"STOR {ORDERS}", WHOLE[at : at + step], at or None)
            assert session.size(ORDERS) == at + step - 1
            assert len(running.cut()) == 1
        assert session.storbinary(f"STOR {ORDERS}", BytesIO(WHOLE[3 * step :]), rest=3 * step)[:3] == "226"
    assert accepted(running)[0] == WHOLE


def test_what_is_kept_outlives_a_restart(tmp_path: Path) -> None:
    first = Running(tmp_path)
    try:
        cut(first)
    finally:
        first.stop()
    again = Running(tmp_path)
    try:
        with again.ftp() as session:
            session.voidcmd("TYPE I")
            offset = session.size(ORDERS) or 0
            assert offset == len(HALF) - 1
            session.storbinary(f"STOR {ORDERS}", BytesIO(WHOLE[offset:]), rest=offset)
        assert accepted(again)[0] == WHOLE
    finally:
        again.stop()
    once_more = Running(tmp_path)
    try:
        with once_more.ftp() as session:
            assert session.size(ORDERS) == len(WHOLE), "accepted; no note is left of the cut"
    finally:
        once_more.stop()


def test_a_receiver_that_died_between_two_notes_of_an_upload_keeps_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Running(tmp_path)
    try:
        cut(first)
        with monkeypatch.context() as patched:
            patched.setattr(Spool, "unstage", lambda *_: None)
            cut(first, data=WHOLE[len(HALF) : -5], rest=len(HALF))
    finally:
        first.stop()
    assert len(first.cut()) == 2
    again = Running(tmp_path)
    try:
        with again.ftp() as session:
            offset = len(WHOLE) - 5
            session.storbinary(f"STOR {ORDERS}", BytesIO(WHOLE[offset:]), rest=offset)
        assert accepted(again)[0] == WHOLE
        assert again.cut() == []
    finally:
        again.stop()


def test_who_goes_back_may_end_before_what_was_kept(running: Running) -> None:
    cut(running)
    with running.ftp() as session:
        assert session.storbinary(f"STOR {ORDERS}", BytesIO(b"\n"), rest=10).startswith("226")
    assert accepted(running)[0] == WHOLE[:10] + b"\n"


def test_stopping_the_inbox_in_mid_upload_keeps_what_came(tmp_path: Path) -> None:
    first = Running(tmp_path)
    session = first.ftp()
    session.voidcmd("TYPE I")
    with session.transfercmd(f"STOR {ORDERS}") as connection:
        connection.sendall(HALF)
        until(lambda: any(path.stat().st_size == len(HALF) for path in first.uploads()), "it has come")
        first.stop()
    session.close()
    assert [note.size_bytes for note in first.cut()] == [len(HALF)]


@pytest.mark.parametrize("kind", ["STOR", "APPE"])
def test_in_type_a_nothing_goes_on_and_nothing_is_kept(running: Running, kind: str) -> None:
    cut(running)
    with running.ftp() as session:
        session.voidcmd("TYPE A")
        with pytest.raises(ftplib.error_perm, match=r"504 .*TYPE"):
            session.sendcmd("REST 10") if kind == "STOR" else session.transfercmd(f"APPE {ORDERS}")
        session.voidcmd("TYPE I")
        assert session.size(ORDERS) == len(HALF) - 1, "it is still there for type I"
        session.voidcmd("TYPE A")
        reply = cut_by_reset(running, session, "STOR DT_0000006_KS_ORDERS.NET", WHOLE)
        assert "Nothing was kept" in reply
    assert [note.name for note in running.cut()] == [ORDERS]


def test_type_a_behind_rest_is_refused_too(running: Running) -> None:
    cut(running)
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        session.sendcmd("REST 10")
        session.voidcmd("TYPE A")
        with pytest.raises(ftplib.error_perm, match="504"):
            session.transfercmd(f"STOR {ORDERS}")


@pytest.mark.parametrize(("command", "code"), [("STOR", "554"), ("APPE", "550")])
def test_where_nothing_is_kept_nothing_can_be_added_to(running: Running, command: str, code: str) -> None:
    """Also not to an accepted file, and not to another sender's (A1)."""
    running.store(ORDERS, WHOLE)
    cut(running, "DT_0000006_KS_ORDERS.NET")
    for user, name in (
        ("erp", ORDERS),
        ("erp", "DT_0000007_KS_ORDERS.NET"),
        ("other", "DT_0000006_KS_ORDERS.NET"),
    ):
        with running.ftp(user) as session:
            session.voidcmd("TYPE I")
            with pytest.raises(ftplib.error_perm, match=f"{code} Nothing of {name} is kept"):
                session.transfercmd(f"{command} {name}", rest=5 if command == "STOR" else None)
    assert running.accepted() == [ORDERS]
    assert len(running.cut()) == 1


def test_beyond_what_is_kept_nobody_can_go_on(running: Running) -> None:
    cut(running)
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        with pytest.raises(ftplib.error_perm, match=f"554 .*only {len(HALF)} bytes are kept"):
            session.transfercmd(f"STOR {ORDERS}", rest=len(HALF) + 1)
        assert session.size(ORDERS) == len(HALF) - 1
        session.storbinary(f"STOR {ORDERS}", BytesIO(WHOLE[len(HALF) :]), rest=len(HALF))
    assert accepted(running)[0] == WHOLE


def test_where_what_was_kept_is_gone_from_the_disk_the_sender_hears_that_he_has_to_begin_anew(
    running: Running,
) -> None:
    """Or a client that goes on by itself would be sent away for a day."""
    cut(running)
    [data] = running.came()
    data.unlink()
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        with pytest.raises(ftplib.error_perm, match=r"550 Nothing of .* is kept"):
            session.transfercmd(f"APPE {ORDERS}")
        with pytest.raises(ftplib.error_perm, match="550"):
            session.size(ORDERS)
    assert running.cut() == []
    assert running.store(ORDERS, WHOLE).startswith("226")


def test_where_some_of_what_was_kept_is_gone_the_sender_goes_on_behind_the_rest(running: Running) -> None:
    cut(running)
    [data] = running.came()
    os.truncate(data, 1000)
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        with pytest.raises(ftplib.error_perm, match="only 1000 bytes are kept"):
            session.transfercmd(f"STOR {ORDERS}", len(HALF))
        assert session.size(ORDERS) == 999
        assert session.storbinary(f"APPE {ORDERS}", BytesIO(WHOLE[999:])).startswith("226")
    [receipt] = running.receipts()
    assert receipt.sha256 == hashlib.sha256(WHOLE).hexdigest()


@pytest.mark.parametrize("left_bytes", [None, 7])
def test_a_staged_file_of_which_bytes_are_gone_from_the_disk_is_not_accepted_by_a_rename(
    running: Running, left_bytes: int | None
) -> None:
    """N6: its 250 promises what a 226 promises."""
    assert running.store(f"{ORDERS}.tmp", WHOLE).startswith("226")
    [data] = running.came()
    data.unlink() if left_bytes is None else os.truncate(data, left_bytes)
    with running.ftp() as session:
        with pytest.raises(ftplib.error_perm, match=r"550 .* is gone from the inbox's disk; send it again"):
            session.rename(f"{ORDERS}.tmp", ORDERS)
        with pytest.raises(ftplib.error_perm, match="550"):
            session.size(f"{ORDERS}.tmp")
    assert running.receipts() == []
    assert running.store(ORDERS, WHOLE).startswith("226")


def test_a_plain_stor_begins_anew(running: Running) -> None:
    cut(running)
    assert running.store(ORDERS, b"another\tfile\n").startswith("226")
    assert accepted(running)[0] == b"another\tfile\n"
    assert running.cut() == []
    assert len(running.uploads()) == 1


def test_rest_holds_for_one_command(running: Running) -> None:
    cut(running)
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        session.sendcmd("REST 10")
        session.nlst()
        assert session.storbinary(f"STOR {ORDERS}", BytesIO(WHOLE)).startswith("226")
    assert accepted(running)[0] == WHOLE


def test_of_two_sessions_that_go_on_with_one_upload_one_wins_and_nothing_is_mixed(running: Running) -> None:
    cut(running)
    with running.ftp() as first, running.ftp() as second:
        for session in (first, second):
            session.voidcmd("TYPE I")
        connection = first.transfercmd(f"STOR {ORDERS}", rest=len(HALF))
        with pytest.raises(ftplib.error_temp, match="450 Another session"):
            second.transfercmd(f"STOR {ORDERS}", rest=len(HALF))
        connection.sendall(WHOLE[len(HALF) :])
        connection.close()
        assert first.voidresp().startswith("226")
    assert accepted(running)[0] == WHOLE


def test_many_that_go_on_at_once_leave_one_whole_file(running: Running) -> None:
    cut(running)

    def go_on(_: int) -> str:
        with running.ftp() as session:
            try:
                return session.storbinary(f"STOR {ORDERS}", BytesIO(WHOLE[len(HALF) :]), rest=len(HALF))
            except ftplib.Error as error:
                return str(error)

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(go_on, range(8)))
    assert sum(reply.startswith("226") for reply in replies) == 1
    assert accepted(running)[0] == WHOLE


def test_without_a_data_connection_what_is_kept_stays(running: Running) -> None:
    cut(running)
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        session.makepasv()
        session.sendcmd("REST 10")
        assert session.sendcmd(f"STOR {ORDERS}").startswith("150")
        assert session.sendcmd("ABOR").startswith("225")
        # Cut off behind the ten bytes, as was asked; what is left is what SIZE tells.
        assert session.size(ORDERS) == 9
        session.storbinary(f"STOR {ORDERS}", BytesIO(WHOLE[9:]), rest=9)
    assert accepted(running)[0] == WHOLE


def test_what_is_never_resumed_is_swept(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(running)
    running.receiver.acceptance.tidy()
    assert len(running.cut()) == 1, "not before a day is over"
    monkeypatch.setattr(acceptance, "KEPT_SECONDS", -1.0)
    running.receiver.acceptance.tidy()
    assert running.cut() == []
    assert running.uploads() == []


def test_a_cut_file_under_a_temporary_name_cannot_be_renamed_until_it_is_whole(running: Running) -> None:
    name = f"{ORDERS}.tmp"
    cut(running, name)
    with running.ftp() as session:
        with pytest.raises(ftplib.error_perm, match=r"550 .* was cut"):
            session.rename(name, ORDERS)
        session.storbinary(f"STOR {name}", BytesIO(WHOLE[len(HALF) :]), rest=len(HALF))
        assert session.rename(name, ORDERS).startswith("250")
    data, receipt = accepted(running)
    assert data == WHOLE
    assert "resumed" in receipt.proofs


# --- what tells a cut ------------------------------------------------------------------------------------


def test_of_a_file_that_is_accepted_under_a_temporary_name_no_cut_upload_is_shown_any_more(
    running: Running,
) -> None:
    """A12: who checks his work by SIZE would take it for lost, and `status` would call it cut."""
    cut(running)
    running.store(f"{ORDERS}.tmp", WHOLE)
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        assert session.rename(f"{ORDERS}.tmp", ORDERS).startswith("250")
        assert session.size(ORDERS) == len(WHOLE)
    assert running.cut() == []
    assert len(running.came()) == 1


def test_a_receiver_that_died_just_after_an_acceptance_shows_no_cut_upload_of_the_file(
    tmp_path: Path,
) -> None:
    server = Running(tmp_path)
    cut(server)
    notes = server.cut()
    data = server.came()
    server.store(f"{ORDERS}.tmp", WHOLE)
    with server.ftp() as session:
        session.rename(f"{ORDERS}.tmp", ORDERS)
    server.stop()
    data[0].write_bytes(HALF)
    server.spool.stage(notes[0])
    again = Running(tmp_path)
    with again.ftp() as session:
        session.voidcmd("TYPE I")
        size = session.size(ORDERS)
    again.stop()
    assert size == len(WHOLE)
    assert again.cut() == []
    assert len(again.came()) == 1


def test_an_upload_that_is_found_cut_when_another_session_has_sent_the_file_keeps_nothing(
    running: Running,
) -> None:
    """A client that lost its connection tries again at once; the inbox may see the loss much later."""
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        lost = session.transfercmd(f"STOR {ORDERS}")
        lost.sendall(HALF)
        until(lambda: any(path.stat().st_size == len(HALF) for path in running.uploads()), "it has come")
        assert running.store(ORDERS, WHOLE).startswith("226")
        lost.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        lost.close()
        with pytest.raises(ftplib.error_temp, match=r"426 .* a file of that name was accepted meanwhile"):
            session.voidresp()
        assert session.size(ORDERS) == len(WHOLE)
    assert running.cut() == []
    assert len(running.came()) == 1
    cut(running)
    assert [note.name for note in running.cut()] == [ORDERS], "what is begun later is kept"


def test_an_abort_cuts(running: Running) -> None:
    with running.ftp() as session:
        session.voidcmd("TYPE I")
        connection = session.transfercmd(f"STOR {ORDERS}")
        connection.sendall(HALF)
        until(lambda: any(path.stat().st_size == len(HALF) for path in running.uploads()), "it has come")
        session.putcmd("ABOR")
        with pytest.raises(ftplib.error_temp, match=f"426 .* was aborted. {len(HALF)} bytes are kept"):
            session.voidresp()
        assert session.voidresp().startswith("226")
        assert session.size(ORDERS) == len(HALF) - 1, "kept before the next command is answered"
        connection.close()
    assert running.accepted() == []


def _send_half(session: ftplib.FTP, monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Send half of the file, and do something when its data has ended in order and is not yet on disk."""
    sync = os.fsync
    session.voidcmd("TYPE I")
    with session.transfercmd(f"STOR {ORDERS}") as connection:
        connection.sendall(HALF)

        def fsync(descriptor: int) -> None:
            monkeypatch.undo()
            then()
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)


def test_an_abort_behind_the_end_of_the_data_cuts_too(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running.ftp() as session:
        _send_half(session, monkeypatch, lambda: session.putcmd("ABOR"))
        with pytest.raises(ftplib.error_temp, match=r"426 .* aborted"):
            session.voidresp()
        assert session.voidresp().startswith("225")
    assert [note.proofs["sender"] for note in running.cut()] == ["failed: the transfer was aborted"]


def test_a_sender_who_has_gone_is_missed_though_a_command_of_his_is_yet_to_be_read(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = running.ftp()

    def go() -> None:
        session.putcmd("NOOP")
        session.close()

    _send_half(session, monkeypatch, go)
    until(lambda: bool(running.cut()), "it is cut")
    assert running.accepted() == []


def test_of_an_empty_file_nothing_shows_that_it_is_whole(running: Running) -> None:
    assert running.store(ORDERS, b"").startswith("226")
    [receipt] = running.receipts()
    assert receipt.proofs["last line"] == "none: it is empty"


def test_a_standstill_cuts(tmp_path: Path) -> None:
    server = Running(tmp_path, {"idle_timeout": 1})
    try:
        with server.ftp() as session:
            session.voidcmd("TYPE I")
            connection = session.transfercmd(f"STOR {ORDERS}")
            connection.sendall(HALF)
            with pytest.raises(ftplib.error_temp, match=r"426 .*nothing came for 1 s"):
                session.voidresp()
            connection.close()
            assert session.size(ORDERS) == len(HALF) - 1
        assert server.accepted() == []
    finally:
        server.stop()


def test_fewer_bytes_than_were_announced_are_a_cut(running: Running) -> None:
    with running.ftp() as session:
        assert session.sendcmd(f"ALLO {len(WHOLE)}").startswith("200")
        with pytest.raises(
            ftplib.error_temp, match=f"426 .*: {len(HALF):,} of {len(WHOLE):,} announced bytes"
        ):
            session.storbinary(f"STOR {ORDERS}", BytesIO(HALF))
        assert running.accepted() == []
        session.sendcmd(f"ALLO {len(WHOLE)}")
        session.storbinary(f"STOR {ORDERS}", BytesIO(WHOLE[len(HALF) :]), rest=len(HALF))
        # An announcement holds for one upload.
        assert session.storbinary("STOR DT_0000006_KS_ORDERS.NET", BytesIO(b"x\n")).startswith("226")
    first, second = running.receipts()
    assert first.proofs["announced size"] == f"passed: {len(WHOLE):,} bytes were announced"
    assert second.proofs["announced size"] == "none: no size was announced"


@pytest.mark.parametrize("size", ["", "-1", "x", "1" * 30])
def test_an_announcement_that_is_no_size_is_refused(running: Running, size: str) -> None:
    with running.ftp() as session, pytest.raises(ftplib.error_perm, match="501"):
        session.sendcmd(f"ALLO {size}")


@pytest.mark.parametrize(("announced", "code"), [(2000, "552"), (900, "452")])
def test_what_is_announced_too_large_is_refused_before_data_flows(
    tmp_path: Path, announced: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A10."""
    server = Running(tmp_path, max_file_size=1000, min_free_disk=500)
    monkeypatch.setattr(Spool, "free_bytes", lambda _: 1000)
    try:
        with server.ftp() as session:
            session.sendcmd(f"ALLO {announced}")
            with pytest.raises(ftplib.Error, match=code):
                session.transfercmd(f"STOR {ORDERS}")
        assert server.uploads() == []
    finally:
        server.stop()


def test_a_last_line_without_end_that_is_narrower_than_the_first_is_a_cut(running: Running) -> None:
    whole = b"a\tb\tc\nd\te\tf\n"
    reply = running.store(ORDERS, whole[:-3])
    assert reply.startswith("426")
    assert "the last line has no line end, and 2 of 3 cells" in reply
    assert running.accepted() == []
    with running.ftp() as session:
        session.storbinary(f"STOR {ORDERS}", BytesIO(whole[-3:]), rest=len(whole) - 3)
    assert accepted(running)[0] == whole


def test_such_a_file_that_comes_twice_is_what_the_sender_has(tmp_path: Path) -> None:
    """Or he would send it for ever and hold up his stream; its last row is refused when it is loaded (L3)."""
    server = Running(tmp_path)
    try:
        assert server.store(ORDERS, b"a\tb\tc\nd\te").startswith("426")
    finally:
        server.stop()
    again = Running(tmp_path)
    try:
        assert again.store(ORDERS, b"a\tb\tc\nx\ty").startswith("426"), "other bytes are another cut"
        assert again.store(ORDERS, b"a\tb\tc\nx\ty").startswith("226")
        assert accepted(again)[1].proofs["last line"].endswith("but came twice")
        assert again.cut() == []
    finally:
        again.stop()


def test_where_rows_may_differ_in_width_a_narrow_last_line_shows_nothing(tmp_path: Path) -> None:
    server = Running(tmp_path, sources={"DT": Source(ragged=True)})
    try:
        assert server.store(ORDERS, b"a\tb\tc\nd\te").startswith("226")
    finally:
        server.stop()


def test_an_accepted_file_says_by_what_it_was_found_whole(running: Running) -> None:
    running.store(ORDERS, b"a\tb\n")
    assert accepted(running)[1].proofs == {
        "data connection": "passed: it was closed in order",
        "sender": "passed: he was still connected",
        "announced size": "none: no size was announced",
        "last line": "passed: it has its line end",
    }


# --- clients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [HALF, WHOLE], ids=["half", "all"])
def test_curl_goes_on(running: Running, tmp_path: Path, kept: bytes) -> None:
    """Also where all had come before the cut: curl would take a file of equal size for delivered."""
    cut(running, data=kept)
    (tmp_path / "whole").write_bytes(WHOLE)
    host, port = running.receiver.address
    where = f"ftp://{host}:{port}/{ORDERS}"
    words = ["curl", "-sS", "--user", "erp:secret", "-C", "-", "-T", str(tmp_path / "whole"), where]
    subprocess.run(words, check=True, timeout=60)
    data, receipt = accepted(running)
    assert data == WHOLE
    assert "resumed" in receipt.proofs


@pytest.mark.parametrize("kept", [HALF, WHOLE], ids=["half", "all"])
def test_lftp_goes_on(running: Running, tmp_path: Path, kept: bytes) -> None:
    cut(running, data=kept)
    (tmp_path / "whole").write_bytes(WHOLE)
    host, port = running.receiver.address
    script = (
        "set net:max-retries 1; set ftp:rest-stor yes; set ftp:use-allo yes; "
        f"open -u erp,secret {host}:{port}; put -c {tmp_path}/whole -o {ORDERS}"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(["lftp", "-c", script], check=True, timeout=60, env=environment)
    data, receipt = accepted(running)
    assert data == WHOLE
    assert "resumed" in receipt.proofs


def test_a_receiver_that_is_killed_while_an_upload_goes_on_loses_nothing(tmp_path: Path) -> None:
    with RunningInbox(tmp_path, f"sqlite:///{tmp_path}/inbox.sqlite") as inbox:
        name, whole = "DT_0000001_KS_CATEGORY.NET", b"A\tone\nB\ttwo\nC\tthree\n"
        data = inbox.spool / "data"

        def sizes() -> list[int]:
            return [path.stat().st_size for path in data.iterdir() if path.is_file()]

        with inbox.ftp() as session:
            session.voidcmd("TYPE I")
            with session.transfercmd(f"STOR {name}") as connection:
                connection.sendall(whole[:8])
                until(lambda: 8 in sizes(), "half has come")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with pytest.raises(ftplib.error_temp):
                session.voidresp()
        session = inbox.ftp()
        session.voidcmd("TYPE I")
        connection = session.transfercmd(f"STOR {name}", rest=4)
        connection.sendall(whole[4:6])
        until(lambda: 6 in sizes(), "a little more has come, after it was cut off")
        inbox.kill("receiver")
        connection.close()
        session.close()
        until(inbox.listens, "it is started again")
        with inbox.ftp() as session:
            session.voidcmd("TYPE I")
            assert session.size(name) == 5
            session.storbinary(f"STOR {name}", BytesIO(whole[5:]), rest=5)
        until(lambda: inbox.states() == {name: "loaded"}, "it is loaded")
        [shown] = inbox.ask("show", name)
        assert shown["rows_loaded"] == 3
        assert shown["proofs"]["resumed"].startswith("behind 5 bytes")
        assert "last line: passed: it has its line end" in inbox.command("show", name)


# --- without sockets -------------------------------------------------------------------------------------


@given(
    content=st.binary(min_size=100, max_size=200),
    parts=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 60), st.booleans()), max_size=8),
)
def test_however_often_it_is_cut_and_taken_up_the_whole_is_what_was_sent(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, parts: list[tuple[int, int, bool]]
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"))
    spool.create()
    sender = Sender("erp", "127.0.0.1", ORDERS)
    sent = Sent()
    uploads = Uploads(spool, Inbox(min_free_disk=ByteSize(0)), sent)
    kept = 0
    for offset, size, restarts in parts:
        if restarts:
            sent = Sent()
            uploads = Uploads(spool, Inbox(min_free_disk=ByteSize(0)), sent)
            for note in spool.staged_receipts():
                uploads.take_up(note)
        begun = uploads.resume(sender, offset) if offset else uploads.begin(sender)
        if isinstance(begun, Answer):
            assert kept < offset
            continue
        assert offset <= kept or not offset
        begun.write(content[offset : offset + size])
        uploads.cut(begun, "for the test")
        # Where nothing comes, what was kept stays, unless it was cut off on the way.
        kept = min(offset + size, len(content)) if offset or content[:size] else kept
        assert [path.stat().st_size for path in spool.data.iterdir() if path.is_file()] == [kept] * bool(kept)
    last = uploads.resume(sender, kept) if kept else uploads.begin(sender)
    assert isinstance(last, Upload)
    last.write(content[kept:])
    receipt = last.make_durable()
    assert spool.data_path(receipt.data).read_bytes() == content
    assert receipt.sha256 == hashlib.sha256(content).hexdigest()
    assert receipt.sha256_lf == hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


@given(
    rows=st.lists(st.lists(st.text("ab ", max_size=3), min_size=3, max_size=3), min_size=1), data=st.data()
)
def test_a_table_that_is_cut_anywhere_is_told_where_the_last_row_lacks_cells(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], data: st.DataObject
) -> None:
    whole = "".join("\t".join(row) + "\n" for row in rows).encode()
    end = data.draw(st.integers(0, len(whole)))
    spool = Spool(tmp_path_factory.mktemp("spool"))
    spool.create()
    upload = Upload(spool, Sender("erp", "127.0.0.1", ORDERS), 1 << 30)
    upload.write(whole[:end])
    upload.make_durable()
    first, *_, last = whole[:end].split(b"\n") if b"\n" in whole[:end] else (b"", b"")
    told = proofs.of_last_line(upload.open_end())
    assert told.startswith("failed") == bool(last and last.count(b"\t") < first.count(b"\t"))


def test_of_lines_that_are_too_long_to_be_loaded_nothing_is_asked(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.create()
    for number, content in enumerate((b"x" * (3 << 20), b"a\tb\n" + b"x" * (3 << 20))):
        upload = Upload(spool, Sender("erp", "127.0.0.1", str(number)), 1 << 30)
        upload.write(content)
        upload.make_durable()
        assert upload.open_end() is None
