"""Each page of the manual's "What to do when" is tried: its commands are taken out of it and typed.

A scene brings an inbox into the situation that a page is about, and yields wherever the page is followed for
one block of commands; it gets what they said. Then nothing may be left that needs a person.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server import roles, users
from server.certificate import make_self_signed
from server.kinds import Kind
from server.loading import Loading
from server.spool import Spool
from tests.support.office import PASSWORD, Office
from tests.support.smtp import MailServer

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

Scene = Generator[None, str, None]
Act = Callable[[Office], Scene]


@dataclass(frozen=True)
class Page:
    """What the manual says of a task: the kinds of exceptions it is about, and its blocks of commands."""

    kinds: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]


def pages() -> dict[str, Page]:
    """All pages, by their headings."""
    chapter = README.partition("\n## What to do when\n")[2].partition("\n## ")[0]
    _, *parts = re.split(r"^### (.*)\n", chapter, flags=re.MULTILINE)
    found = {}
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        named = re.findall(r"Exceptions? (`[^`]+`(?: and `[^`]+`)*)", text)
        kinds = re.findall(r"`([^`]+)`", " ".join(named))
        blocks = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        found[heading] = Page(tuple(kinds), tuple(tuple(block.splitlines()) for block in blocks))
    return found


PAGES = pages()
SCENES: dict[str, tuple[str, tuple[int, ...], Act]] = {}


def follows(heading: str, *blocks: int) -> Callable[[Act], Act]:
    """A scene that follows these blocks of a page, counted from 1."""

    def keep(act: Act) -> Act:
        SCENES[act.__name__] = heading, blocks, act
        return act

    return keep


@pytest.fixture
def office(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Office]:
    with Office(tmp_path, "sqlite:///data/inbox.sqlite", monkeypatch, capsys) as made:
        yield made


@pytest.mark.parametrize("heading", PAGES)
def test_each_page_is_followed_to_its_last_block(heading: str) -> None:
    followed = {block for of, blocks, _ in SCENES.values() if of == heading for block in blocks}
    assert followed == {*range(1, len(PAGES[heading].blocks) + 1)}


def test_each_kind_of_exception_has_its_page() -> None:
    assert sorted(kind for page in PAGES.values() for kind in page.kinds) == sorted(Kind)


def test_the_page_is_followed_and_then_nothing_is_left_to_do(name: str, office: Office) -> None:
    heading, blocks, act = SCENES[name]
    page = PAGES[heading]
    # Closed also where it fails: what a scene has changed must not last.
    with closing(act(office)) as scene:
        next(scene)
        if page.kinds:
            assert office.exceptions().keys() & {*page.kinds}
        for block in blocks[:-1]:
            scene.send(_typed(office, page.blocks[block - 1]))
        with pytest.raises(StopIteration):
            scene.send(_typed(office, page.blocks[blocks[-1] - 1]))
    office.work()
    assert office.exceptions() == {}


def _typed(office: Office, block: tuple[str, ...]) -> str:
    return "\n".join(map(office.type, block))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """By then all scenes are known."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", SCENES)


# --- scenes -------------------------------------------------------------------------------------------------

LONG = b"S" * 31
GOOD = b"TOOLS\tHand tools\n"
BAD = b"TOOLS\tHand tools\nSAWS\t" + LONG + b"\n"
BOTH = ["SAWS", "TOOLS"]


def name(number: int, ending: str = "CATEGORY.NET") -> str:
    return f"DT_{number:07d}_KS_{ending}"


def begins_at(office: Office, number: int) -> None:
    """Say with which number the ERP begins, before any file has come."""
    office.type(f"kore-inbox sequence set DT {number}")


def arrives(office: Office, number: int, data: bytes = GOOD, ending: str = "CATEGORY.NET") -> str:
    """A file arrives and is loaded, if it can be; returns the reply."""
    reply = office.push(name(number, ending), data)
    office.work()
    return reply


def is_due(office: Office, number: int, data: bytes = GOOD, ending: str = "CATEGORY.NET") -> None:
    """The same at an inbox where that number is due."""
    begins_at(office, number)
    arrives(office, number, data, ending)


def passes(office: Office, **time: float) -> None:
    """Time passes, and the loader looks what is wrong now."""
    office.clock.later(**time)
    office.work()


def active(office: Office) -> list[str]:
    return [row["category_id"] for row in office.bench.rows("category") if row["active"]]


@follows("A file is held", 1)
def the_missing_number_arrives(office: Office) -> Scene:
    begins_at(office, 17)
    assert "held until DT_0000017 arrives" in arrives(office, 18)
    passes(office, minutes=16)
    looked = yield
    assert "0000017 missing for 16 min" in looked
    office.push(name(17), b"OLD\tOld\n")


