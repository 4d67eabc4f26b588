"""`kore-inbox check`: the verdict of a load, without loading (contract section 8)."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server import cli
from server.admin import Decision
from server.settings.source import Source
from tests.support.inboxes import Bench

Check = Callable[..., tuple[int, str, str]]

INVENTORY = b"I1\tS1\t\tL1\t\t5\nI2\tS1\t\tL1\t\t12,5x\n\t\t\t\t\t\n"


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings folder; the folder above it is where we are."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "inbox.toml").write_text("")
    return folder


@pytest.fixture
def check(conf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run `check`; returns exit code, output, messages."""

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kore-inbox", "--conf", str(conf), "check", *words])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        return int(ending.value.code or 0), printed.out, printed.err

    return command


@pytest.fixture
def bench(conf: Path, tmp_path: Path, database_url: str) -> Any:
    """An inbox with a database, to which the settings lead."""
    made = Bench.make(tmp_path / "data", database_url)
    url = made.database.url.render_as_string(hide_password=False)
    (conf / "inbox.toml").write_text(
        f'[database]\nurl = "{url}"\n[inbox]\nspool = "{made.spool.root}"\n[dispatch]\nsettle = 0\n'
    )
    yield made
    made.database.close()


def write(name: str, data: bytes) -> str:
    Path(name).write_bytes(data)
    return name


def only(check: Check, *words: str) -> Any:
    """The one record that `--json` gives."""
    _, out, _ = check("--json", *words)
    (record,) = json.loads(out)
    return record


def test_a_file_is_checked_without_server_or_database_and_leaves_no_trace(check: Check, conf: Path) -> None:
    name = write("DT_0000017_KS_INVENTORY.NET", INVENTORY)
    code, out, messages = check(name)
    assert code == 1
    assert out.splitlines() == [
        f"{name}: line 2, Quantity On Hand: `12,5x` is not a number",
        f"{name}: line 3: every cell is blank",
        f"{name} would be loaded; rows read: 3, rejected: 2.",
    ]
    assert "Missing parents" in messages
    assert {path.name for path in Path().iterdir()} == {"conf", name}


def test_a_file_without_fault_gives_exit_code_0(check: Check) -> None:
    code, out, _ = check(write("dt_000001_ks_category.full", b"A\tone\n"))
    assert (code, out) == (0, "dt_000001_ks_category.full would be loaded; rows read: 1, rejected: 0.\n")


def test_every_finding_is_a_record(check: Check) -> None:
    record = only(check, write("DT_0000017_KS_INVENTORY.NET", INVENTORY))
    findings = record.pop("findings")
    assert record == {
        "file": "DT_0000017_KS_INVENTORY.NET",
        "api": "INVENTORY",
        "source": "DT",
        "state": "loaded",
        "reason": None,
        "rows_read": 3,
        "rows_loaded": 1,
        "rows_rejected": 2,
        "rows_parked": None,
    }
    assert findings[0] == {
        "line": 2,
        "field": "Quantity On Hand",
        "reason": "`12,5x` is not a number",
        "raw": "I2\tS1\t\tL1\t\t12,5x",
    }


def test_a_file_is_read_as_its_source_writes(check: Check, conf: Path) -> None:
    (conf / "inbox.toml").write_text(
        '[sources.es]\nencoding = "cp1252"\ndecimal_comma = true\nthousands = "."\n'
        'date_formats = ["D.M.YYYY"]\n'
    )
    row = "I1\tnormal é\t1.234,50\tLIST\t31.1.2024\t1\tEA\n".encode("cp1252")
    name = write("ES_0000001_KS_BASE_PRICES.NET", row)
    assert check(name)[0] == 0
    assert only(check, name, "--source", "dt")["findings"][0]["reason"] == "byte 11 is not utf-8"
    assert check("--api", "base_prices", "--source", "es", write("prices.txt", row))[0] == 0


