"""Letters through the queue to a real mail server, on both databases (contract E2)."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, update

from server import lease, schema
from server.admin import Decision
from server.certificate import make_self_signed
from server.errors import InboxError, UsageError
from server.kinds import Kind
from server.mail import desk, queue
from server.mail.mailer import Mailer
from server.notices import Noticeboard, of_child
from server.settings.mail import Mail, Security
from tests.support.inboxes import Bench, replace_settings
from tests.support.smtp import Got, MailServer

BAD = b"A\tone\n\tno key\n" + b"B" * 31 + b"\tGr\xc3\xb6\xc3\x9fe\n"


@dataclass
class Post:
    """An inbox whose mail goes to a real server."""

    bench: Bench
    server: MailServer
    mail: Mail

    def work(self, **changes: Any) -> list[Got]:
        """Load, then mail; returns what the server has got by that."""
        self.bench.work()
        before = len(self.server.got)
        self.mailer(**changes).work()
        return self.server.got[before:]

    def mailer(self, **changes: Any) -> Mailer:
        settings = replace_settings(self.bench.settings, mail=self.mail.model_copy(update=changes))
        return Mailer(settings, self.bench.spool, self.bench.database)

    def later(self, passed: timedelta) -> None:
        """Let time pass, for mail alone: what was queued and told is so much longer ago."""
        mail, incident = schema.mail, schema.incident
        with self.bench.database.write("a test") as connection:
            for row in connection.execute(mail.select()):
                moved = {
                    "queued_at": row.queued_at - passed,
                    "retry_at": row.retry_at and row.retry_at - passed,
                }
                connection.execute(update(mail).where(mail.c.id == row.id).values(moved))
            for row in connection.execute(incident.select().where(incident.c.told_at.is_not(None))):
                moved = {"told_at": row.told_at - passed}
                connection.execute(update(incident).where(incident.c.id == row.id).values(moved))

    def queue(self, *, everything: bool = False) -> list[dict[str, Any]]:
        return desk.letters(self.bench.database, everything=everything)

    def incident_kinds(self) -> list[str]:
        with self.bench.database.read() as connection:
            query = schema.incident.select().where(schema.incident.c.open == 1)
            return sorted(row.kind for row in connection.execute(query))


def _settings(server: MailServer, **more: Any) -> Mail:
    given: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.port,
        "security": Security.NONE,
        "sender": "inbox@example.com",
        "recipients": ("ops@example.com", "ada@example.com"),
        "timeout": 30,
    }
    return Mail(**(given | more))


@pytest.fixture
def post(bench: Bench) -> Iterator[Post]:
    with MailServer() as server:
        yield Post(bench, server, _settings(server))


def test_an_incident_is_mailed_once_with_its_refused_rows_and_again_when_it_is_over(post: Post) -> None:
    post.bench.arrive("DT_0000001_KS_CATEGORY.NET", BAD)
    [got] = post.work()
    assert (got.sender, got.recipients) == ("inbox@example.com", ["ops@example.com", "ada@example.com"])
    assert got.message["Subject"] == "[kore-inbox] rejected rows: DT_0000001_KS_CATEGORY.NET"
    [attached] = got.message.iter_attachments()
    assert attached.get_content().splitlines() == [
        "line\tfield\treason\trow",
        "2\tCategory ID\trequired, but empty\t\tno key",
        f"3\tCategory ID\t31 characters, 30 allowed\t{'B' * 31}\tGröße",
    ]
    assert post.work() == [], "once"
    post.bench.arrive("DT_0000001_KS_CATEGORY.NET.fix", b"line\t\t\trow\n2\t\t\tK\tone\n3\t\t\tB\ttwo\n")
    [over] = post.work()
    assert over.message["Subject"] == "[kore-inbox] Over: rejected rows: DT_0000001_KS_CATEGORY.NET"
    assert over.message["In-Reply-To"] == got.message["Message-ID"]
    assert post.work() == []
    assert post.queue() == []
    assert [letter["purpose"] for letter in post.queue(everything=True)] == ["opened", "over"]


def test_what_is_seen_again_comes_in_a_digest_when_its_time_has_come(post: Post) -> None:
    post.bench.settings = replace_settings(
        post.bench.settings,
        sequence=post.bench.settings.sequence.model_copy(update={"gap_alert_after": 0}),
    )
    post.bench.arrive("DT_0000003_KS_CATEGORY.NET", b"A\tone\n")
    [first] = post.work()
    post.bench.arrive("DT_0000004_KS_CATEGORY.NET", b"A\tone\n")
    assert post.work() == [], "it holds back one more file, which is no hurry"
    post.later(timedelta(hours=1))
    [digest] = post.work()
    assert digest.message["Subject"] == "[kore-inbox] Digest: 1 exception"
    assert digest.message["In-Reply-To"] == first.message["Message-ID"]
    assert "2 files, safe" in digest.message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    post.bench.arrive("DT_0000005_KS_CATEGORY.NET", b"A\tone\n")
    post.later(timedelta(minutes=30))
    assert post.work() == []


def test_what_is_over_before_anyone_was_told_is_no_news(post: Post) -> None:
    post.bench.arrive("DT_0000001_KS_NOSUCH.NET", b"A\n")
    post.bench.work()
    post.bench.inbox.withdraw(["1"], Decision(by="ada", reason="a test"))
    assert post.work() == []
    assert post.queue(everything=True) == []


def test_mail_waits_while_the_server_is_away_and_goes_out_when_it_is_back(bench: Bench) -> None:
    server = MailServer()
    post = Post(bench, server, _settings(server))
    bench.arrive("DT_0000001_KS_NOSUCH.NET", b"A\n")
    for attempts in (1, 2, 3):
        assert post.work() == []
        [waiting] = post.queue()
        assert (waiting["attempts"], waiting["sent_at"]) == (attempts, None)
        assert "Connection refused" in waiting["error"]
        assert waiting["retry_at"] > waiting["queued_at"]
        assert post.work() == [], "not before its time"
        assert post.queue() == [waiting]
        post.later(timedelta(minutes=5))
    bench.work()
    bench.loader().reviewing.review()
    assert post.incident_kinds() == ["mail", "quarantined"], "the operator can see it all the same"
    with server:
        [got] = post.work()
        assert got.message["Subject"] == "[kore-inbox] quarantined: DT_0000001_KS_NOSUCH.NET"
        assert post.queue() == []


def test_a_recipient_that_is_refused_for_good_is_told_of_and_the_others_get_it_once(post: Post) -> None:
    answers = {"ops@example.com": "450 4.2.1 busy", "ada@example.com": "550 5.1.1 no such user"}
    post.server.answer_recipient = lambda address: answers.get(address, "250 OK")
    post.bench.arrive("DT_0000001_KS_NOSUCH.NET", b"A\n")
    recipients = (*post.mail.recipients, "eve@example.com")
    [got] = post.work(recipients=recipients)
    assert got.recipients == ["eve@example.com"]
    del answers["ops@example.com"]
    assert "450 4.2.1 busy" in post.queue()[0]["error"]
    post.later(timedelta(minutes=1))
    [got] = post.work(recipients=recipients)
    assert got.recipients == ["ops@example.com"]
    assert post.queue() == []


def test_a_letter_that_the_server_will_never_take_stays_in_the_queue_to_be_seen(post: Post) -> None:
    post.server.answer_data = lambda: "554 5.7.1 looks like spam"
    post.bench.arrive("DT_0000001_KS_NOSUCH.NET", b"A\n")
    assert post.work() == []
    [letter] = post.queue()
    assert (letter["retry_at"], letter["sent_at"]) == (None, None)
    assert "554 5.7.1 looks like spam" in letter["error"]


def test_a_letter_that_the_server_does_not_take_now_is_tried_again(post: Post) -> None:
    post.server.answer_data = lambda: "451 4.3.0 try later"
    post.bench.arrive("DT_0000001_KS_NOSUCH.NET", b"A\n")
    assert post.work() == []
    post.server.answer_data = lambda: "250 OK"
    post.later(timedelta(minutes=1))
    assert len(post.work()) == 1


class Killed(BaseException):
    """The process is gone."""


def test_a_crash_after_the_server_has_taken_it_sends_the_same_letter_again(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: of the two orders, this is the one that loses nothing."""

    def dies(*_: object, **__: object) -> None:
        raise Killed

    post.bench.arrive("DT_0000001_KS_NOSUCH.NET", b"A\n")
    with monkeypatch.context() as patch:
        patch.setattr(queue, "record", dies)
        with pytest.raises(Killed):
            post.work()
    assert len(post.server.got) == 1
    assert post.work() == [], "it may still be on its way"
    post.later(queue.CLAIM)
    [again] = post.work()
    assert again.message.as_bytes() == post.server.got[0].message.as_bytes()
    post.later(queue.CLAIM)
    assert post.work() == []


