"""Receiving over FTP: what a sender hears is true, whatever he sends and however he leaves (contract 2, 3).

A real server on a port of its own, real sockets, and a ledger that answers what the test says.
"""

import errno
import ftplib
import gc
import hashlib
import os
import socket
import struct
import subprocess
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest

from server import acceptance, users
from server.errors import InboxError
from server.ftp.server import Server
from server.ftp.session import Session
from server.receipt import Receipt
from server.sequence import Holder
from server.states import State
from server.upload import Upload
from tests.support.receiving import Running
from tests.support.running import until

ORDERS = "DT_0000005_KS_ORDERS.NET"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    server = Running(tmp_path)
    yield server
    server.stop()


def test_the_226_comes_with_bytes_digest_and_receipt_in_the_spool(running: Running) -> None:
    data = b"a\tb\r\nc\td\r"
    reply = running.store(ORDERS, data)
    assert reply == f"226 {ORDERS} accepted; it is next and will be loaded now."
    [receipt] = running.receipts()
    assert running.spool.data_path(receipt.data).read_bytes() == data
    assert receipt.sha256 == hashlib.sha256(data).hexdigest()
    assert receipt.sha256_lf == hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()
    assert (receipt.name, receipt.user, receipt.size_bytes) == (ORDERS, "erp", len(data))


def test_in_ascii_type_the_bytes_are_stored_as_they_come(running: Running) -> None:
    """A8: CRLF stays, and a final lone CR is not lost."""
    with running.ftp() as session:
        session.sendcmd("TYPE A")
        with session.transfercmd(f"STOR {ORDERS}") as data:
            data.sendall(b"a\r\nb\r")
        assert session.voidresp().startswith("226")
    [receipt] = running.receipts()
    assert running.spool.data_path(receipt.data).read_bytes() == b"a\r\nb\r"


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (5, "accepted; it is next and will be loaded now."),
        (6, "accepted; held until DT_0000005 arrives."),
        (4, "accepted late"),
    ],
)
def test_the_reply_says_what_will_happen(running: Running, number: int, sentence: str) -> None:
    assert sentence in running.store(f"DT_{number:07d}_KS_ORDERS.NET", b"x")


def test_what_is_not_registered_yet_counts_for_the_reply(running: Running) -> None:
    running.store(ORDERS, b"five")
    assert "it is next" in running.store("DT_0000006_KS_ORDERS.NET", b"six")
    assert "already received" in running.store(ORDERS, b"five")
    assert running.store(ORDERS, b"other").startswith("553")


def test_what_waits_here_and_what_is_held_in_the_ledger_count_together_for_the_reply(
    running: Running,
) -> None:
    running.outlook.holders |= {6: Holder("DT_0000006_KS_ORDERS.NET", State.HELD, "aa", 10, "aa")}
    assert "held until DT_0000005 arrives" in running.store("DT_0000007_KS_ORDERS.NET", b"seven")
    assert running.outlook.asked_again == 0, "what is due has not arrived here, so the ledger has said all"
    running.store(ORDERS, b"five")
    assert "held until DT_0000008 arrives" in running.store("DT_0000009_KS_ORDERS.NET", b"nine")
    assert "it is next" in running.store("DT_0000008_KS_ORDERS.NET", b"eight")
    assert running.outlook.asked_again == 2


def test_with_the_database_away_files_are_accepted_all_the_same(running: Running) -> None:
    running.outlook.away = True
    reply = running.store(ORDERS, b"x")
    assert reply == f"226 {ORDERS} accepted; the database is away, it will be loaded when it is back."
    assert running.accepted() == [ORDERS]


def test_a_conflict_with_the_ledger_is_refused_and_kept(running: Running) -> None:
    running.outlook.holders[5] = Holder(ORDERS, State.LOADED, "aa", 10, "aa")
    assert running.store(ORDERS, b"other bytes").startswith("553")
    [receipt] = running.receipts()
    assert receipt.refusal
    assert running.spool.data_path(receipt.data).read_bytes() == b"other bytes"


def test_a_corrected_file_replaces_the_one_in_quarantine(running: Running) -> None:
    running.outlook.holders[5] = Holder(ORDERS, State.QUARANTINED, "aa", 10, "aa")
    assert running.store(ORDERS, b"other bytes").startswith("226")


@pytest.mark.parametrize("name", ["orders.txt", "DT_5_KS_ORDERS.NET", "DT_0000000_KS_ORDERS.NET"])
def test_a_bad_name_is_refused_with_the_reason_and_its_bytes_are_kept_once(
    running: Running, name: str
) -> None:
    for _ in range(2):
        reply = running.store(name, b"bytes")
        assert reply.startswith("553")
        assert len(reply.splitlines()) == 1
    kept = {receipt.data for receipt in running.receipts()}
    assert len(kept) == 1
    assert running.spool.data_path(kept.pop()).read_bytes() == b"bytes"