@pytest.mark.parametrize(
    ("name", "data", "state", "reason"),
    [
        ("prices.txt", b"x\n", "refused", "the name must end in .NET or .FULL."),
        ("DT_0000001_KS_NOSUCH.NET", b"x\n", "quarantined", "the catalog has no API NOSUCH; "),
        ("DT_0000001_XX_CATEGORY.NET", b"x\n", "quarantined", "the settings have no integration XX; "),
        ("DT_0000001_KS_CATEGORY.NET", b"Category ID\tcategory_id\n", "quarantined", "its header names"),
        ("DT_0000001_KS_CATEGORY.NET", b"A\rB\r", "quarantined", "its lines end in CR alone"),
        ("DT_0000001_KS_CATEGORY.NET", "A\n".encode("utf-16"), "quarantined", "it is written in utf-16"),
        ("DT_0000001_KS_CATEGORY.NET", b"A\nB\nC\nD\nE\n", "quarantined", "it has more than 4 lines"),
        (
            "DT_0000001_KS_CATEGORY.NET",
            b"\0\n\0\nC\n",
            "quarantined",
            "2 of 3 rows rejected, more than max_rejected (1)",
        ),
    ],
)
def test_what_concerns_the_whole_file_is_its_verdict(
    check: Check, conf: Path, name: str, data: bytes, state: str, reason: str
) -> None:
    (conf / "inbox.toml").write_text(
        '[inbox]\nintegrations = ["KS"]\n[load]\nmax_rejected = 1\nmax_lines = 4\n'
    )
    record = only(check, write(name, data))
    assert (record["state"], record["rows_loaded"]) == (state, 0)
    assert record["reason"].startswith(reason)
    code, out, _ = check(name)
    assert code == 1
    assert f"{name} would be {state}: {reason}" in out


@pytest.mark.parametrize(
    "words",
    [("nosuch.NET",), ("conf",), ("--api", "NOSUCH", "x"), (), ("99",), ("DT_0000001_KS_CATEGORY.NET",)],
)
def test_what_cannot_be_checked_is_a_mistake_of_usage(check: Check, words: tuple[str, ...]) -> None:
    write("x", b"")
    code, out, messages = check(*words)
    assert (code, out) == (2, "")
    assert len(messages.strip()) > 20


def test_a_received_file_is_found_by_name_and_by_id(check: Check, bench: Bench) -> None:
    receipt = bench.arrive("DT_0000001_KS_INVENTORY.NET", INVENTORY)
    bench.work()
    for words in (("dt_000001_ks_inventory.net",), ("1",)):
        record = only(check, *words)
        assert (record["file"], record["rows_rejected"]) == ("DT_0000001_KS_INVENTORY.NET", 2)
    bench.spool.data_path(receipt.data).unlink()
    assert check("1")[0] == 2


def test_with_a_database_missing_parents_are_told_and_nothing_is_written(check: Check, bench: Bench) -> None:
    bench.arrive("DT_0000001_KS_MFG_ITEMS.NET", b'I1\t3/4" bolt\t\t\t\t\t\tN\tN\t1.5\t1\n')
    bench.work()
    before = bench.tables()
    rows = b"I1\tS1\t\tL1\t\t5\nI9\tS1\t\tL1\t\t6\nI1\tS1\t\tL1\t\tx\n"
    name = write("DT_0000002_KS_INVENTORY.NET", rows)
    record = only(check, "--database", name)
    assert [(found["line"], found["field"], found["reason"]) for found in record["findings"]] == [
        (3, "Quantity On Hand", "`x` is not a number"),
        (2, "Part Number", "mfg_items has no `I9`"),
    ]
    assert (record["rows_loaded"], record["rows_parked"], record["rows_rejected"]) == (1, 1, 1)
    code, out, messages = check("--database", name)
    assert (code, messages) == (1, "")
    assert out.endswith(f"{name} would be loaded; rows read: 3, rejected: 1, parked: 1.\n")
    assert bench.tables() == before
    with bench.database.read() as connection:
        for table in ("inbox_parked_row", "inbox_rejected_row"):
            assert connection.exec_driver_sql(f"SELECT COUNT(*) FROM {table}").scalar() == 0
    # Loaded after all, it comes out as it was foretold.
    bench.arrive(name, rows)
    bench.work()
    with bench.database.read() as connection:
        row = bench.inbox.find(connection, name)
    assert (row.rows_read, row.rows_loaded, row.rows_rejected, row.rows_parked) == (3, 1, 1, 1)


def test_the_loader_reads_a_file_as_its_source_writes(bench: Bench) -> None:
    row = "I1\tone é\t\t\t\t\t\tN\tN\t1.234,5\t1\n".encode("cp1252")
    source = Source(encoding="cp1252", decimal_comma=True, thousands=".")
    for name in ("ES_0000001_KS_MFG_ITEMS.NET", "DT_0000001_KS_MFG_ITEMS.NET"):
        bench.arrive(name, row)
    bench.work(sources={"ES": source})
    assert [(row["short_description"], str(row["unit_cost"])) for row in bench.rows("mfg_items")] == [
        ("one é", "1234.5000")
    ]