@follows("A file is held", 1, 2)
def the_missing_number_is_given_up(office: Office) -> Scene:
    begins_at(office, 17)
    arrives(office, 18)
    passes(office, minutes=16)
    yield
    yield
    office.work()
    assert active(office) == ["TOOLS"]
    arrives(office, 17, b"TOOLS\tOlder\nOLD\tOld\n")
    assert office.bench.rows("category")[1]["category_name"] == "Hand tools"
    assert active(office) == ["OLD", "TOOLS"]


@follows("Rows were rejected", 1)
def rejected_rows_come_with_the_next_file(office: Office) -> Scene:
    is_due(office, 17, BAD)
    assert "31 characters, 30 allowed" in (yield)
    arrives(office, 18, b"SAWS\tSaws\n")


def _correct(office: Office) -> None:
    fix = office.folder / "rows.fix"
    fix.write_bytes(fix.read_bytes().replace(LONG, b"Saws"))


@follows("Rows were rejected", 2, 3)
def rejected_rows_are_corrected_by_hand(office: Office) -> Scene:
    is_due(office, 17, BAD)
    yield
    _correct(office)
    yield
    office.work()
    assert active(office) == BOTH


@follows("Rows were rejected", 2, 4)
def rejected_rows_are_corrected_by_the_sender(office: Office) -> Scene:
    is_due(office, 17, BAD)
    (office.conf / "trial-password").write_text(PASSWORD)
    users.add_user(office.conf, "trial", PASSWORD, ["DT"])
    yield
    _correct(office)
    yield
    office.work()
    assert active(office) == BOTH


@follows("Rows were rejected", 5)
def rejected_rows_were_right_and_the_catalog_was_not(office: Office) -> Scene:
    is_due(office, 17, BAD)
    (office.folder / "apis").mkdir()
    (office.folder / "apis" / "category.toml").write_text(
        'api = "CATEGORY"\n[[field]]\nname = "Category Name"\nlength = 80\n'
    )
    office.restart('catalog.folder = "apis"\n')
    office.work()
    yield
    office.work()
    assert active(office) == BOTH


@follows("Rows were rejected", 6)
def rejected_rows_will_never_come(office: Office) -> Scene:
    is_due(office, 17, BAD + b"\tno key\n")
    yield


@follows("Rows are parked", 1)
def the_parents_come(office: Office) -> Scene:
    is_due(office, 17, b"SAWS\tSaws\tTOOLS\n")
    passes(office, days=1)
    assert "TOOLS" in (yield)
    arrives(office, 18)
    assert active(office) == BOTH


@follows("Rows are parked", 1)
def it_was_the_row_that_was_wrong(office: Office) -> Scene:
    is_due(office, 17, b"SAWS\tSaws\tTOOLS\n")
    passes(office, days=1)
    yield
    arrives(office, 18, b"SAWS\tSaws\t\n")
    assert active(office) == ["SAWS"]


@follows("Rows name each other as parents", 1)
def the_circle_is_broken(office: Office) -> Scene:
    is_due(office, 17, b"SAWS\tSaws\tTOOLS\nTOOLS\tTools\tSAWS\n")
    assert "Parent Category" in (yield)
    arrives(office, 18, b"TOOLS\tTools\t\n")
    assert active(office) == BOTH


def _a_fix_without_its_file(office: Office) -> None:
    begins_at(office, 17)
    office.push(f"{name(17)}.fix", b"2\t\t\tSAWS\tSaws\n")
    office.work()


@follows("Corrected rows wait for their file", 1)
def the_file_of_the_fix_comes(office: Office) -> Scene:
    _a_fix_without_its_file(office)
    passes(office, minutes=15)
    assert "has not arrived" in (yield)
    arrives(office, 17, BAD)
    assert active(office) == BOTH


@follows("Corrected rows wait for their file", 2)
def the_file_of_the_fix_was_withdrawn(office: Office) -> Scene:
    begins_at(office, 16)
    arrives(office, 17, BAD)
    office.type(f"kore-inbox withdraw {name(17)}")
    office.push(f"{name(17)}.fix", b"2\t\t\tSAWS\tSaws\n")
    office.push(name(16), GOOD)
    passes(office, seconds=0)
    passes(office, minutes=15)
    yield
    office.work()
    assert active(office) == BOTH


@follows("Corrected rows wait for their file", 3)
def the_file_of_the_fix_will_never_come(office: Office) -> Scene:
    _a_fix_without_its_file(office)
    passes(office, minutes=15)
    yield


