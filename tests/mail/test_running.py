"""Mail of a whole inbox, as its operator runs it (contract E2)."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running import RunningInbox, until
from tests.support.smtp import MailServer

NAME = "DT_{:07d}_KS_CATEGORY.NET"


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as started:
        yield started


def _inbox(folder: Path, port: int) -> RunningInbox:
    mail = f'host = "127.0.0.1"\nport = {port}\nsecurity = "none"\nsender = "inbox@example.com"\n'
    mail += 'recipients = ["ops@example.com"]\ntimeout = "10m"\n'
    return RunningInbox(folder, f"sqlite:///{folder / 'inbox.sqlite'}", settings=f"[mail]\n{mail}")


def test_what_is_wrong_with_a_file_finds_its_person_while_the_inbox_runs(
    tmp_path: Path, server: MailServer
) -> None:
    with _inbox(tmp_path, server.port) as inbox:
        assert "sent to eve@example.com" in inbox.command("mail", "test", "--to", "eve@example.com")
        inbox.push(NAME.format(1), b"A\tone\n\tno key\n")
        until(lambda: len(server.got) == 2, "the mail is there")
        until(lambda: inbox.ask("mail", "queue") == [], "the mailer has noted that")
        inbox.kill("mailer")
        inbox.push(f"{NAME.format(1)}.fix", b"2\t\t\tB\ttwo\n")
        until(lambda: len(server.got) == 3, "the mailer was started again")
        until(lambda: inbox.ask("mail", "queue") == [], "that is noted too")
        sent = inbox.ask("mail", "queue", "--all")
    trial, first, over = (got.message for got in server.got)
    assert trial["Subject"] == "[kore-inbox] Test"
    assert first["Subject"] == f"[kore-inbox] rejected rows: {NAME.format(1)}"
    assert over["Subject"] == f"[kore-inbox] Over: rejected rows: {NAME.format(1)}"
    assert over["In-Reply-To"] == first["Message-ID"]
    assert [(letter["purpose"], letter["attempts"]) for letter in sent] == [("opened", 1), ("over", 1)]


def test_a_loader_that_cannot_begin_any_more_finds_its_person(tmp_path: Path, server: MailServer) -> None:
    with _inbox(tmp_path, server.port) as inbox:
        inbox.push(NAME.format(1), b"A\tone\n")
        until(lambda: "loaded" in inbox.states().values(), "it is at work")
        # The settings are spoilt while it runs, and then the loader dies: it cannot read them any more.
        toml = inbox.conf / "inbox.toml"
        settings = toml.read_text()
        toml.write_text("a mistake")
        inbox.kill("loader")
        until(lambda: len(server.got) == 1, "the mail is there")
        inbox.push(NAME.format(2), b"B\ttwo\n")
        toml.write_text(settings)
        until(lambda: list(inbox.states().values()) == ["loaded"] * 2, "it was started again")
        [exception] = inbox.ask("exceptions")
    assert server.got[0].message["Subject"] == "[kore-inbox] crash loop: loader"
    assert (exception["kind"], exception["subject"]) == ("crash loop", "loader")


def test_a_mail_server_that_never_answers_holds_up_neither_a_load_nor_the_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, _inbox(tmp_path, silent.getsockname()[1]) as inbox:
        inbox.push(NAME.format(1), b"A\tone\n\tno key\n")
        caller, _ = silent.accept()
        with caller:
            inbox.push(NAME.format(2), b"B\ttwo\n")
            until(lambda: set(inbox.states().values()) == {"loaded"}, "both are loaded")
            [letter] = inbox.ask("mail", "queue")
            assert letter["sent_at"] is None
            # It ends although the mailer waits for an answer, for ten minutes.
            inbox.signal_all(signal.SIGTERM)
            assert inbox.ending() == 0