@pytest.mark.parametrize("data", [b"", b"Category ID\n", b"\0\n"])
def test_a_full_without_a_good_row_would_wait_for_approval(check: Check, bench: Bench, data: bytes) -> None:
    name = write("DT_0000001_KS_CATEGORY.FULL", data)
    record = only(check, name)
    assert (record["state"], record["reason"]) == ("deferred", "It has no good row.")
    bench.arrive(name, data)
    bench.work()
    assert bench.states()[name] == "deferred"
    bench.inbox.approve([name], Decision())
    assert only(check, "1")["state"] == "loaded"


def test_with_a_database_it_shows_that_a_full_would_wait_for_approval(check: Check, bench: Bench) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\nB\n")
    bench.work()
    data = b"C\n"
    name = write("DT_0000002_KS_CATEGORY.FULL", data)
    assert only(check, name)["state"] == "loaded"
    record = only(check, "--database", name)
    bench.arrive(name, data)
    bench.work()
    with bench.database.read() as connection:
        row = bench.inbox.find(connection, name)
    assert (row.state, row.reason) == (record["state"], record["reason"])
    assert row.state == "deferred"
    assert check("--database", name)[0] == 1


def test_rows_of_one_file_are_each_other_s_parents_in_a_check_too(check: Check, bench: Bench) -> None:
    name = write("DT_0000001_KS_CATEGORY.NET", b"A\tone\tB\nB\ttwo\t\nC\tthree\tC\n")
    code, out, _ = check("--database", name)
    assert (code, out) == (0, f"{name} would be loaded; rows read: 3, rejected: 0, parked: 0.\n")


def test_a_received_file_is_checked_with_its_fixes_as_it_would_load(check: Check, bench: Bench) -> None:
    name = "DT_0000001_KS_CUSTOMERS.FULL"
    bench.arrive(name, b"Customer Number\tCustomer Name\nC1\t" + b"x" * 999 + b"\nC2\t" + b"y" * 999 + b"\n")
    bench.arrive(f"{name}.fix", b"2\t\t\tC1\tone\n3\t\t\t\ttwo\n")
    for words in ((), ("--database",)):
        record = only(
            check, *words, write(name, bench.spool.data_path(bench.spool.pending_ids()[0]).read_bytes())
        )
        assert (record["state"], record["rows_rejected"]) == ("deferred", 2), "on disk it is another file"
        Path(name).unlink()
    bench.work()
    with bench.database.read() as connection:
        row = bench.inbox.find(connection, name)
    for words in ((), ("--database",)):
        record = only(check, *words, name)
        counts = ("state", "rows_read", "rows_loaded", "rows_rejected")
        assert [record[count] for count in counts] == [getattr(row, count) for count in counts]
        assert record["findings"][0]["raw"] == "\ttwo"


def test_several_files_are_said_to_be_held_against_the_tables_one_by_one(check: Check, bench: Bench) -> None:
    bench.arrive("DT_0000001_KS_CUSTOMERS.NET", b"C0\n")
    bench.work()
    parents = write("DT_0000002_KS_CATEGORY.NET", b"A\tone\n")
    children = write("DT_0000003_KS_CATEGORY.NET", b"B\ttwo\tA\n")
    said = "Each file was held against the tables by itself, as if the others had not come."
    code, out, messages = check("--database", parents, children)
    assert (code, out.splitlines()[-1]) == (
        1,
        f"{children} would be loaded; rows read: 1, rejected: 0, parked: 1.",
    )
    assert said in messages
    assert said not in check("--database", children)[2]


def test_names_and_rows_are_escaped_where_they_are_shown(check: Check) -> None:
    """X4."""
    name = write("evil\x1b[2J.NET", b"x")
    other = write("DT_0000001_KS_INVENTORY.NET", b"I1\tS1\t\tL1\t\t\x1b[2J\n")
    _, out, messages = check(name, other)
    assert "\x1b" not in out + messages
    assert r"evil\x1b[2J.NET" in out
    assert json.loads(check("--json", name)[1])[0]["file"] == "evil\x1b[2J.NET"
