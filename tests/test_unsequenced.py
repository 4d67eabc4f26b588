"""Names without source and sequence: the inbox numbers such files as they come (contract N7)."""

import contextlib
import ftplib
import json
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from loaders.shapes import Catalog
from server import schema, users
from server.config import Inbox
from server.database import Database
from server.errors import SettingsError, UsageError
from server.names import parse_unsequenced
from server.outlook import View
from server.sequence import Version
from server.settings.source import Source
from server.unnumbered import came_before
from tests.support.commands import Run, json_of
from tests.support.inboxes import Bench
from tests.support.receiving import Running
from tests.support.running import PASSWORD, RunningInbox, until
from tests.test_ledger_machine import Died, Mortal


def _arrive(bench: Bench, name: str, text: str, source: str = "DT") -> None:
    bench.arrive(name, text.encode(), source=source)


def _category(bench: Bench) -> dict[str, str | None]:
    return {row["category_id"]: row["category_name"] for row in bench.rows("category")}


# --- numbers -------------------------------------------------------------------------------------------


def test_files_are_numbered_in_the_order_in_which_they_were_accepted(bench: Bench) -> None:
    _arrive(bench, "category.net", "A\tone\n")
    _arrive(bench, "KS_CATEGORY.net", "A\ttwo\n")
    _arrive(bench, "Category.NET", "A\tthree\n")
    bench.work()
    assert bench.states() == {
        "DT_U0000001_CATEGORY.NET": "loaded",
        "DT_U0000002_KS_CATEGORY.NET": "loaded",
        "DT_U0000003_CATEGORY.NET": "loaded",
    }
    assert _category(bench) == {"A": "three"}


def test_only_the_file_just_before_under_that_name_makes_a_duplicate(bench: Bench) -> None:
    for text in ("A\tone\n", "A\tone\r\n", "A\ttwo\n", "A\tone\n"):
        _arrive(bench, "CATEGORY.net", text)
        _arrive(bench, "KS_CATEGORY.net", "B\tsame\n")
    bench.work()
    with bench.database.read() as connection:
        query = select(schema.file.c.name, schema.file.c.state).where(schema.file.c.integration == "")
        found = [tuple(row) for row in connection.execute(query.order_by(schema.file.c.id))]
    assert found == [
        ("DT_U0000001_CATEGORY.NET", "loaded"),
        ("DT_U0000001_CATEGORY.NET", "duplicate"),
        ("DT_U0000003_CATEGORY.NET", "loaded"),
        ("DT_U0000004_CATEGORY.NET", "loaded"),
    ]
    assert _category(bench) == {"A": "one", "B": "same"}
    assert len(list(bench.spool.data.glob("[0-9a-f]*"))) == 4, "what a duplicate held is needed no more"


def test_a_full_without_a_number_makes_inactive_what_it_does_not_hold(bench: Bench) -> None:
    _arrive(bench, "CATEGORY.net", "A\tone\nB\tone\n")
    _arrive(bench, "category.full", "A\ttwo\nC\ttwo\n")
    bench.work()
    assert {row["category_id"]: row["active"] for row in bench.rows("category")} == {"A": 1, "B": 0, "C": 1}


def test_the_numbers_of_a_source_are_not_touched(bench: Bench, run: Run) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tnumbered\n")
    _arrive(bench, "KS_CATEGORY.net", "A\tone\n")
    _arrive(bench, "KS_CATEGORY.net", "A\ttwo\n", source="XX")
    bench.arrive("DT_0000003_KS_CATEGORY.NET", b"A\tnumbered\n")
    bench.work()
    assert bench.states() == {
        "DT_0000001_KS_CATEGORY.NET": "loaded",
        "DT_U0000001_KS_CATEGORY.NET": "loaded",
        "XX_U0000001_KS_CATEGORY.NET": "loaded",
        "DT_0000003_KS_CATEGORY.NET": "held",
    }
    streams = {stream["stream"]: stream["next"] for stream in json_of(run, "status")[0]["streams"]}
    assert streams == {"DT": 2, "DT UNSEQUENCED": 2, "XX UNSEQUENCED": 2}
    # The stream that came last has the highest rank.
    assert _category(bench) == {"A": "two"}


