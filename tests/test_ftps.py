"""FTPS: what clients and their senders get with TLS, and what is refused without (contract X2, A5)."""

import ftplib
import logging
import os
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from server.acks import ACK, Acks, Answer
from server.certificate import Certificate, Pair, expiry, make_self_signed
from server.errors import SettingsError
from server.names import parse
from server.settings.ftp import Ftp
from server.simulator import Plan, PushFailed, Server, push, simulate
from tests.support.commands import Run
from tests.support.receiving import Running

ORDERS = "DT_0000005_KS_ORDERS.NET"
# More than fits into the socket buffers of both sides.
LARGE = os.urandom(1 << 20) * 12 + b"\n"
NOW = datetime.now(UTC)


class ImplicitFTP(ftplib.FTP_TLS):
    """TLS from the first byte, which ftplib leaves to its users."""

    def connect(self, *args: Any, **kwargs: Any) -> str:
        """As ftplib's; the greeting comes after the handshake."""
        with closing(socket.create_connection((args[0], args[1]), 30)) as plain:
            self.host, self.af = args[0], plain.family
            self.sock = self.context.wrap_socket(plain)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome


class ResumingFTP(ftplib.FTP_TLS):
    """Its data connections offer the session of the control connection, as FileZilla's do."""

    resumed: list[bool | None]

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """As ftplib's, with a session."""
        plain, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        assert isinstance(self.sock, ssl.SSLSocket)
        secured = self.context.wrap_socket(plain, session=self.sock.session)
        self.resumed.append(secured.session_reused)
        return secured, size


def client_side(*, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = version
    return context


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    made = Pair(folder / "certificate.pem", folder / "key.pem")
    make_self_signed(made.certificate, made.key, NOW)
    return made


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, pair: Pair) -> Iterator[Start]:
    """Start a receiver with TLS as the test wants it."""
    running = []

    def begin(tls: str, used: Pair = pair, **ftp: object) -> Running:
        facts = {"tls": tls, "certificate": used.certificate, "key": used.key, **ftp}
        running.append(Running(tmp_path, facts))
        return running[-1]

    yield begin
    for server in running:
        server.stop()


def session(server: Running, kind: type[ftplib.FTP_TLS] = ftplib.FTP_TLS, **context: Any) -> ftplib.FTP_TLS:
    made = kind(context=client_side(**context), timeout=30)
    made.connect(*server.receiver.address)
    made.login("erp", "secret")
    made.prot_p()
    return made


KINDS = [("required", ftplib.FTP_TLS), ("allowed", ftplib.FTP_TLS), ("implicit", ImplicitFTP)]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("tls", "kind"), KINDS)
def test_ftplib_pushes_lists_and_renames(
    start: Start, tls: str, kind: type[ftplib.FTP_TLS], version: ssl.TLSVersion
) -> None:
    server = start(tls)
    with session(server, kind, version=version) as ftp:
        assert ftp.storbinary(f"STOR {ORDERS}.tmp", BytesIO(LARGE)).startswith("226")
        assert ftp.nlst() == [f"{ORDERS}.tmp"]
        assert ftp.rename(f"{ORDERS}.tmp", ORDERS).startswith("250")
        assert ftp.size(ORDERS) == len(LARGE)
    [receipt] = server.receipts()
    assert server.spool.data_path(receipt.data).read_bytes() == LARGE


@pytest.mark.parametrize(
    ("tls", "url", "options"),
    [
        ("required", "ftp", ["--ssl-reqd"]),
        ("required", "ftp", ["--ssl-reqd", "--tls-max", "1.2"]),
        ("implicit", "ftps", []),
    ],
)
def test_curl_pushes(
    start: Start, tmp_path: Path, pair: Pair, tls: str, url: str, options: list[str]
) -> None:
    """It also finds that the certificate for trials is for this machine."""
    server = start(tls)
    (tmp_path / "large").write_bytes(LARGE)
    where = f"{url}://localhost:{server.receiver.address[1]}/{ORDERS}"
    words = [
        "curl",
        "-sS",
        "--cacert",
        str(pair.certificate),
        *options,
        "--user",
        "erp:secret",
        "-T",
        str(tmp_path / "large"),
        where,
    ]
    subprocess.run(words, check=True, timeout=60)
    assert server.accepted() == [ORDERS]
    assert server.receipts()[0].size_bytes == len(LARGE)