@follows("A file was refused", 1, 2)
def the_user_may_push_it_after_all(office: Office) -> Scene:
    assert office.push("YY_0000001_KS_CATEGORY.NET", GOOD).startswith("553")
    office.work()
    (office.conf / "erp-password").write_text(PASSWORD)
    assert "erp may not push files of YY" in (yield)
    yield
    office.work()
    assert active(office) == ["TOOLS"]


@follows("A file was refused", 1, 3)
def the_name_is_none(office: Office) -> Scene:
    assert office.push("categories.txt", GOOD).startswith("553")
    office.work()
    yield
    arrives(office, 1)
    yield


@follows("A file was refused", 1, 4)
def the_folder_may_hold_it_after_all(office: Office) -> Scene:
    (office.folder / "share").mkdir()
    office.restart('drop_folder.folders = {"share" = ["DT"]}\ndrop_folder.stable_for = 0\n')
    (office.folder / "share" / "YY_0000001_KS_CATEGORY.NET").write_bytes(GOOD)
    office.look_at_folders()
    office.work()
    looked = yield
    assert "add the source to it in `[drop_folder] folders`" in looked
    assert "user add" not in looked
    assert f"address: {office.folder / 'share'}" in office.type("kore-inbox show 1")
    assert "may not push files of YY" in office.type("kore-inbox replay 1", code=1)
    office.toml.write_text(office.toml.read_text().replace('["DT"]', '["DT", "YY"]'))
    office.restart()
    yield
    office.work()
    assert active(office) == ["TOOLS"]


@follows("The same number came twice", 1, 2)
def both_are_good(office: Office) -> Scene:
    is_due(office, 17)
    assert arrives(office, 17, b"SAWS\tSaws\n").startswith("553")
    assert "received before with other content" in (yield)
    arrives(office, 18, b"SAWS\tSaws\n")
    yield
    assert active(office) == BOTH


@follows("The same number came twice", 1, 3)
def the_second_is_the_right_one(office: Office) -> Scene:
    begins_at(office, 16)
    arrives(office, 17)
    arrives(office, 17, b"SAWS\tSaws\n")
    yield
    yield
    arrives(office, 16, b"")
    assert active(office) == ["SAWS"]


@follows("The counter was reset", 1, 2)
def the_erp_begins_again(office: Office) -> Scene:
    arrives(office, 1)
    arrives(office, 1, b"SAWS\tSaws\n")
    looked = yield
    assert "nothing was changed" in looked
    assert "Epoch 1 of DT begins" in looked
    yield
    arrives(office, 2, b"TOOLS\tTools\n")
    assert active(office) == BOTH
    assert office.bench.rows("category")[1]["category_name"] == "Tools"


@follows("The counter was reset", 3)
def the_erp_goes_on_with_a_higher_number(office: Office) -> Scene:
    arrives(office, 1)
    arrives(office, 20, b"SAWS\tSaws\n")
    passes(office, minutes=16)
    yield
    office.work()
    assert active(office) == BOTH


@follows("The ERP sent a wrong file", 1)
def a_wrong_file_is_not_loaded_yet(office: Office) -> Scene:
    begins_at(office, 17)
    arrives(office, 18, b"WRONG\twrong\n")
    yield
    arrives(office, 17)
    arrives(office, 19, b"SAWS\tSaws\n")
    assert active(office) == BOTH
    arrives(office, 18, b"NAILS\tNails\n")
    assert active(office) == ["NAILS", *BOTH]


@follows("The ERP sent a wrong file", 2)
def a_wrong_file_is_in(office: Office) -> Scene:
    arrives(office, 1, b"WRONG\twrong\nTOOLS\twrong\n")
    assert "WRONG" in (yield)
    arrives(office, 2)
    arrives(office, 3, GOOD, "CATEGORY.FULL")
    assert active(office) == ["TOOLS"]
    assert office.bench.rows("category")[0]["category_name"] == "Hand tools"


def _loses_all_but_one(office: Office) -> None:
    """A FULL that waits because it would make nearly all inactive."""
    is_due(office, 17, b"".join(b"C%03d\tname\n" % number for number in range(200)))
    arrives(office, 18, b"C000\tname\n", "CATEGORY.FULL")


@follows("A FULL waits for approval", 1, 2)
def the_full_is_right(office: Office) -> Scene:
    _loses_all_but_one(office)
    assert "C001, C002" in (yield)
    yield
    office.work()
    assert active(office) == ["C000"]


