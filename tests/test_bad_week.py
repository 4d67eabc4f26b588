"""An operator's bad week: whatever can be wrong happens, finds him, is solved as he is told, and is over.

While an ERP sends a week of exports, each kind of exception has its scene. A scene brings it about, yields,
gets the trouble as its mail tells it, and solves it by the commands that are named there.
"""

import errno
import os
import re
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.certificate import make_self_signed
from server.kinds import Kind
from server.loading import Loading
from server.mail.letter import LONGEST_SUBJECT
from server.simulator import Plan, simulate
from server.spool import Spool
from tests.support.commands import json_of
from tests.support.office import PASSWORD, USER, Office
from tests.support.oracle import broken_references, differences
from tests.support.smtp import Got, MailServer

SETTINGS = """\
load.max_rejected = 2
sources.XX.silence_alert_after = "2d"
ftp.tls = "allowed"
ftp.certificate = "conf/certificate.pem"
ftp.key = "conf/key.pem"
drop_folder.folders = {{"share" = ["XX"]}}
drop_folder.scan_interval = "7d"
drop_folder.stable_for = 0
mail.host = "127.0.0.1"
mail.port = {port}
mail.security = "none"
mail.sender = "inbox@example.com"
mail.recipients = ["ops@example.com"]
"""
LONG = b"x" * 31
# These commands look, and change nothing.
LOOKING = ("status", "files", "why", "rejects", "parked", "exceptions", "mail queue")


@dataclass(frozen=True)
class Trouble:
    """An exception as its operator hears of it; `letter` is its mail, if there is one."""

    text: str
    letter: Got | None

    @property
    def commands(self) -> list[str]:
        """What the text says can be typed."""
        return re.findall(r"`([^`]+)`", self.text)

    def command(self, verb: str) -> str:
        """The one with that verb."""
        [found] = [line for line in self.commands if line.split()[1] == verb and "--dry-run" not in line]
        return found


def subject_of(letter: Got) -> str:
    """A long one begins in the line below its name, with a blank."""
    subject: str = letter.message["Subject"]
    return subject.strip().removeprefix("[kore-inbox] ")


def title_of(kind: str, subject: str) -> str:
    """What a letter's subject says of an exception: of a long one, such as a deep path, the beginning."""
    title = f"{kind}: {subject}"
    return title if len(title) <= LONGEST_SUBJECT else f"{title[:LONGEST_SUBJECT]}…"


Scene = Generator[None, Trouble, None]
SCENES: dict[Kind, Callable[["Week"], Scene]] = {}


def scene(kind: Kind) -> Callable[[Callable[["Week"], Scene]], Callable[["Week"], Scene]]:
    """What brings about an exception of that kind, and ends it."""

    def keep(act: Callable[["Week"], Scene]) -> Callable[["Week"], Scene]:
        SCENES[kind] = act
        return act

    return keep


@dataclass
class Week:
    """An inbox, its operator's mail, and two senders: `DT` is an ERP, `XX` one in which all goes wrong."""

    office: Office
    server: MailServer
    exports: list[tuple[str, bytes]] = field(
        default_factory=lambda: [(e.name, e.data) for e in simulate(Plan(files=51, rows_per_file=8, days=7))]
    )
    number: int = 0
    sent: int = 0

    def goes_on(self, files: int) -> None:
        """Some hours in which all is well."""
        self.office.clock.later(hours=6)
        for name, data in self.exports[self.sent : self.sent + files]:
            assert self.office.push(name, data).startswith("226")
        self.sent += files
        self.send(b"HEARTBEAT\t%d\n" % self.number)
        self.office.work()

    def name(self, ending: str = "CATEGORY.NET") -> str:
        """The next name of `XX`."""
        self.number += 1
        return f"XX_{self.number:07d}_KS_{ending}"

    def send(self, data: bytes, ending: str = "CATEGORY.NET") -> str:
        """`XX` sends its next file; returns the name."""
        name = self.name(ending)
        assert self.office.push(name, data).startswith("226")
        return name

    def passes(self, **time: float) -> None:
        """Time passes, and the inbox works."""
        self.office.clock.later(**time)
        self.office.work()

    def letters(self, kind: Kind, subject: str) -> tuple[list[Got], list[Got]]:
        """Those that told of an exception, and of its end."""
        title = title_of(kind, subject)
        opened = [got for got in self.server.got if subject_of(got) == title]
        over = [got for got in self.server.got if subject_of(got) == f"Over: {title}"]
        return opened, over

    def trouble(self, kind: Kind) -> Trouble:
        """What is wrong, as status, exceptions and mail tell it."""
        office = self.office
        found = office.exceptions()
        told = found[kind]
        is_away = kind is Kind.DATABASE_AWAY
        # Then no other can be listed.
        assert told["happened"] in office.type("kore-inbox exceptions", code=int(is_away))
        [status] = json_of(office.run, "status")
        assert status["exceptions"] == len(found)
        assert (status["database"] == "away") == is_away
        assert (kind in [wait["kind"] for wait in status["waits"]]) == is_away
        opened, over = self.letters(kind, told["subject"])
        assert over == []
        if kind is Kind.MAIL:
            assert opened == []
            return Trouble(told["todo"], None)
        [letter] = opened
        body = letter.message.get_body(("plain",))
        assert body is not None
        text = " ".join(body.get_content().split())
        for part in ("happened", "kept", "todo"):
            assert told[part] in text
        return Trouble(text, letter)