@pytest.mark.parametrize(("tls", "url"), [("required", "ftp"), ("implicit", "ftps")])
def test_lftp_pushes(start: Start, tmp_path: Path, tls: str, url: str) -> None:
    server = start(tls)
    (tmp_path / "large").write_bytes(LARGE)
    host, port = server.receiver.address
    script = (
        f"set ssl:verify-certificate no; set ftp:ssl-force yes; set net:max-retries 1; "
        f"open -u erp,secret {url}://{host}:{port}; put {tmp_path}/large -o {ORDERS}; cls -1"
    )
    done = subprocess.run(
        ["lftp", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert sorted(done.stdout.split()) == [ORDERS, "acks/"]
    assert server.receipts()[0].size_bytes == len(LARGE)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_data_connections_resume_the_session_of_the_control_connection(
    start: Start, version: ssl.TLSVersion
) -> None:
    ResumingFTP.resumed = []
    with session(start("required"), ResumingFTP, version=version) as ftp:
        for number in (5, 6, 7):
            assert ftp.storbinary(f"STOR DT_{number:07d}_KS_ORDERS.NET", BytesIO(b"x\n")).startswith("226")
    assert ResumingFTP.resumed == [True, True, True]


def test_a_client_that_reads_nothing_but_replies_loses_nothing(start: Start) -> None:
    """TLS 1.3: session tickets on a data connection would turn its close into a reset."""
    server = start("required")
    with session(server, version=ssl.TLSVersion.TLSv1_3) as ftp:
        plain, _ = ftplib.FTP.ntransfercmd(ftp, f"STOR {ORDERS}")
        came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = client_side().wrap_bio(came, goes)
        with pytest.raises(ssl.SSLWantReadError):
            secured.do_handshake()
        plain.sendall(goes.read())
        while True:
            came.write(plain.recv(1 << 16))
            with suppress(ssl.SSLWantReadError):
                secured.do_handshake()
                break
        secured.write(LARGE)
        with pytest.raises(ssl.SSLWantReadError):
            secured.unwrap()
        # Finished, the data and the closing notice; from here on nothing is read.
        plain.sendall(goes.read())
        plain.close()
        assert ftp.voidresp().startswith("226")
    assert server.receipts()[0].size_bytes == len(LARGE)


def test_an_end_without_closing_notice_is_a_cut(start: Start) -> None:
    """A5."""
    server = start("required")
    with session(server) as ftp:
        ftp.voidcmd("TYPE I")
        data = ftp.transfercmd(f"STOR {ORDERS}")
        data.sendall(b"half of it")
        data.close()
        with pytest.raises(ftplib.error_temp, match="426"):
            ftp.voidresp()
        assert server.accepted() == []
        assert ftp.size(ORDERS) == len(b"half of it") - 1
        assert ftp.storbinary(f"STOR {ORDERS}", BytesIO(b" and the rest\n"), rest=10).startswith("226")
    [receipt] = server.receipts()
    assert server.spool.data_path(receipt.data).read_bytes() == b"half of it and the rest\n"
    assert receipt.proofs["data connection"] == "passed: TLS was ended by its closing notice"
    assert receipt.proofs["resumed"].endswith("(TLS ended without its closing notice)")


def test_an_abort_behind_the_end_of_the_data_is_heard_before_the_file_is_accepted(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A5: as lftp does it, which closes the data connection in order when it aborts."""
    server = start("required")
    sync, is_taken_for_whole, is_aborted = os.fsync, threading.Event(), threading.Event()

    def fsync(descriptor: int) -> None:
        is_taken_for_whole.set()
        assert is_aborted.wait(60)
        sync(descriptor)

    with session(server) as ftp:
        data = ftp.transfercmd(f"STOR {ORDERS}")
        data.sendall(b"half of it")
        monkeypatch.setattr(os, "fsync", fsync)
        assert isinstance(data, ssl.SSLSocket)
        data.unwrap()
        data.close()
        assert is_taken_for_whole.wait(60)
        # By this thread, which reads as well: two at once confuse a connection with TLS.
        ftp.putcmd("ABOR")
        is_aborted.set()
        with pytest.raises(ftplib.error_temp, match="426"):
            ftp.voidresp()
        assert ftp.voidresp().startswith("225")
    assert server.accepted() == []


@pytest.mark.parametrize("tls", ["required", "implicit"])
def test_no_password_and_no_data_in_clear_where_tls_is_required(start: Start, tls: str) -> None:
    server = start(tls)
    kind = ImplicitFTP if tls == "implicit" else ftplib.FTP_TLS
    if tls == "required":
        plain = ftplib.FTP(timeout=30)
        plain.connect(*server.receiver.address)
        with pytest.raises(ftplib.error_perm, match="530 Passwords in clear"):
            plain.login("erp", "secret")
        plain.close()
    with session(server, kind) as ftp:
        with pytest.raises(ftplib.error_perm, match="534"):
            ftp.prot_c()
        assert ftp.storbinary(f"STOR {ORDERS}", BytesIO(b"x\n")).startswith("226")


def test_data_needs_prot_p_where_tls_is_required(start: Start) -> None:
    server = start("required")
    with ftplib.FTP_TLS(context=client_side(), timeout=30) as ftp:
        ftp.connect(*server.receiver.address)
        ftp.login("erp", "secret")
        for command in (f"STOR {ORDERS}", "NLST"):
            with pytest.raises(ftplib.error_perm, match="521 Data in clear"):
                ftp.transfercmd(command)
    assert server.accepted() == []


def test_where_tls_is_allowed_clear_sessions_and_clear_data_work_too(start: Start) -> None:
    server = start("allowed")
    assert server.store(ORDERS, b"x\n").startswith("226")
    with session(server) as ftp:
        ftp.prot_c()
        assert ftp.storbinary("STOR DT_0000006_KS_ORDERS.NET", BytesIO(b"x\n")).startswith("226")


def test_with_tls_off_there_is_no_auth(tmp_path: Path) -> None:
    server = Running(tmp_path)
    try:
        with server.ftp() as ftp, pytest.raises(ftplib.error_perm, match="500"):
            ftp.sendcmd("AUTH TLS")
    finally:
        server.stop()


def test_older_versions_of_tls_are_refused(start: Start) -> None:
    server = start("required")
    old = client_side()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    ftp = ftplib.FTP_TLS(context=old, timeout=30)
    ftp.connect(*server.receiver.address)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ftp.login("erp", "secret")
    ftp.close()
    with session(server) as newer:
        assert newer.storbinary(f"STOR {ORDERS}", BytesIO(b"x\n")).startswith("226"), "the others are served"


def test_what_came_in_clear_behind_auth_is_nobodys_command(start: Start) -> None:
    server = start("required")
    with socket.create_connection(server.receiver.address, 30) as plain:
        plain.recv(1000)
        plain.sendall(b"AUTH TLS\r\nNOOP\r\n")
        assert plain.recv(1000).startswith(b"234")
        with client_side().wrap_socket(plain) as secured:
            secured.sendall(b"SYST\r\n")
            assert secured.recv(1000).startswith(b"215")


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00garbage" * 100, b"NOOP\r\n", b""])
def test_a_handshake_that_is_none_ends_the_session_and_nothing_else(
    start: Start, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server = start("required")
    with socket.create_connection(server.receiver.address, 30) as plain:
        plain.recv(1000)
        plain.sendall(b"AUTH TLS\r\n")
        assert plain.recv(1000).startswith(b"234")
        # The server may hang up at any of these.
        with suppress(OSError):
            plain.sendall(garbage)
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(1000):
                pass
    with session(server) as ftp:
        assert ftp.storbinary(f"STOR {ORDERS}", BytesIO(b"x\n")).startswith("226")
    assert "Traceback" not in caplog.text


def test_a_data_connection_without_handshake_gets_522_and_the_session_goes_on(start: Start) -> None:
    server = start("required")
    with session(server) as ftp:
        with ftplib.FTP.ntransfercmd(ftp, f"STOR {ORDERS}")[0] as data:
            data.sendall(b"this is in clear, and no handshake at all\n")
            with pytest.raises(ftplib.error_perm, match="522"):
                ftp.voidresp()
        assert ftp.storbinary(f"STOR {ORDERS}", BytesIO(b"x\n")).startswith("226")
    assert server.receipts()[0].size_bytes == 2


# --- the simulated ERP -----------------------------------------------------------------------------------


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("tls", ["required", "allowed", "implicit"])
def test_the_simulated_erp_pushes_as_the_settings_say_and_trusts_their_certificate(
    start: Start, tmp_path: Path, pair: Pair, run: Run, tls: str
) -> None:
    server = start(tls)
    with (tmp_path / "conf" / "inbox.toml").open("a") as settings:
        settings.write(
            f'[ftp]\nport = {server.receiver.address[1]}\ntls = "{tls}"\n'
            f'certificate = "{pair.certificate}"\nkey = "{pair.key}"\n'
        )
    words = ("simulate", "--user", "erp", "--files", "2", "--password-stdin")
    code, out, messages = run(*words, stdin="secret\n")
    assert (code, messages) == (0, "")
    assert "2 files accepted, 0 not." in out
    assert len(server.accepted()) == 2
    other = Pair(tmp_path / "other.pem", tmp_path / "other.key")
    make_self_signed(other.certificate, other.key, NOW)
    stranger = Server(
        *server.receiver.address, "erp", "secret", 30, other.client_context(), tls == "implicit"
    )
    with pytest.raises(PushFailed, match=r"certificate verify failed.*[^.]\. See"):
        push(simulate(Plan(files=1)), stranger)


# --- the certificate -------------------------------------------------------------------------------------


def _shown_by(server: Running) -> bytes:
    with session(server) as ftp:
        assert isinstance(ftp.sock, ssl.SSLSocket)
        return ftp.sock.getpeercert(binary_form=True) or b""


def _replace(pair: Pair, by: Pair) -> None:
    for old, new in ((pair.certificate, by.certificate), (pair.key, by.key)):
        aside = old.with_suffix(".new")
        aside.write_bytes(new.read_bytes())
        aside.rename(old)


def test_a_renewed_certificate_is_used_by_new_sessions_and_a_broken_one_is_not(
    start: Start, tmp_path: Path, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    used = Pair(tmp_path / "certificate.pem", tmp_path / "key.pem")
    make_self_signed(used.certificate, used.key, NOW)
    server = start("required", used)
    with session(server) as old:
        first = _shown_by(server)
        _replace(used, pair)
        second = _shown_by(server)
        assert second == ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())
        assert second != first
        assert old.storbinary(f"STOR {ORDERS}", BytesIO(b"x\n")).startswith("226"), "older sessions go on"
        used.key.write_text("rubbish")
        with caplog.at_level(logging.INFO, "server.ftp"):
            assert _shown_by(server) == second
            assert _shown_by(server) == second
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert len(told) == 1, "once, not at each session"
        assert "the old one stays" in told[0]
        _replace(used, pair)
        assert _shown_by(server) == second


def _copy(pair: Pair, folder: Path) -> Pair:
    copied = Pair(folder / "c.pem", folder / "k.pem")
    copied.certificate.write_bytes(pair.certificate.read_bytes())
    copied.key.write_bytes(pair.key.read_bytes())
    return copied


@pytest.mark.parametrize(
    ("spoil", "mistakes"),
    [
        (lambda pair: pair.key.unlink(), ["ftp.key: .*k.pem: No such file"]),
        (lambda pair: (pair.key.unlink(), pair.certificate.unlink()), ["ftp.certificate: ", "ftp.key: "]),
        (lambda pair: pair.certificate.write_text("?"), ["ftp.certificate: .* no certificate in PEM form"]),
        (lambda pair: pair.key.write_text("?"), ["ftp.key: .* no private key in PEM form"]),
        (lambda pair: pair.key.write_bytes(_stranger(pair)), ["ftp.key: .* is not the key of .*c.pem"]),
    ],
)
def test_mistakes_in_certificate_and_key_are_told_at_start_all_at_once(
    tmp_path: Path, pair: Pair, spoil: Callable[[Pair], object], mistakes: list[str]
) -> None:
    copied = _copy(pair, tmp_path)
    spoil(copied)
    with pytest.raises(SettingsError) as error:
        Certificate(copied)
    assert len(error.value.mistakes) == len(mistakes)
    for told, wanted in zip(error.value.mistakes, mistakes, strict=True):
        assert re.match(wanted, told)


def _stranger(pair: Pair) -> bytes:
    other = Pair(pair.certificate.with_suffix(".other"), pair.key.with_suffix(".other"))
    make_self_signed(other.certificate, other.key, NOW)
    return other.key.read_bytes()


def test_a_certificate_and_its_key_may_share_a_file(tmp_path: Path, pair: Pair) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
    found = Pair.of(Ftp.model_validate({"tls": "required", "certificate": both}))
    assert found is not None
    found.context()


def test_an_expired_certificate_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = Pair(tmp_path / "c.pem", tmp_path / "k.pem")
    make_self_signed(old.certificate, old.key, NOW - timedelta(days=400))
    Certificate(old)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "expired on" in record.getMessage()


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (timedelta(seconds=-1), "expired on 2030-01-01"),
        (timedelta(hours=1), "in 0 days"),
        (timedelta(days=29, hours=23), "in 29 days"),
        (timedelta(days=30), None),
    ],
)
def test_an_expiry_is_told_of_thirty_days_ahead(left: timedelta, said: str | None) -> None:
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    told = expiry(expires, expires - left)
    assert told is None if said is None else said in str(told)


def test_tls_needs_a_certificate_and_without_it_only_this_machine_is_listened_to(pair: Pair) -> None:
    with pytest.raises(ValidationError, match="TLS needs one"):
        Ftp.model_validate({"tls": "required"})
    with pytest.raises(ValidationError, match="in clear when listening"):
        Ftp.model_validate({"host": "0.0.0.0"})
    assert Ftp.model_validate({"host": "0.0.0.0", "tls": "required", "certificate": pair.certificate})
    assert Ftp.model_validate({"host": "0.0.0.0", "allow_plaintext": True})


@pytest.mark.parametrize(("tls", "kind"), KINDS)
def test_answers_are_fetched_over_tls(start: Start, tls: str, kind: type[ftplib.FTP_TLS]) -> None:
    server = start(tls)
    Acks(server.spool).write(Answer(parse(ORDERS), ACK), LARGE)
    with session(server, kind) as ftp:
        got = BytesIO()
        ftp.retrbinary(f"RETR /acks/{ORDERS}.ack", got.write)
        assert got.getvalue() == LARGE
        assert ftp.nlst("/acks") == [f"{ORDERS}.ack"]