@follows("A FULL waits for approval", 3)
def the_full_is_wrong(office: Office) -> Scene:
    _loses_all_but_one(office)
    yield
    assert len(active(office)) == 200


@follows("A FULL waits for its hours", 1)
def the_full_is_needed_at_once(office: Office) -> Scene:
    office.restart('dispatch.full_window = "22:00-05:00 UTC"\n')
    noon = office.clock.now().replace(hour=12, minute=0)
    passes(office, seconds=(noon + timedelta(days=1) - office.clock.now()).total_seconds())
    is_due(office, 18, GOOD, "CATEGORY.FULL")
    assert active(office) == []
    assert "Its hours begin at " in (yield)
    office.work()
    assert active(office) == ["TOOLS"]


@follows("A wrong FULL was loaded", 1, 2)
def the_full_is_undone_and_put_in_force_again(office: Office) -> Scene:
    is_due(office, 17, GOOD + b"SAWS\tSaws\n")
    arrives(office, 18, GOOD, "CATEGORY.FULL")
    assert active(office) == ["TOOLS"], "a small table is not asked for"
    yield
    assert active(office) == BOTH
    yield
    assert active(office) == ["TOOLS"]


def _has_too_many_bad_rows(office: Office) -> None:
    office.restart("load.max_rejected = 1\n")
    is_due(office, 17, BAD + b"NAILS\t" + LONG + b"\n")


@follows("A file is quarantined", 1, 2)
def a_corrected_file_is_brought(office: Office) -> Scene:
    _has_too_many_bad_rows(office)
    (office.folder / "corrected.net").write_bytes(BAD.replace(LONG, b"Saws"))
    assert "2 of 3 rows rejected" in (yield)
    yield
    office.work()
    assert active(office) == BOTH


@follows("A file is quarantined", 3)
def the_setting_was_wrong(office: Office) -> Scene:
    _has_too_many_bad_rows(office)
    office.toml.write_text(office.toml.read_text().replace("max_rejected = 1", "max_rejected = 2"))
    office.restart()
    yield
    office.work()
    assert active(office) == ["TOOLS"]
    arrives(office, 18, b"SAWS\tSaws\nNAILS\tNails\n")


@follows("A file is quarantined", 4)
def nobody_needs_the_file(office: Office) -> Scene:
    _has_too_many_bad_rows(office)
    yield


@follows("Files wait to be loaded", 1)
def a_file_cannot_be_loaded_for_a_while(office: Office) -> Scene:
    begins_at(office, 17)
    with office.patch.context() as patch:
        patch.setattr(Loading, "load", _disk_is_full)
        arrives(office, 17)
        passes(office, minutes=2)
        passes(office, minutes=5)
        assert "It is tried again by itself at" in (yield)
    passes(office, minutes=20)
    assert active(office) == ["TOOLS"]


def _disk_is_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@follows("Files wait to be loaded", 1)
def files_wait_behind_a_long_load(office: Office) -> Scene:
    begins_at(office, 17)
    office.push(name(17))
    office.bench.loader().register()
    office.clock.later(hours=1)
    office.bench.loader().reviewing.review()
    assert "ready: 1 file" in (yield)


@follows("A source is silent", 1)
def the_export_job_stands_still(office: Office) -> Scene:
    office.restart('sources.DT.silence_alert_after = "1h"\n')
    is_due(office, 17)
    passes(office, hours=1)
    assert name(17) in (yield)
    arrives(office, 18)


@follows("A drop folder cannot be used", 1)
def a_share_is_mounted_again(office: Office) -> Scene:
    office.restart('drop_folder.folders = {"share" = ["DT"]}\ndrop_folder.stable_for = 0\n')
    office.look_at_folders()
    passes(office, minutes=15)
    looked = yield
    assert f"drop folder {office.folder / 'share'}: it cannot be read (No such file or directory)" in looked
    (office.folder / "share").mkdir()
    (office.folder / "share" / name(1)).write_bytes(GOOD)
    office.look_at_folders()
    office.work()
    assert active(office) == ["TOOLS"]


@follows("The disk is full", 1)
def there_is_little_room(office: Office) -> Scene:
    office.patch.setattr(Spool, "free_bytes", lambda _: 999_999_999)
    office.work()
    yield
    office.patch.setattr(Spool, "free_bytes", lambda _: 1_100_000_000)


@follows("The database is away", 1)
def the_database_comes_back(office: Office) -> Scene:
    is_due(office, 17)
    with office.without_database():
        assert office.push(name(18), b"SAWS\tSaws\n").startswith("226")
        office.work_in_vain()
        office.clock.later(minutes=2)
        office.work_in_vain()
        assert "unable to open database file" in (yield)
    office.work()
    assert active(office) == BOTH
    assert "database away" in office.type("kore-inbox exceptions --all")