@pytest.mark.parametrize(
    ("spelling", "number"),
    [("dt_u0000001_category.net", 1), ("DT_U000001_CATEGORY.NET", 1), ("category.net", 3)],
)
def test_commands_find_a_file_by_its_number_and_the_last_one_by_its_name(
    bench: Bench, run: Run, spelling: str, number: int
) -> None:
    for text in ("A\tone\n", "A\ttwo\n"):
        _arrive(bench, "CATEGORY.net", text)
        _arrive(bench, "KS_CATEGORY.net", text)
    bench.work()
    assert json_of(run, "show", spelling)[0]["name"] == f"DT_U{number:07d}_CATEGORY.NET"
    assert run("why", spelling)[1].startswith(f"DT_U{number:07d}_CATEGORY.NET waits for nothing")


def test_a_quarantined_one_is_judged_anew_when_it_comes_again_or_replaced_by_a_copy(
    bench: Bench, run: Run, tmp_path: Path
) -> None:
    strict = bench.settings.load.model_copy(update={"max_rejected": 0})
    for _ in range(2):
        _arrive(bench, "CATEGORY.net", f"A\t{'x' * 31}\n")
        bench.work(load=strict)
    assert [file["state"] for file in json_of(run, "files")] == ["quarantined", "duplicate"]
    events = [event["event"] for event in json_of(run, "show", "1")[0]["history"]]
    assert events.count("replayed") == 1
    copy = tmp_path / "copy"
    copy.write_text("A\tmended\n")
    assert run("replay", "1", "--with", str(copy))[0] == 0
    bench.work(load=strict)
    assert [file["state"] for file in json_of(run, "files")] == ["replaced", "duplicate", "loaded"]
    assert bench.states()["DT_U0000001_CATEGORY.NET"] == "loaded"
    assert _category(bench) == {"A": "mended"}


def test_refused_rows_come_back_as_a_fix(bench: Bench) -> None:
    _arrive(bench, "CATEGORY.net", f"A\tone\nB\t{'x' * 31}\n")
    bench.work()
    bench.arrive("DT_U0000001_CATEGORY.NET.fix", b"2\t\t\tB\tmended\n")
    bench.work()
    assert _category(bench) == {"A": "one", "B": "mended"}


def test_an_unknown_api_is_quarantined_until_the_catalog_has_it(bench: Bench, tmp_path: Path) -> None:
    """Only then it can be told whether a name begins with an integration."""
    whole = bench.catalog
    without = {name: api for name, api in whole.items() if name != "CUST_PARTS"}
    bench.catalog = Catalog(without, whole.created)
    _arrive(bench, "CUST_PARTS.net", "")
    bench.work()
    assert bench.states() == {"DT_U0000001_CUST_PARTS.NET": "quarantined"}
    bench.catalog = whole
    bench.work()
    with bench.database.read() as connection:
        row = connection.execute(select(schema.file)).one()
    assert (row.state, row.integration, row.api) == ("loaded", "", "CUST_PARTS")


def test_an_integration_is_asked_for_only_where_one_is_named(bench: Bench) -> None:
    known = bench.settings.inbox.model_copy(update={"integrations": ("KS",)})
    assert isinstance(known, Inbox)
    for name in ("CATEGORY.net", "KS_CATEGORY.net", "ZZ_CATEGORY.net"):
        _arrive(bench, name, "A\tone\n")
    bench.work(inbox=known)
    assert sorted(bench.states().values()) == ["loaded", "loaded", "quarantined"]


# --- whatever the order, and whoever dies --------------------------------------------------------------