def test_in_a_bad_week_each_exception_is_mailed_found_solved_as_told_and_closed(
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert set(SCENES) == set(Kind), "each kind has its scene"
    (tmp_path / "conf").mkdir()
    (tmp_path / "share").mkdir()
    _make_certificate(tmp_path / "conf", days_old=0)
    with (
        MailServer() as server,
        Office(tmp_path, database_url, monkeypatch, capsys, SETTINGS.format(port=server.port)) as office,
    ):
        week = Week(office, server)
        for kind, act in SCENES.items():
            week.goes_on(len(week.exports) // len(SCENES) + 1)
            assert office.exceptions() == {}, kind
            with closing(act(week)) as acting:
                next(acting)
                trouble = week.trouble(kind)
                for line in trouble.commands:
                    if line.startswith(tuple(f"kore-inbox {verb}" for verb in LOOKING)):
                        office.type(line)
                with pytest.raises(StopIteration):
                    acting.send(trouble)
            office.work()
            assert office.exceptions() == {}, kind
        assert week.sent >= len(week.exports)
        past = json_of(office.run, "exceptions", "--all")
        assert {exception["kind"] for exception in past} == set(Kind)
        told = Counter(map(subject_of, server.got))
        titles = [title_of(each["kind"], each["subject"]) for each in past if each["kind"] != Kind.MAIL]
        assert told == Counter([*titles, *(f"Over: {title}" for title in titles)]), "each once, and its end"
        loaded = {file["name"] for file in json_of(office.run, "files", "--state", "loaded")}
        assert loaded >= {name for name, _ in week.exports}
        assert differences(office.bench) == []
        assert broken_references(office.bench) == []


# --- scenes, in their order ---------------------------------------------------------------------------------


@scene(Kind.BAD_NAME)
def a_text_for_people_is_sent(week: Week) -> Scene:
    assert week.office.push("readme.txt", b"hello\n").startswith("553")
    week.office.work()
    trouble = yield
    week.office.type(trouble.command("withdraw"))


@scene(Kind.NOT_ALLOWED)
def a_new_source_is_not_known_to_its_user(week: Week) -> Scene:
    assert week.office.push("YY_0000001_KS_CATEGORY.NET", b"NEW\tNew\n").startswith("553")
    week.office.work()
    trouble = yield
    (week.office.folder / "password").write_text(PASSWORD)
    sources = " ".join(f"--source {source}" for source in ("DT", "XX", "YY"))
    week.office.type(f"{trouble.command('user')} {USER} {sources} --password-stdin < password")
    week.office.type(trouble.command("replay"))


@scene(Kind.CONFLICT)
def a_number_is_used_twice(week: Week) -> Scene:
    name, _ = week.exports[week.sent - 1]
    assert week.office.push(name, b"other\n").startswith("553")
    week.office.work()
    trouble = yield
    week.office.type(trouble.command("withdraw"))


@scene(Kind.QUARANTINED)
def an_export_is_bad_as_a_whole(week: Week) -> Scene:
    week.send(b"A\t" + LONG + b"\nB\t" + LONG + b"\nC\t" + LONG + b"\n")
    week.office.work()
    trouble = yield
    week.office.type(trouble.command("withdraw"))


@scene(Kind.GAP)
def a_file_is_lost_on_its_way(week: Week) -> Scene:
    week.name()
    week.send(b"GAP\tbehind it\n")
    week.office.work()
    week.passes(minutes=16)
    trouble = yield
    week.office.type(trouble.command("skip"))


@scene(Kind.NEEDS_APPROVAL)
def a_full_has_lost_most_of_its_rows(week: Week) -> Scene:
    week.send(b"".join(b"OLD%03d\tname\n" % number for number in range(150)))
    week.office.work()
    week.send(b"GAP\tall that is left\n", "CATEGORY.FULL")
    week.office.work()
    trouble = yield
    assert "OLD000" in week.office.type(next(line for line in trouble.commands if "--dry-run" in line))
    week.office.type(trouble.command("approve"))


@scene(Kind.REJECTED_ROWS)
def two_names_are_too_long(week: Week) -> Scene:
    name = week.send(b"SAWS\tSaws\nNAILS\t" + LONG + b"\nTOOLS\t" + LONG + b"\n")
    week.office.work()
    trouble = yield
    assert trouble.letter is not None
    [attached] = trouble.letter.message.iter_attachments()
    assert f"{name}.fix" in trouble.text
    rows = attached.get_content().replace(LONG.decode(), "short")
    assert week.office.push(f"{name}.fix", rows.encode()).startswith("226")


@scene(Kind.PARKED_ROWS)
def a_parent_comes_days_later(week: Week) -> Scene:
    week.send(b"CHILD\tits parent is not there\tPARENT\n")
    week.office.work()
    week.passes(days=1)
    yield
    week.send(b"PARENT\tcomes at last\n")


@scene(Kind.WAITING_FIX)
def corrections_come_for_a_file_that_never_does(week: Week) -> Scene:
    assert week.office.push(f"XX_{week.number + 1:07d}_KS_REGIONS.NET.fix", b"1\t\t\tEAST\n").startswith(
        "226"
    )
    week.office.work()
    week.passes(minutes=16)
    trouble = yield
    week.office.type(trouble.command("withdraw"))


@scene(Kind.CYCLE)
def two_categories_are_below_each_other(week: Week) -> Scene:
    week.send(b"HEN\thens\tEGG\nEGG\teggs\tHEN\n")
    week.office.work()
    yield
    week.send(b"EGG\teggs\t\n")


@scene(Kind.RETRIED)
def the_disk_of_the_database_is_full(week: Week) -> Scene:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with week.office.patch.context() as patch:
        patch.setattr(Loading, "load", fails)
        week.send(b"LATE\tthe disk was full\n")
        week.office.work()
        for _ in range(2):
            week.passes(minutes=10)
        yield
    week.passes(minutes=20)


@scene(Kind.BACKLOG)
def a_load_takes_very_long(week: Week) -> Scene:
    week.send(b"SLOW\twaited for an hour\n")
    week.office.bench.loader().register()
    week.office.clock.later(hours=1)
    week.office.bench.loader().reviewing.review()
    week.office.mail()
    yield


@scene(Kind.SILENCE)
def the_export_job_stands_still(week: Week) -> Scene:
    week.passes(days=2)
    yield
    week.send(b"AWAKE\tagain\n")


@scene(Kind.DROP_FOLDER)
def the_share_is_away(week: Week) -> Scene:
    office, share = week.office, week.office.folder / "share"
    share.rename(office.folder / "away")
    office.look_at_folders()
    week.passes(minutes=16)
    yield
    (office.folder / "away").rename(share)
    (share / week.name()).write_bytes(b"SHARE\tcame by the share\n")
    office.look_at_folders()
    office.work()
    assert "SHARE" in [row["category_id"] for row in office.bench.rows("category")]


@scene(Kind.DATABASE_AWAY)
def the_database_is_away_for_two_minutes(week: Week) -> Scene:
    office = week.office
    with office.without_database():
        week.send(b"AWAY\tcame meanwhile\n")
        office.work_in_vain()
        office.clock.later(minutes=2)
        office.work_in_vain()
        yield
    office.work()
    assert "AWAY" in [row["category_id"] for row in office.bench.rows("category")]


@scene(Kind.DISK_LOW)
def the_disk_fills_up(week: Week) -> Scene:
    with week.office.patch.context() as patch:
        patch.setattr(Spool, "free_bytes", lambda _: 999_999_999)
        week.office.work()
        trouble = yield
        [looks] = [line for line in trouble.commands if line.startswith("df ")]
        week.office.type(looks)


@scene(Kind.DAMAGED_RECEIPT)
def a_receipt_is_damaged(week: Week) -> Scene:
    name = week.send(b"DAMAGED\tcame again\n")
    [receipt_id] = week.office.bench.spool.pending_ids()
    (week.office.bench.spool.new / receipt_id).write_bytes(b"{")
    week.office.work()
    trouble = yield
    assert week.office.push(name, b"DAMAGED\tcame again\n").startswith("226")
    week.office.work()
    assert "DAMAGED" in [row["category_id"] for row in week.office.bench.rows("category")]
    [removes] = [line for line in trouble.commands if line.startswith("rm ")]
    week.office.type(removes)


@scene(Kind.CERTIFICATE)
def the_certificate_ends_soon(week: Week) -> Scene:
    _make_certificate(week.office.conf, days_old=340)
    week.office.work()
    yield
    _make_certificate(week.office.conf, days_old=0)


def _make_certificate(conf: Path, days_old: int) -> None:
    certificate, key = conf / "certificate.pem", conf / "key.pem"
    certificate.unlink(missing_ok=True)
    key.unlink(missing_ok=True)
    make_self_signed(certificate, key, datetime.now(UTC) - timedelta(days=days_old))


@scene(Kind.CRASH_LOOP)
def the_loader_ends_at_every_start(week: Week) -> Scene:
    board = week.office.dies_at_every_start("loader")
    week.office.mail()
    yield
    board.clear()


@scene(Kind.MAIL)
def the_mail_server_takes_nothing(week: Week) -> Scene:
    week.server.answer_data = lambda: "451 4.3.0 try later"
    assert week.office.push("letter.txt", b"dear operator\n").startswith("553")
    for _ in range(4):
        week.passes(minutes=5)
    yield
    week.server.answer_data = lambda: "250 OK"
    week.passes(minutes=20)
    week.office.work()
    trouble = week.trouble(Kind.BAD_NAME)
    week.office.type(trouble.command("withdraw"))