def test_a_user_pushes_only_his_own_sources(running: Running) -> None:
    assert running.store(ORDERS, b"x", user="other").startswith("553")
    assert running.accepted() == []
    assert [receipt.cause for receipt in running.receipts()] == ["not allowed"]


def test_a_fix_whose_number_another_file_has_is_refused_and_names_that_file(running: Running) -> None:
    """E3, A7: registered or not; where a corrected file may still take the number, the fix waits for it."""
    for state, code in ((State.LOADED, "553"), (State.QUARANTINED, "226")):
        running.outlook.holders[42] = Holder("DT_0000042_KS_CATEGORY.FULL", state, "a", 1, "a")
        reply = running.store("DT_0000042_KS_ORDERS.NET.fix", b"1\t\t\tA\n")
        assert reply.startswith(code)
        assert ("belongs to DT_0000042_KS_CATEGORY.FULL" in reply) is (code == "553")
    running.store("DT_0000007_KS_CATEGORY.NET", b"A\n")
    assert running.store("DT_0000007_KS_ORDERS.NET.fix", b"1\t\t\tA\n").startswith("553")
    assert running.store("DT_0000007_KS_CATEGORY.NET.fix", b"1\t\t\tA\n").startswith("226")


def test_an_unknown_api_is_accepted_for_quarantine(running: Running) -> None:
    reply = running.store("DT_0000005_KS_NOSUCH.NET", b"x")
    assert reply.startswith("226")
    assert "NOSUCH" in reply


def test_a_temporary_name_is_staged_and_renaming_accepts_it_even_after_a_restart(tmp_path: Path) -> None:
    first = Running(tmp_path)
    try:
        assert first.store(ORDERS + ".tmp", b"x").startswith("226")
        assert first.accepted() == []
    finally:
        first.stop()
    again = Running(tmp_path)
    try:
        with again.ftp() as session:
            reply = session.rename(ORDERS + ".tmp", ORDERS)
            assert reply.startswith(f"250 {ORDERS} accepted")
            with pytest.raises(ftplib.error_perm, match="550"):
                session.rename(ORDERS, "DT_0000006_KS_ORDERS.NET")
        assert again.accepted() == [ORDERS]
    finally:
        again.stop()


def test_a_sender_sees_what_was_accepted_from_him_and_nobody_else_does(running: Running) -> None:
    running.store(ORDERS, b"12345")
    with running.ftp() as session:
        for folder in ("/", "/inbox", "/ks_data"):
            session.cwd(folder)
            assert session.nlst() == [ORDERS]
            assert session.size(ORDERS.lower()) == 5
            assert [name for name, facts in session.mlsd() if facts.get("size") == "5"] == [ORDERS]
    with running.ftp("other") as session:
        assert session.nlst() == []


@pytest.mark.parametrize(
    "command", [f"DELE {ORDERS}", "MKD x", "RMD /", "SITE CHMOD 777 x", f"RETR {ORDERS}", "PORT 1,2,3,4,5,6"]
)
def test_nothing_is_offered_that_the_job_does_not_need(running: Running, command: str) -> None:
    running.store(ORDERS, b"12345")
    with running.ftp() as session, pytest.raises(ftplib.error_perm):
        session.sendcmd(command)
    assert running.accepted() == [ORDERS]


def test_of_two_uploads_that_wait_for_one_data_connection_nothing_of_the_first_stays(
    running: Running,
) -> None:
    with running.ftp() as session:
        host, port = session.makepasv()
        assert session.sendcmd("STOR DT_0000004_KS_ORDERS.NET").startswith("150")
        session.putcmd(f"STOR {ORDERS}")
        with pytest.raises(ftplib.error_temp, match="425"):
            session.getresp()
        assert session.getresp().startswith("150")
        assert len(running.uploads()) == 1
        with socket.create_connection((host, port)) as data:
            data.sendall(b"12345")
        assert session.voidresp().startswith(f"226 {ORDERS} accepted")


def test_a_command_that_is_too_long_gets_one_reply_and_ends_the_session(running: Running) -> None:
    with running.ftp() as session:
        session.putline(f"STOR {'x' * 3000}")
        with pytest.raises(ftplib.error_perm, match="500 Command too long"):
            session.getresp()
        with pytest.raises((EOFError, ConnectionResetError)):
            session.getresp()