ARRIVALS = st.lists(
    st.tuples(st.sampled_from(["CATEGORY.net", "KS_CATEGORY.net"]), st.sampled_from("abc")), max_size=12
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(arrivals=ARRIVALS, works=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), max_size=4))
def test_every_file_gets_the_next_number_once_and_the_last_one_wins(
    arrivals: Sequence[tuple[str, str]], works: Sequence[tuple[int, int]]
) -> None:
    """The loader works at some moments, and dies at some step: what waits meanwhile keeps its order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        bench = Bench.make(path, f"sqlite:///{path / 'inbox.sqlite'}")
        bench.database.close()
        bench.database = database = Mortal(bench.database.url)
        assert isinstance(database, Database)
        expected: list[tuple[str, str]] = []
        last: dict[str, str] = {}
        for moment, (name, text) in enumerate(arrivals):
            for _, steps in (work for work in works if work[0] == moment):
                database.steps_left = steps
                with contextlib.suppress(Died):
                    bench.work()
                database.steps_left = -1
            _arrive(bench, name, f"K\t{text}\n{name[:2]}\t{text}\n")
            if last.get(name) != text:
                expected.append((name, text))
            last[name] = text
        bench.work()
        with database.read() as connection:
            query = select(
                schema.file.c.sequence, schema.file.c.name, schema.file.c.state, schema.file.c.data
            )
            found = list(
                connection.execute(query.where(schema.file.c.holder == 1).order_by(schema.file.c.sequence))
            )
        assert [
            (row.sequence, row.name.partition("_U")[2][8:], bench.spool.data_path(row.data).read_text()[2])
            for row in found
        ] == [(number, name.upper(), text) for number, (name, text) in enumerate(expected, 1)]
        assert {row.state for row in found} <= {"loaded"}
        wanted = {key: text for name, text in expected for key in ("K", name[:2])}
        assert _category(bench) == wanted
        assert {row["category_id"]: row["version"] for row in bench.rows("category")} == {
            key: max(n for n, (name, _) in enumerate(expected, 1) if key in ("K", name[:2])) for key in wanted
        }
        assert bench.spool.pending_ids() == []
        database.close()


def test_what_waits_for_the_ledger_is_newer_than_what_it_knows() -> None:
    name = parse_unsequenced("ORDERS.net", "DT", {"ORDERS"})
    view = View(Version(0, 0), Version(0, 3), repeated=frozenset({"a"}))
    assert came_before(name, "a", [], view)
    assert not came_before(name, "a", ["b"], view)
    assert came_before(name, "b", ["a", "b"], view)


# --- over FTP ------------------------------------------------------------------------------------------


def test_a_user_for_whom_it_is_not_switched_on_is_told_how_it_could_be(tmp_path: Path) -> None:
    receiver = Running(tmp_path)
    try:
        reply = receiver.store("ORDERS.net", b"a\tb\n")
        assert reply.startswith("553 ORDERS.net refused: the name must have the form SOURCE_SEQUENCE_")
        assert "--unsequenced" in reply
        assert receiver.accepted() == []
    finally:
        receiver.stop()


def test_the_options_of_the_users_source_hold_for_what_names_none(tmp_path: Path) -> None:
    receiver = Running(tmp_path, sources={"DT": Source(ragged=True)})
    users.add_user(tmp_path / "conf", "simple", "secret", ["DT"], unsequenced=True)
    try:
        narrow = b"a\tb\tc\nd\te"
        assert receiver.store("ORDERS.net", narrow, "simple").startswith("226")
        assert receiver.store("orders.tmp", narrow, "simple").startswith("226")
        assert receiver.store("XX_0000001_KS_ORDERS.NET", narrow, "other").startswith("426")
    finally:
        receiver.stop()


@pytest.mark.parametrize("away", [False, True])
def test_the_receiver_knows_the_file_just_before(tmp_path: Path, away: bool) -> None:
    receiver = Running(tmp_path)
    users.add_user(tmp_path / "conf", "simple", "secret", ["DT"], unsequenced=True)
    receiver.outlook.away = away
    try:
        replies = [
            receiver.store("ORDERS.net", data, "simple")
            for data in (b"a\n", b"a\r\n", b"b\n", b"b\n", b"a\n")
        ]
        new = "the database is away, it will be loaded" if away else "it is numbered in the order"
        assert [new in reply for reply in replies] == [True, False, True, False, True]
        assert replies[1] == replies[3] == "226 ORDERS.NET already received"
        receipts = receiver.receipts()
        assert [receipt.source for receipt in receipts] == ["DT"] * 5
        with receiver.ftp("simple") as session:
            session.storbinary("STOR x.tmp", BytesIO(b"c\n"))
            reply = session.rename("x.tmp", "ks_orders.full")
            assert reply.startswith("250 KS_ORDERS.FULL accepted")
            assert session.nlst() == ["ORDERS.net", "ks_orders.full"]
    finally:
        receiver.stop()
    again = Running(tmp_path)
    again.outlook.away = away
    try:
        assert again.store("orders.NET", b"a\n", "simple") == "226 ORDERS.NET already received"
    finally:
        again.stop()


@pytest.mark.parametrize(
    "name", ["DT_U0000001_KS_ORDERS.NET", "DT_0000001_ORDERS.NET", "DT_17_ORDERS.net", "ORDERS.txt"]
)
def test_what_looks_like_a_number_gone_wrong_is_refused(tmp_path: Path, name: str) -> None:
    receiver = Running(tmp_path)
    users.add_user(tmp_path / "conf", "simple", "secret", ["DT"], unsequenced=True)
    try:
        assert receiver.store(name, b"a\n", "simple").startswith("553")
    finally:
        receiver.stop()


def test_files_without_numbers_are_pushed_loaded_and_found(tmp_path: Path, database_url: str) -> None:
    with RunningInbox(tmp_path, database_url) as inbox:
        inbox.command("user", "list")
        users.add_user(inbox.conf, "simple", PASSWORD, ["DT"], unsequenced=True)
        assert json.loads(inbox.command("user", "list", "--json"))[1] == {
            "name": "simple",
            "sources": ["DT"],
            "unsequenced": True,
        }
        with ftplib.FTP(timeout=60) as session:
            session.connect("127.0.0.1", inbox.port)
            session.login("simple", PASSWORD)
            store = [
                session.storbinary("STOR CATEGORY.net", BytesIO(f"A\t{text}\n".encode()))
                for text in ("one", "one", "two", "one")
            ]
            assert [reply.startswith("226 CATEGORY.NET already") for reply in store] == [
                False,
                True,
                False,
                False,
            ]
            until(lambda: inbox.ask("status")[0]["files"] == {"duplicate": 1, "loaded": 3}, "all are loaded")
            # Now it is the ledger that knows.
            assert session.storbinary("STOR category.net", BytesIO(b"A\tone\n")).startswith(
                "226 CATEGORY.NET already received"
            )
        assert inbox.ask("show", "CATEGORY.net")[0]["name"] == "DT_U0000003_CATEGORY.NET"
        look = Bench.make(tmp_path / "look", inbox.url)
        assert _category(look) == {"A": "one"}
        look.database.close()


# --- users ---------------------------------------------------------------------------------------------


def test_who_sends_names_without_a_source_has_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 2 sources"):
        users.add_user(tmp_path, "simple", "secret", ["DT", "XX"], unsequenced=True)
    users.add_user(tmp_path, "simple", "secret", ["dt"], unsequenced=True)
    users.add_user(tmp_path, "erp", "secret", ["DT", "XX"])
    assert [(user.name, user.unsequenced) for user in users.list_users(tmp_path)] == [
        ("erp", False),
        ("simple", True),
    ]
    text = (tmp_path / "users.toml").read_text()
    (tmp_path / "users.toml").write_text(text.replace('sources = [\n    "DT",\n]', 'sources = ["DT", "XX"]'))
    with pytest.raises(SettingsError, match="has exactly one"):
        users.list_users(tmp_path)
    (tmp_path / "users.toml").write_text(text.replace("unsequenced = true", "unsequenced = 1"))
    with pytest.raises(SettingsError, match="true or false"):
        users.list_users(tmp_path)
