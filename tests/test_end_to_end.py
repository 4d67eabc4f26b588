"""The whole inbox, with real processes, real clients and both databases."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from sqlalchemy import make_url, update

from server import roles, schema
from server.database import Database
from server.simulator import Plan, push, simulate
from server.spool import Spool
from tests.support.inboxes import Bench
from tests.support.running import PASSWORD, USER, RunningInbox, until


@pytest.fixture
def inbox(tmp_path: Path, database_url: str) -> Iterator[RunningInbox]:
    with RunningInbox(tmp_path, database_url) as running:
        yield running


def _all_loaded(inbox: RunningInbox, count: int) -> bool:
    return bool(inbox.ask("status")[0]["files"] == {"loaded": count})


def test_300_files_in_random_order_by_8_connections_end_as_if_loaded_in_sequence(
    tmp_path: Path, new_database: Callable[[], str]
) -> None:
    exports = list(simulate(Plan(files=300, rows_per_file=20)))
    in_order = Bench.make(tmp_path / "in-order", new_database())
    loader = in_order.loader()
    for export in exports:
        in_order.arrive(export.name, export.data)
        while loader.work():
            pass
    with RunningInbox(tmp_path / "shuffled", new_database()) as inbox:
        replies = push(exports, inbox.server, connections=8, shuffle_seed=7)
        assert [reply.text[:3] for reply in replies] == ["226"] * 300
        until(lambda: _all_loaded(inbox, 300), "all files are loaded")
        assert inbox.ask("parked") == []
        assert inbox.ask("exceptions") == []
        shuffled = Bench.make(tmp_path / "look", inbox.url)
        assert shuffled.tables() == in_order.tables()
        shuffled.database.close()
    in_order.database.close()


def test_what_curl_pushes_is_in_the_table(inbox: RunningInbox, tmp_path: Path) -> None:
    target = f"ftp://127.0.0.1:{inbox.port}/DT_0000001_KS_CATEGORY.NET"
    done = subprocess.run(
        ["curl", "-sv", "--user", f"{USER}:{PASSWORD}", "-T", "-", target],
        input=b"TOOLS\tHand tools\n",
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert b"226 DT_0000001_KS_CATEGORY.NET accepted" in done.stderr
    until(lambda: inbox.states() == {"DT_0000001_KS_CATEGORY.NET": "loaded"}, "it is loaded")
    look = Bench.make(tmp_path / "look", inbox.url)
    assert [(row["category_id"], row["category_name"]) for row in look.rows("category")] == [
        ("TOOLS", "Hand tools")
    ]
    look.database.close()


def test_lftp_uploads_under_a_temporary_name_and_renames(inbox: RunningInbox, tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.write_bytes(b"TOOLS\tHand tools\n")
    script = f"put {export} -o DT_0000001_KS_CATEGORY.NET.tmp; "
    script += "mv DT_0000001_KS_CATEGORY.NET.tmp DT_0000001_KS_CATEGORY.NET; bye"
    command = ["lftp", "-u", f"{USER},{PASSWORD}", "-e", script, f"ftp://127.0.0.1:{inbox.port}"]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    until(lambda: inbox.states() == {"DT_0000001_KS_CATEGORY.NET": "loaded"}, "it is loaded")


def test_a_gap_holds_what_follows_until_the_missing_number_arrives(inbox: RunningInbox) -> None:
    inbox.push("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    reply = inbox.push("DT_0000003_KS_CATEGORY.NET", b"A\tthree\n")
    assert reply.startswith("226 DT_0000003_KS_CATEGORY.NET accepted; held until DT_0000002 arrives")
    until(lambda: "held" in inbox.states().values(), "the third is held")

    why = inbox.command("why", "dt_000003_ks_category.net")
    assert "0000002 missing for" in why
    assert "`kore-inbox skip DT 0000002`" in why
    [gap] = inbox.ask("gaps")
    assert (gap["stream"], gap["first"], gap["last"], gap["holds_back"]) == ("DT", 2, 2, 1)
    assert gap["age_seconds"] >= 0

    inbox.push("DT_0000002_KS_CATEGORY.NET", b"A\ttwo\n")
    until(lambda: set(inbox.states().values()) == {"loaded"}, "all are loaded")
    assert inbox.ask("gaps") == []
    assert inbox.command("why", "DT_0000003_KS_CATEGORY.NET").startswith(
        "DT_0000003_KS_CATEGORY.NET waits for nothing"
    )


def test_skip_releases_what_waits_and_a_late_file_does_no_harm(inbox: RunningInbox, tmp_path: Path) -> None:
    inbox.push("DT_0000003_KS_CATEGORY.NET", b"A\tthree\n")
    until(lambda: "held" in inbox.states().values(), "it is held")
    tried = inbox.command("skip", "DT", "1-2", "--dry-run")
    assert "nothing was changed" in tried
    assert inbox.states() == {"DT_0000003_KS_CATEGORY.NET": "held"}
    inbox.command("skip", "DT", "1-2", "--reason", "the ERP was restored", "--by", "ada")
    until(lambda: set(inbox.states().values()) == {"loaded"}, "it is loaded")

    reply = inbox.push("DT_0000002_KS_CATEGORY.NET", b"A\ttwo\nB\ttwo\n")
    assert "late" in reply
    until(lambda: inbox.states().get("DT_0000002_KS_CATEGORY.NET") == "loaded", "the late one is loaded")
    look = Bench.make(tmp_path / "look", inbox.url)
    assert {row["category_id"]: row["category_name"] for row in look.rows("category")} == {
        "A": "three",
        "B": "two",
    }
    look.database.close()


def test_in_one_burst_customers_load_before_orders(tmp_path: Path, database_url: str) -> None:
    with RunningInbox(tmp_path, database_url, settings="[dispatch]\nsettle = 5\n") as inbox:
        with inbox.ftp() as session:
            for name, data in (
                ("DT_0000001_KS_ORDERS.NET", _order("SO1", "C1")),
                ("DT_0000002_KS_CUSTOMERS.NET", b"C1\t\tC\tAda\n"),
            ):
                source = tmp_path / "export"
                source.write_bytes(data)
                with source.open("rb") as handle:
                    session.storbinary(f"STOR {name}", handle)
        until(lambda: _all_loaded(inbox, 2), "both are loaded")
        loaded = {file["api"]: file for file in inbox.ask("files")}
        assert loaded["ORDERS"]["rows_parked"] == 0
        log = inbox.log.read_text()
        assert log.index("KS_CUSTOMERS.NET loaded") < log.index("KS_ORDERS.NET loaded")


def test_orders_of_an_unknown_customer_park_and_go_in_when_he_comes(inbox: RunningInbox) -> None:
    inbox.push("DT_0000001_KS_ORDERS.NET", _order("SO1", "C1"))
    until(lambda: _all_loaded(inbox, 1), "the order's file is loaded")
    [row] = inbox.ask("parked")
    assert (row["waits_table"], row["waits_key"], row["line"]) == ("customers", "C1", 1)
    told = inbox.command("why", "DT_0000001_KS_ORDERS.NET")
    assert "Parked until the parents in customers come: 1 row of it." in told

    inbox.push("DT_0000002_KS_CUSTOMERS.NET", b"C1\t\tC\tAda\n")
    until(lambda: _all_loaded(inbox, 2), "the customer's file is loaded")
    assert inbox.ask("parked") == []
    counts = {file["api"]: (file["rows_loaded"], file["rows_parked"]) for file in inbox.ask("files")}
    assert counts == {"ORDERS": (1, 0), "CUSTOMERS": (1, 0)}


def test_bad_rows_are_kept_with_line_field_and_reason_and_the_good_ones_are_in(inbox: RunningInbox) -> None:
    inbox.push("DT_0000001_KS_CATEGORY.NET", b"A\tone\n\tno key\n" + b"B" * 31 + b"\tlong\nC\tthree\n")
    until(lambda: _all_loaded(inbox, 1), "it is loaded")
    found = inbox.ask("rejects", "DT_0000001_KS_CATEGORY.NET")
    assert [(row["line"], row["field"], row["reason"], row["raw"]) for row in found] == [
        (2, "Category ID", "required, but empty", "\tno key"),
        (3, "Category ID", "31 characters, 30 allowed", "B" * 31 + "\tlong"),
    ]
    until(lambda: bool(inbox.ask("exceptions")), "the operator is told")
    [incident] = inbox.ask("exceptions")
    assert (incident["kind"], incident["subject"]) == ("rejected rows", "DT_0000001_KS_CATEGORY.NET")


@pytest.mark.parametrize("role", ["receiver", "loader"])
def test_a_child_that_is_killed_is_started_again_and_nothing_is_lost(inbox: RunningInbox, role: str) -> None:
    exports = list(simulate(Plan(files=40, rows_per_file=30)))
    push(exports[:20], inbox.server, connections=4, shuffle_seed=1)
    inbox.kill(role)
    until(inbox.listens, "the receiver listens again")
    push(exports[20:], inbox.server, connections=4, shuffle_seed=2)
    until(lambda: _all_loaded(inbox, 40), "all are loaded")


def _eight_sessions_are_answered(inbox: RunningInbox, first: int) -> None:
    sessions = [inbox.ftp() for _ in range(8)]
    for number, session in enumerate(sessions, first):
        name = f"DT_{number:07d}_KS_CATEGORY.NET"
        assert session.voidcmd("NOOP").startswith("200")
        assert session.nlst() is not None
        assert session.storbinary(f"STOR {name}", BytesIO(b"A\tone\n")).startswith(f"226 {name} accepted")
    for session in sessions:
        session.quit()


def test_senders_are_answered_while_a_load_stands_still(inbox: RunningInbox) -> None:
    """D6, A4: a loader in the midst of a load keeps its locks for as long as it likes."""
    big = b"".join(b"K%07d\tname\n" % number for number in range(200_000))
    inbox.push("DT_0000001_KS_CATEGORY.NET", big)
    until(inbox.is_loading, "it is loading")
    with inbox.paused("loader"):
        assert inbox.states() == {"DT_0000001_KS_CATEGORY.NET": "loading"}
        _eight_sessions_are_answered(inbox, 2)
        assert inbox.states() == {"DT_0000001_KS_CATEGORY.NET": "loading"}
    until(lambda: _all_loaded(inbox, 9), "all are loaded")


def test_senders_are_answered_while_all_of_the_ledger_is_locked(inbox: RunningInbox) -> None:
    """D6, A4."""
    inbox.push("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    until(lambda: _all_loaded(inbox, 1), "the first is loaded")
    database = Database(make_url(inbox.url))
    with database.write("a test") as connection:
        connection.execute(update(schema.stream).values(rank=schema.stream.c.rank))
        connection.execute(update(schema.file).values(attempts=0))
        _eight_sessions_are_answered(inbox, 2)
    database.close()
    until(lambda: _all_loaded(inbox, 9), "all are loaded")


def test_a_second_inbox_on_the_same_spool_says_so_and_ends(tmp_path: Path) -> None:
    with RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox:
        said = inbox.command("serve", code=1)
        assert said.count("Another inbox is running on the spool") == 1
        assert "Traceback" not in said
        assert "listening" not in said, "it has started nothing"


def test_an_inbox_whose_port_is_taken_says_so_and_ends(tmp_path: Path) -> None:
    inbox = RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}")
    with socket.create_server(("127.0.0.1", inbox.port)):
        said = inbox.command("serve", code=1)
    assert f"Port {inbox.port} of 127.0.0.1 cannot be listened on: another program listens there." in said
    assert "The receiver cannot run, so the inbox ends" in said
    assert "started again" not in said
    assert "Traceback" not in said


def test_a_receiver_that_is_left_over_keeps_the_spool_to_itself(tmp_path: Path) -> None:
    inbox = RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}")
    spool = Spool(inbox.spool)
    spool.create()
    with roles.take(spool.root, "receiver"):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "server.children", "receiver", str(inbox.conf)],
            stdin=subprocess.PIPE,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1, "1 means that it is tried again"
    assert "Another inbox is running on the spool" in done.stderr
    assert "Traceback" not in done.stderr


def _order(number: str, customer: str) -> bytes:
    cells = [number, "", customer, "01-05-2026", "", "", "O", "1", "P1", "Part", "1.5", "01-09-2026", "2"]
    return "\t".join(cells).encode() + b"\n"