@pytest.mark.parametrize("_again", range(10))
def test_a_reset_upload_is_not_accepted_and_its_sender_hears_so(running: Running, _again: int) -> None:
    with running.ftp() as session:
        data = session.transfercmd(f"STOR {ORDERS}")
        data.sendall(b"half of it")
        data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        data.close()
        # 425 where the reset came before the server had taken the connection.
        with pytest.raises(ftplib.error_temp, match=r"42[56]"):
            session.voidresp()
        assert running.accepted() == []
        assert session.storbinary(f"STOR {ORDERS}", BytesIO(b"all of it")).startswith("226")
    assert running.accepted() == [ORDERS]


def test_a_client_whose_connections_are_closed_one_after_the_other_is_seen_to_be_gone(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, gone = threading.Event(), threading.Event()

    def let_him_leave() -> None:
        asked.set()
        assert gone.wait(60)

    monkeypatch.setattr(acceptance, "_let_him_leave", let_him_leave)
    session = running.ftp()
    session.voidcmd("TYPE I")
    data = session.transfercmd(f"STOR {ORDERS}")
    data.sendall(b"half of it")
    data.close()
    assert asked.wait(60)
    session.close()
    gone.set()
    until(lambda: len(running.cut()) == 1, "it is kept aside")
    assert running.accepted() == []


def test_only_a_file_for_which_nothing_speaks_is_held_up_at_its_end(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []
    monkeypatch.setattr(acceptance, "_let_him_leave", lambda: waited.append("for him"))
    assert running.store(ORDERS, b"O1\tone\n").startswith("226")
    with running.ftp() as session:
        session.sendcmd("ALLO 6")
        assert session.storbinary("STOR DT_0000006_KS_ORDERS.NET", BytesIO(b"O2\ttwo")).startswith("226")
    assert waited == []
    assert running.store("DT_0000007_KS_ORDERS.NET", b"O3\tthree").startswith("226")
    assert waited == ["for him"]


def test_a_killed_client_leaves_nothing_that_counts(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = running.receiver.address
    make_durable, gone = Upload.make_durable, threading.Event()

    def once_the_client_is_gone(upload: Upload) -> Receipt:
        # Its system closes one connection after the other, and may do something else in between.
        assert gone.wait(60)
        return make_durable(upload)

    monkeypatch.setattr(Upload, "make_durable", once_the_client_is_gone)
    for turn in range(5):
        gone.clear()
        name = f"DT_{turn + 5:07d}_KS_ORDERS.NET"
        client = subprocess.Popen(
            ["curl", "-s", "--user", "erp:secret", "-T", "-", f"ftp://{host}:{port}/{name}"],
            stdin=subprocess.PIPE,
        )
        assert client.stdin is not None
        client.stdin.write(b"half of it")
        client.stdin.flush()
        # Data and control connection are gone at once, and both ends look orderly.
        until(lambda: len(running.came()) == len(running.cut()) + 1, "bytes have come")
        client.kill()
        client.wait()
        client.stdin.close()
        gone.set()
        until(lambda: len(running.cut()) == len(running.came()), "they are kept aside")
    assert running.accepted() == []


def test_a_file_over_the_limit_gets_552(tmp_path: Path) -> None:
    server = Running(tmp_path, max_file_size=1000)
    try:
        assert server.store(ORDERS, b"x" * 5000).startswith("552")
        assert server.accepted() == []
    finally:
        server.stop()


@pytest.mark.parametrize("client", ["ftplib", "curl", "lftp"])
def test_a_client_hears_what_is_wrong_with_a_file_of_which_much_is_yet_to_come(
    tmp_path: Path, client: str
) -> None:
    """Not of a connection that was reset."""
    server = Running(tmp_path, max_file_size=1_000_000)
    (tmp_path / ORDERS).write_bytes(b"a\tb\n" * 10_000_000)
    host, port = server.receiver.address
    try:
        if client == "ftplib":
            with server.ftp() as session, (tmp_path / ORDERS).open("rb") as file:
                with pytest.raises(ftplib.error_perm, match=r"552 .* is larger than 1,000,000 bytes"):
                    session.storbinary(f"STOR {ORDERS}", file)
                assert session.voidcmd("NOOP").startswith("200"), "the session goes on"
        else:
            put = f"set net:max-retries 1; open -u erp,secret ftp://{host}:{port}; put {tmp_path / ORDERS}"
            curl = ["-sSv", "--user", "erp:secret", "-T", str(tmp_path / ORDERS), f"ftp://{host}:{port}"]
            command = [client, *(curl if client == "curl" else ["-d", "-c", put])]
            said = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
            assert said.returncode != 0
            assert " 552 " in said.stderr
            assert "reset" not in said.stderr
        assert server.uploads() == []
        assert server.store(ORDERS, b"a\tb\n").startswith("226")
    finally:
        server.stop()


def test_an_abort_of_a_file_that_is_too_large_has_a_reply_for_each_command(tmp_path: Path) -> None:
    server = Running(tmp_path, max_file_size=1000)
    try:
        with server.ftp() as session:
            session.voidcmd("TYPE I")
            connection = session.transfercmd(f"STOR {ORDERS}")
            connection.sendall(b"x" * 5000)
            until(lambda: server.uploads() == [], "its room is given back")
            session.putcmd("ABOR")
            with pytest.raises(ftplib.error_perm, match="552"):
                session.voidresp()
            assert session.voidresp().startswith("226")
            assert session.voidcmd("NOOP").startswith("200")
            connection.close()
    finally:
        server.stop()


def test_too_little_disk_gets_452_before_data_flows(tmp_path: Path) -> None:
    server = Running(tmp_path, min_free_disk=1 << 60)
    try:
        with server.ftp() as session, pytest.raises(ftplib.error_temp, match="452"):
            session.transfercmd(f"STOR {ORDERS}")
    finally:
        server.stop()


@pytest.mark.parametrize("step", range(4))
def test_whatever_fsync_fails_there_is_no_226_and_no_receipt(
    running: Running, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real, left = os.fsync, step

    def failing(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    reply = running.store(ORDERS, b"x")
    monkeypatch.undo()
    failed = left < 0
    assert reply.startswith("452" if failed else "226")
    if failed:
        assert running.accepted() == []
        assert running.store(ORDERS, b"x").startswith("226"), "sent again, it is in"


def test_eight_senders_of_one_file_leave_one_and_all_hear_the_truth(running: Running) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: running.store(ORDERS, b"same bytes"), range(8)))
    assert all(reply.startswith("226") for reply in replies)
    assert sum("already received" not in reply for reply in replies) == 1


def test_stopping_says_goodbye_to_whoever_is_there(running: Running) -> None:
    session = running.ftp()
    running.stop()
    with pytest.raises((ftplib.error_temp, EOFError), match=r"421|^$"):
        session.voidcmd("NOOP")
    session.close()


def test_a_wrong_password_and_an_unknown_user_hear_the_same(running: Running) -> None:
    heard = set()
    for user in ("erp", "nobody"):
        session = ftplib.FTP(timeout=30)
        session.connect(*running.receiver.address)
        with pytest.raises(ftplib.error_perm) as refusal:
            session.login(user, "wrong")
        heard.add(str(refusal.value))
        session.close()
    assert heard == {"530 Login incorrect."}


def test_a_user_added_while_it_runs_can_log_in(running: Running, tmp_path: Path) -> None:
    users.add_user(tmp_path / "conf", "late", "secret", ["DT"])
    with running.ftp("late") as session:
        assert session.pwd() == "/"


def test_a_session_that_is_found_gone_when_a_transfer_is_answered_is_not_kept(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[weakref.ref[Session]] = []

    def reply(session: Session, text: str, logfun: object = None) -> None:
        if text.startswith("226"):
            # As sending does when the other side is no longer there.
            found.append(weakref.ref(session))
            session.handle_close()
        else:
            answered(session, text)

    answered = Session.respond
    monkeypatch.setattr(Session, "respond", reply)
    with running.ftp() as session:
        with session.transfercmd("NLST") as connection:
            assert connection.recv(100) == b""
        with pytest.raises(EOFError):
            session.voidresp()

    def is_forgotten() -> bool:
        running.ftp().close()  # the loop lets go of one when another comes
        gc.collect()
        return found[0]() is None

    until(is_forgotten, "it is forgotten")


@pytest.mark.parametrize(
    ("host", "fault", "says"),
    [
        (
            "203.0.113.7",
            None,
            "that is no address of this machine. Set [ftp] host to 127.0.0.1 for this machine alone,",
        ),
        (
            "inbox.invalid",
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "nobody knows an address of that name. Set [ftp] host to 127.0.0.1 for this machine alone,",
        ),
        (
            "inbox.invalid",
            socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
            "whoever knows the addresses of names does not answer. Start it again when names can be looked",
        ),
        (
            "127.0.0.1",
            PermissionError(errno.EACCES, "Permission denied"),
            "ports below 1024 need a right that this user lacks. Give it (CAP_NET_BIND_SERVICE),",
        ),
    ],
)
def test_a_host_or_port_that_cannot_be_listened_on_is_told_in_words_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, fault: OSError | None, says: str
) -> None:
    """What the resolver and the system's rights say depends on the machine, and is played here."""

    def refuse(*_: object) -> None:
        assert fault is not None
        raise fault

    if isinstance(fault, socket.gaierror):
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
    elif fault is not None:
        monkeypatch.setattr(Server, "bind", refuse)
    with pytest.raises(InboxError) as told:
        Running(tmp_path, {"host": host, "allow_plaintext": True})
    assert str(told.value).startswith(f"Port 0 of {host} cannot be listened on: {says}")