@follows("The database was lost", 1)
def the_ledger_is_made_anew(office: Office) -> Scene:
    begins_at(office, 17)
    arrives(office, 18)
    office.type("kore-inbox skip DT 17")
    office.work()
    office.restart()
    for path in (office.folder / "data").glob("inbox.sqlite*"):
        path.unlink()
    assert "`kore-inbox rebuild`" in office.type("kore-inbox exceptions", code=1)
    assert "1 file: 1 ready" in (yield)
    assert active(office) == ["TOOLS"]
    assert arrives(office, 19, b"SAWS\tSaws\n").endswith("it is next and will be loaded now.")
    assert active(office) == BOTH


@follows("The spool was lost", 1)
def the_ledger_goes_on_with_another_spool(office: Office) -> Scene:
    arrives(office, 1)
    arrives(office, 3)
    shutil.rmtree(office.folder / "data" / "spool")
    office.restart()
    assert "`kore-inbox adopt`" in office.type("kore-inbox exceptions", code=1)
    yield
    arrives(office, 2, b"SAWS\tSaws\n")
    arrives(office, 3)
    assert active(office) == BOTH
    assert set(office.bench.states().values()) <= {"loaded", "duplicate"}


@follows("The spool is to be moved", 1)
def the_spool_is_moved(office: Office) -> Scene:
    arrives(office, 1)
    office.restart('inbox.spool = "data/larger-disk"\n')
    yield
    arrives(office, 2, b"SAWS\tSaws\n")
    office.type("kore-inbox replay --loaded")
    office.work()
    assert active(office) == BOTH


@follows("Mail does not go out", 1, 2)
def the_mail_server_comes_back(office: Office) -> Scene:
    server = MailServer()
    office.restart(
        f'mail.host = "127.0.0.1"\nmail.port = {server.port}\nmail.security = "none"\n'
        'mail.sender = "inbox@example.com"\nmail.recipients = ["ops@example.com"]\n'
    )
    arrives(office, 1, BAD)
    for _ in range(3):
        passes(office, minutes=1)
    assert "Connection refused" in (yield)
    with server:
        yield
        passes(office, minutes=1)
        arrives(office, 2, b"SAWS\tSaws\n")
    subjects = [got.message["Subject"].removeprefix("[kore-inbox] ") for got in server.got]
    assert subjects == ["Test", f"rejected rows: {name(1)}", f"Over: rejected rows: {name(1)}"]


@follows("A process ends again and again", 1)
def the_loader_ends_at_every_start(office: Office) -> Scene:
    is_due(office, 17)
    board = office.dies_at_every_start("loader")
    office.bench.loader()
    with roles.take(office.bench.spool.root, "serve"):
        assert "waits (loader ended)" in (yield)
    board.clear()


@follows("A receipt is damaged", 1)
def a_receipt_cannot_be_read(office: Office) -> Scene:
    is_due(office, 17)
    office.push(name(18), GOOD)
    spool = office.bench.spool
    [receipt_id] = spool.pending_ids()
    (spool.new / receipt_id).write_bytes(b"")
    arrives(office, 19)
    office.work()
    assert "0000018" in (yield)
    arrives(office, 18)
    (spool.new / receipt_id).unlink()


@follows("The certificate ends", 1)
def the_certificate_is_renewed(office: Office) -> Scene:
    (office.folder / "renewed").mkdir()
    for folder, days in ((office.conf, 340), (office.folder / "renewed", 0)):
        since = datetime.now(UTC) - timedelta(days=days)
        make_self_signed(folder / "certificate.pem", folder / "key.pem", since)
    settings = 'ftp.tls = "allowed"\nftp.certificate = "conf/certificate.pem"\nftp.key = "conf/key.pem"\n'
    office.restart(settings)
    office.work()
    yield


@follows("An ERP is being connected", 1)
def an_export_is_tried(office: Office) -> Scene:
    (office.folder / name(1)).write_bytes(GOOD)
    assert "Category ID" in (yield)
    (office.folder / name(1)).write_bytes(BAD)
    assert "31 characters, 30 allowed" in office.type(f"kore-inbox check {name(1)}", code=1)


@follows("Rows have not joined", 1)
def what_rows_refer_to_has_not_come(office: Office) -> Scene:
    is_due(office, 17, b"Customer Number\tTax Code\nC1\tNY\n", "CUSTOMERS.NET")
    assert "not joined: 1 row of customers" in (yield)