def test_two_mailers_tell_it_once(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inboxes may share a database (D3)."""
    post.bench.arrive("DT_0000001_KS_NOSUCH.NET", b"A\n")
    post.bench.work()
    real = queue.put
    other = post.mailer()

    def put(*arguments: Any) -> None:
        # Before this one writes, when both have read.
        monkeypatch.setattr(queue, "put", real)
        if post.bench.database.is_sqlite:
            raise queue.ToldMeanwhile
        other.enqueue()
        real(*arguments)

    monkeypatch.setattr(queue, "put", put)
    post.work()
    other.work()
    assert len(post.server.got) == 1


def test_that_the_database_is_away_is_mailed_from_the_spool_and_its_end_from_the_ledger(post: Post) -> None:
    """E1: the one incident that the ledger cannot take while it lasts."""
    settings = replace_settings(
        post.bench.settings, mail=post.mail, database=post.bench.settings.database.model_copy()
    )
    board = Noticeboard(post.bench.spool, "loader")
    words = {"subject": "inbox", "happened": "No answer.", "kept": "All is kept.", "todo": "Start it."}

    def mailed(away_alert_after: float) -> list[str]:
        database = settings.database.model_copy(update={"away_alert_after": away_alert_after})
        # Another one each time, as after a restart; and no word with the database.
        before = len(post.server.got)
        changed = replace_settings(settings, database=database)
        Mailer(changed, post.bench.spool, post.bench.database).tell_of_absence()
        return [got.message["Subject"] for got in post.server.got[before:]]

    board.put("database busy", **words, again_seconds=1)
    assert mailed(0) == [], "it is not away"
    notice = board.put(Kind.DATABASE_AWAY, **words, again_seconds=1)
    assert mailed(3600) == [], "not for long"
    assert mailed(0) == ["[kore-inbox] database away: inbox"]
    assert mailed(0) == [], "once"
    post.bench.settings = replace_settings(
        settings, database=settings.database.model_copy(update={"away_alert_after": 0})
    )
    post.bench.loader()
    post.bench.loader()
    board.clear()
    [over] = post.work()
    assert over.message["Subject"] == "[kore-inbox] Over: database away: inbox"
    assert over.message["In-Reply-To"] == post.server.got[0].message["Message-ID"]
    with post.bench.database.read() as connection:
        [row] = connection.execute(schema.incident.select())
    assert (row.kind, row.first_seen, row.open) == ("database away", notice.first_seen, None)


def test_that_the_loader_ends_again_and_again_is_mailed_though_it_never_gets_to_say_so(post: Post) -> None:
    """E1: what is wrong is else looked for by the loader."""
    board = Noticeboard(post.bench.spool, of_child("loader"))
    words = {"subject": "loader", "happened": "It ended.", "kept": "All is kept.", "todo": "Wait."}

    def mailed() -> list[str]:
        board.put("loader ended", **words, again_seconds=1)
        before = len(post.server.got)
        post.mailer().work()
        return [got.message["Subject"] for got in post.server.got[before:]]

    assert [mailed() for _ in range(4)] == [[], [], ["[kore-inbox] crash loop: loader"], []]
    board.clear()
    [over] = post.work()
    assert over.message["Subject"] == "[kore-inbox] Over: crash loop: loader"


def test_a_crash_loop_that_is_over_in_the_meantime_is_not_opened_again(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Noticeboard(post.bench.spool, of_child("loader"))
    for _ in range(3):
        board.put("loader ended", subject="", happened="", kept="", todo="", again_seconds=1)
    exclude = lease.exclude_loader

    def over_before(connection: Connection) -> None:
        exclude(connection)
        board.clear()

    monkeypatch.setattr(lease, "exclude_loader", over_before)
    post.mailer().work()
    assert post.incident_kinds() == []


# --- connections ---


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for this machine that vouches for itself, and the server's side of it."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_self_signed(certificate, key, datetime.now(UTC))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return certificate, context


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_mail_goes_over_tls_with_a_login(pair: tuple[Path, ssl.SSLContext], security: Security) -> None:
    certificate, context = pair
    implicit = security is Security.TLS
    with MailServer(context=context, implicit=implicit, login=("inbox", "s3cret")) as server:
        login = {"username": "inbox", "password": SecretStr("s3cret")}
        mail = _settings(server, security=security, ca_file=certificate, **login)
        assert desk.send_trial(mail, ["eve@example.com"]) == ("eve@example.com",)
        [got] = server.got
        assert got.secured
        assert got.message["To"] == "eve@example.com"
        with pytest.raises(InboxError, match=r"535.*MAIL__PASSWORD"):
            desk.send_trial(mail.model_copy(update={"password": SecretStr("wrong")}), [])
        with pytest.raises(InboxError, match=r"certificate is not trusted.*ca_file"):
            desk.send_trial(mail.model_copy(update={"ca_file": None}), [])
        assert len(server.got) == 1


def test_a_trial_says_what_is_wrong(bench: Bench) -> None:
    with pytest.raises(UsageError, match="Mail is off"):
        desk.send_trial(bench.settings.mail, [])
    server = MailServer()
    with pytest.raises(InboxError, match=r"Connection refused.*host, port and security"):
        desk.send_trial(_settings(server), [])
    with server:
        with pytest.raises(UsageError, match="not a mail address"):
            desk.send_trial(_settings(server), ["x@y.z\r\nBcc: q@y.z"])
        server.answer_recipient = lambda _: "550 no"
        with pytest.raises(InboxError, match=r"ops@example.com: 550 no"):
            desk.send_trial(_settings(server), [])
        with pytest.raises(InboxError, match="STARTTLS"):
            desk.send_trial(_settings(server, security=Security.STARTTLS), [])
