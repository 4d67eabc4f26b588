"""Every kind of incident opens by its rule and closes by itself, on both databases (contract E1)."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ByteSize
from sqlalchemy import Table, select, update

from server import incidents, schema, views
from server.admin import Decision
from server.certificate import make_self_signed
from server.conditions import Facts
from server.config import Dispatch, Load, Sequence, Settings
from server.drop_troubles import Troubles
from server.kinds import Kind
from server.ledger import now_utc
from server.notices import Noticeboard, of_child
from server.receipt import DROP_FOLDER
from server.settings.drop_folder import DropFolders
from server.settings.ftp import Ftp, Tls
from server.settings.source import Source
from server.spool import Spool
from server.wording import after_refusal
from tests.support.inboxes import Bench, replace_settings

GOOD = b"A\tone\n"
# Of a machine's own disk nothing is expected.
NO_DISK = Settings().inbox.model_copy(update={"disk_alert_below": ByteSize(0)})


class Operator:
    """Looks at the incidents of an inbox with some settings."""

    def __init__(self, bench: Bench, **sections: Any) -> None:
        self.bench = bench
        self.sections = {"inbox": NO_DISK} | sections
        self.settings = replace_settings(bench.settings, **self.sections)

    def arrive(self, name: str, data: bytes = GOOD) -> None:
        self.bench.arrive(name, data)
        self.bench.work(**self.sections)

    def review(self, after: timedelta) -> None:
        bench = self.bench
        with bench.database.write("a test") as connection:
            now = now_utc() + after
            incidents.review(Facts(connection, self.settings, bench.catalog, bench.spool, now))

    def open(self, after: timedelta = timedelta(0)) -> dict[str, Any]:
        """The open incidents by kind, as they are after some time."""
        self.review(after)
        with self.bench.database.read() as connection:
            found = list(connection.execute(schema.incident.select().where(schema.incident.c.open == 1)))
        assert len({row.kind for row in found}) == len(found)
        return {row.kind: row for row in found}


def test_a_gap_is_one_incident_however_it_shrinks(bench: Bench) -> None:
    who = Operator(bench, sequence=Sequence(gap_alert_after=900))
    who.arrive("DT_0000005_KS_CATEGORY.NET")
    assert who.open() == {}
    assert list(who.open(timedelta(minutes=15))) == ["gap"]
    who = Operator(bench, sequence=Sequence(gap_alert_after=0))
    gap = who.open()["gap"]
    assert (gap.subject, gap.source) == ("DT 0000004", "DT")
    assert "`kore-inbox skip DT 0000001-0000004`" in gap.todo
    who.arrive("DT_0000001_KS_CATEGORY.NET")
    who.arrive("DT_0000002_KS_CATEGORY.NET")
    smaller = who.open()["gap"]
    assert (smaller.id, smaller._mapping["count"], smaller.first_seen) == (gap.id, 3, gap.first_seen)
    assert "`kore-inbox skip DT 0000003-0000004`" in smaller.todo
    who.arrive("DT_0000004_KS_CATEGORY.NET")
    who.arrive("DT_0000003_KS_CATEGORY.NET")
    assert who.open() == {}


@pytest.mark.parametrize(
    ("kind", "name", "data", "verb"),
    [
        (Kind.BAD_NAME, "no name", GOOD, "withdraw"),
        (Kind.CONFLICT, "DT_0000001_KS_CATEGORY.NET", b"B\tother\n", "withdraw"),
        (Kind.QUARANTINED, "DT_0000002_KS_NOSUCH.NET", GOOD, "withdraw"),
        (Kind.NEEDS_APPROVAL, "DT_0000002_KS_CATEGORY.FULL", b"", "approve"),
    ],
)
def test_what_waits_for_a_person_names_the_command_that_ends_it(
    bench: Bench, kind: Kind, name: str, data: bytes, verb: str
) -> None:
    who = Operator(bench)
    who.arrive("DT_0000001_KS_CATEGORY.NET")
    who.arrive(name, data)
    found = who.open()
    assert list(found) == [kind]
    assert f"`kore-inbox {verb} 2`" in found[kind].todo
    assert found[kind].source == (None if kind is Kind.BAD_NAME else "DT")
    getattr(bench.inbox, verb)(["2"], Decision(by="ada", reason="a test"))
    bench.work()
    assert kind not in who.open()


def test_of_refused_files_of_one_name_the_newest_is_spoken_of(bench: Bench) -> None:
    name = "XX_0000001_KS_CATEGORY.NET"
    who = Operator(bench)
    for sender, reason in (("erp", "erp may not push files of XX"), (DROP_FOLDER, "not in that folder")):
        bench.arrive(name, GOOD, user=sender, refusal=reason, cause="not allowed")
    bench.work(**who.sections)
    incident = who.open()["not allowed"]
    assert incident.happened == f"{name} was refused: not in that folder. So was one before it."
    assert incident.todo == after_refusal("not allowed", 2, DROP_FOLDER)
    bench.inbox.withdraw(["2"], Decision())
    incident = who.open()["not allowed"]
    assert incident.happened == f"{name} was refused: erp may not push files of XX."
    assert incident.todo == after_refusal("not allowed", 1, "erp")


def test_refused_and_parked_rows_are_over_when_they_are_in(bench: Bench) -> None:
    who = Operator(bench, load=Load(park_alert_after=60))
    who.arrive("DT_0000001_KS_CATEGORY.NET", b"C\twith a parent\tP\n\tno key\n")
    assert list(who.open()) == ["rejected rows"]
    found = who.open(timedelta(minutes=2))
    assert sorted(found) == ["parked rows", "rejected rows"]
    assert found["parked rows"].source == "DT"
    assert found["rejected rows"].file_id == 1
    who.arrive("DT_0000001_KS_CATEGORY.NET.fix", b"2\t\t\tP\tparent\t\n")
    assert who.open(timedelta(minutes=2)) == {}


def test_rows_that_are_each_others_parents_are_one_until_the_circle_is_broken(bench: Bench) -> None:
    who = Operator(bench)
    who.arrive("DT_0000001_KS_CATEGORY.NET", b"A\t\tB\nB\t\tA\n")
    assert who.open()["cycle"].subject == "CATEGORY"
    who.arrive("DT_0000002_KS_CATEGORY.NET", b"B\t\t\n")
    assert who.open() == {}


def test_a_file_that_does_not_load_in_three_tries_is_one(bench: Bench) -> None:
    who = Operator(bench)
    bench.arrive("DT_0000001_KS_CATEGORY.NET", GOOD)
    bench.loader().register()
    _change(bench, schema.file, attempts=3, reason="the disk is full", retry_at=now_utc())
    assert "the disk is full." in who.open()["retried"].happened
    bench.work()
    assert who.open() == {}


def test_files_that_wait_too_long_to_be_loaded_are_a_backlog_and_those_just_released_are_not(
    bench: Bench,
) -> None:
    who = Operator(bench, dispatch=Dispatch(settle=0, backlog_alert_after=60))
    bench.arrive("DT_0000002_KS_CATEGORY.NET", GOOD)
    loader = bench.loader()
    loader.register()
    _change(bench, schema.event, at=now_utc() - timedelta(days=3))
    bench.arrive("DT_0000001_KS_CATEGORY.NET", GOOD)
    loader.register()
    assert who.open() == {}, "one was held for three days, but could not be loaded"
    assert list(who.open(timedelta(minutes=2))) == ["backlog"]
    loader.work()
    assert who.open() == {}


def test_a_drop_folder_is_one_while_something_is_wrong_with_it_for_longer_than_alert_after(
    bench: Bench,
) -> None:
    one, two, former = Path("/mnt/one"), Path("/mnt/two"), Path("/mnt/former")
    folders = DropFolders(folders={one: ("DT",), two: ("DT", "XX")}, alert_after=600)
    who = Operator(bench, drop_folder=folders)
    troubles = Troubles(bench.spool, [one, two, former])
    for folder in (one, former):
        troubles.report(folder, "it cannot be read")
    assert who.open(timedelta(minutes=9)) == {}
    found = who.open(timedelta(minutes=10))["drop folder"]
    assert (found.subject, found.source) == (str(one), "DT")
    assert "the drop folder /mnt/one: it cannot be read." in found.happened
    assert who.open(timedelta(minutes=20))["drop folder"]._mapping["count"] == 1
    troubles.report(one, "")
    assert who.open(timedelta(minutes=20)) == {}
    troubles.report(two, "it cannot be written to")
    assert who.open(timedelta(minutes=20))["drop folder"].source is None


def test_a_source_and_an_api_are_silent_when_nothing_came_for_their_interval(bench: Bench) -> None:
    limits = {"orders": 7200, "category": 7200}
    source = Source.model_validate({"silence_alert_after": 3600, "silence_alert_after_by_api": limits})
    who = Operator(bench, sources={"DT": source})
    assert who.open(timedelta(days=1)) == {}, "the inbox has never received anything"
    who.arrive("DT_0000001_KS_CATEGORY.NET")
    assert who.open(timedelta(minutes=59)) == {}
    silent = who.open(timedelta(minutes=61))["silence"]
    assert (silent.subject, silent.source) == ("DT", "DT")
    assert who.open() == {}, "over as soon as one came, which is as if the time had not passed"
    subjects = _subjects(who, timedelta(hours=3))
    assert subjects == {"DT", "DT CATEGORY", "DT ORDERS"}
    who.arrive("DT_0000002_KS_CATEGORY.NET")
    _change(bench, schema.file, {"name": "DT_0000002_KS_CATEGORY.NET"}, received_at=_in(hours=3))
    assert _subjects(who, timedelta(hours=3)) == {"DT ORDERS"}, "no ORDERS has ever come"


def test_a_full_disk_is_one_until_there_is_clearly_enough_room_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Settings().inbox.model_copy(update={"disk_alert_below": ByteSize(1_000_000_000)})
    who = Operator(bench, inbox=inbox)
    told = []
    for free in (2_000_000_000, 999_999_999, 500_000_000, 1_050_000_000, 1_100_000_000):
        monkeypatch.setattr(Spool, "free_bytes", lambda _, free=free: free)
        told.append([(row.kind, row._mapping["count"]) for row in who.open().values()])
    assert told == [[], [("disk low", 1)], [("disk low", 1)], [("disk low", 1)], []]


def test_a_certificate_is_told_of_thirty_days_before_its_end(bench: Bench, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_self_signed(certificate, key, datetime.now(UTC) - timedelta(days=340))
    who = Operator(bench, ftp=Ftp(tls=Tls.REQUIRED, certificate=certificate, key=key))
    found = who.open()["certificate"]
    assert who.open(timedelta(days=3))["certificate"]._mapping["count"] == 1, "it is not told of daily"
    assert " expired on " in who.open(timedelta(days=30))["certificate"].happened
    assert " expires on " in found.happened
    certificate.unlink()
    assert "cannot be read" in who.open()["certificate"].happened
    key.unlink()
    make_self_signed(certificate, key, datetime.now(UTC))
    assert who.open() == {}


def _ends(bench: Bench, role: str, times: int) -> Noticeboard:
    """What the supervisor notes of a child that ends again and again."""
    board = Noticeboard(bench.spool, of_child(role))
    for _ in range(times):
        board.put(f"{role} ended", subject=role, happened="It ended.", kept="", todo="", again_seconds=1)
    return board


def test_a_child_that_ends_again_and_again_is_one_until_it_lives(bench: Bench) -> None:
    who = Operator(bench)
    _ends(bench, "receiver", 2)
    assert who.open() == {}
    _ends(bench, "receiver", 1)
    found = who.open()["crash loop"]
    assert (found.subject, found.source) == ("receiver", None)
    board = _ends(bench, "receiver", 100)
    assert who.open()["crash loop"]._mapping["count"] == 1, "it is not told of each time"
    board.clear()
    assert who.open() == {}


def test_a_loader_that_ends_before_it_has_reviewed_has_written_down_that_it_does(bench: Bench) -> None:
    board = _ends(bench, "loader", 3)
    for _ in range(2):
        bench.loader()
        with bench.database.read() as connection:
            [found] = views.incidents(connection, closed=False)
        assert (found["kind"], found["subject"], found["count"]) == ("crash loop", "loader", 1)
    board.clear()
    assert Operator(bench).open() == {}


def test_the_manual_has_every_kind_of_exception() -> None:
    manual = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    table = manual.partition("## Exceptions")[2].partition("### Mail")[0]
    rows = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert re.findall(r"`([^`]+)`", rows) == list(Kind)


def _change(bench: Bench, table: Table, where: dict[str, Any] | None = None, **values: Any) -> None:
    with bench.database.write("a test") as connection:
        connection.execute(update(table).filter_by(**(where or {})).values(**values))


def _subjects(who: Operator, after: timedelta) -> set[str]:
    who.review(after)
    with who.bench.database.read() as connection:
        table = schema.incident
        return set(connection.execute(select(table.c.subject).where(table.c.open == 1)).scalars())


def _in(**time: int) -> datetime:
    return now_utc() + timedelta(**time)
