"""The operator's commands, on a ledger with no server running (contract section 8)."""

import getpass
import io
import json
import re
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from server import cli, explanation, ledger, streams
from server.admin import Decision
from server.config import Dispatch, Load
from server.sequence import Range, Version
from server.states import MOVES, State
from tests.support.commands import Run, json_of
from tests.support.inboxes import Bench
from tests.support.running import PASSWORD, USER, RunningInbox, until


def test_files_have_the_keys_of_the_contract_and_times_in_utc(bench: Bench, run: Run) -> None:
    bench.arrive("dt_000001_ks_category.net", b"A\tone\n")
    bench.work()
    [file] = json_of(run, "files")
    keys = (
        "id name source sequence integration api mode state reason size_bytes sha256 received_at loaded_at "
    )
    keys += "rows_read rows_loaded rows_rejected rows_parked"
    assert list(file) == keys.split()
    assert (file["name"], file["state"], file["rows_loaded"]) == ("DT_0000001_KS_CATEGORY.NET", "loaded", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", file["received_at"])


def test_files_are_chosen_by_state_source_and_api(bench: Bench, run: Run) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    bench.arrive("DT_0000003_KS_CATEGORY.NET", b"A\tone\n")
    bench.arrive("XX_0000001_KS_NOSUCH.NET", b"A\n")
    bench.work()
    assert [file["sequence"] for file in json_of(run, "files", "--state", "held")] == [3]
    assert [file["source"] for file in json_of(run, "files", "--source", "xx")] == ["XX"]
    assert len(json_of(run, "files", "--api", "category")) == 2
    assert len(json_of(run, "files", "--limit", "1")) == 1


def test_an_unknown_api_is_quarantined_and_holds_nothing_back(bench: Bench, run: Run) -> None:
    """N5, D2."""
    bench.arrive("DT_0000001_KS_NOSUCH.NET", b"A\n")
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    assert bench.states() == {
        "DT_0000001_KS_NOSUCH.NET": "quarantined",
        "DT_0000002_KS_CATEGORY.NET": "loaded",
    }
    _, why, _ = run("why", "DT_0000001_KS_NOSUCH.NET")
    assert "no API NOSUCH" in why
    [incident] = json_of(run, "exceptions")
    assert incident["todo"].startswith("Let the catalog or the settings know it, and restart")
    assert "replay" not in incident["todo"]


def test_with_on_quarantine_wait_later_files_of_the_api_wait(bench: Bench) -> None:

    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"\tno key\n")
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"A\tone\n")
    bench.work(dispatch=Dispatch(settle=0, on_quarantine="wait"), load=Load(max_rejected=0))
    assert bench.states()["DT_0000002_KS_CATEGORY.NET"] == "ready"
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"B\tcorrected\n")
    bench.work(dispatch=Dispatch(settle=0, on_quarantine="wait"), load=Load(max_rejected=0))
    assert set(bench.states().values()) == {"loaded"}


def test_past_max_rejected_nothing_is_loaded_and_all_refused_rows_are_counted(bench: Bench, run: Run) -> None:
    """L4."""
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n" + b"\tno key\n" * 1500)
    bench.work()
    [file] = json_of(run, "files")
    assert (file["state"], file["rows_read"], file["rows_rejected"]) == ("quarantined", 1501, 1500)
    assert "1,500 of 1,501 rows rejected" in file["reason"]
    assert bench.rows("category") == []
    assert len(json_of(run, "rejects", "1")) == 1000


def test_skip_is_written_down_with_who_and_why_and_may_be_repeated(bench: Bench, run: Run) -> None:
    bench.arrive("DT_0000003_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    for expected in ([{"stream": "DT", "first": 1, "last": 2}], []):
        assert json_of(run, "skip", "dt", "1-2", "--by", "ada", "--reason", "restored") == expected
    bench.work()
    assert bench.states() == {"DT_0000003_KS_CATEGORY.NET": "loaded"}
    with bench.database.read() as connection:
        [row] = connection.exec_driver_sql("SELECT skipped_by, reason FROM inbox_skip").all()
    assert tuple(row) == ("ada", "restored")


def test_gaps_have_the_keys_of_the_contract_and_numbers_as_numbers(bench: Bench, run: Run) -> None:
    for number in (1, 3, 4, 8):
        bench.arrive(f"DT_{number:07d}_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    found = json_of(run, "gaps")
    assert [(gap["stream"], gap["first"], gap["last"], gap["numbers"]) for gap in found] == [
        ("DT", 2, 2, 1),
        ("DT", 5, 7, 3),
    ]
    assert [gap["holds_back"] for gap in found] == [3, 1]
    # True is 1 to Python, and `true` to whoever reads the JSON.
    assert {type(gap["holds_back"]) for gap in found} == {int}


def test_why_names_what_a_file_waits_for_and_a_way_out_in_every_state(bench: Bench, run: Run) -> None:
    """N2: numbers have seven digits wherever people read them."""
    for name, data in (
        ("DT_0000001_KS_CATEGORY.NET", b"A\tone\n\tno key\n"),
        ("DT_0000001_KS_CATEGORY.NET", b"A\tone\n\tno key\n"),
        ("DT_0000001_KS_CATEGORY.NET", b"A\tother\n"),
        ("DT_0000002_KS_NOSUCH.NET", b"A\n"),
        ("DT_0000003_KS_CATEGORY.NET", b"B\tcut\n"),
        ("DT_0000003_KS_CATEGORY.NET", b"B\tcut\nC\twhole\n"),
        ("DT_0000005_KS_CATEGORY.NET", b"A\tone\n"),
        ("DT_0000008_KS_CATEGORY.NET", b"A\tone\n"),
        ("no name", b"x"),
    ):
        bench.arrive(name, data)
    bench.work()

    def why(file: str) -> list[str]:
        code, out, messages = run("why", file)
        assert code == 0, messages
        assert ".." not in out
        return out.splitlines()

    assert "waits for nothing: it was loaded at" in why("1")[0]
    assert why("1")[1:] == ["Rejected: 1 row of it; see `kore-inbox rejects 1`."]
    assert why("2") == ["DT_0000001_KS_CATEGORY.NET (file 2) waits for nothing: the same bytes as file 1."]
    assert "belongs to DT_0000001_KS_CATEGORY.NET (file 1)" in why("3")[0]
    assert why("3")[1].startswith("Have it sent again under a number of its own.")
    assert "has no API NOSUCH" in why("4")[0]
    assert "`kore-inbox replay 4`" in why("4")[1]
    assert why("5") == ["DT_0000003_KS_CATEGORY.NET (file 5) waits for nothing: replaced by file 6."]
    assert [line.partition(" missing for ")[0] for line in why("7")[1:-1]] == ["  0000004"]
    assert why("7")[-1].endswith("`kore-inbox skip DT 0000004`.")
    assert [line.partition(" missing for ")[0] for line in why("8")[1:-1]] == [
        "  0000004",
        "  0000006 to 0000007",
    ]
    assert why("8")[-1].endswith("`kore-inbox skip DT 0000004-0000007`.")
    assert why("9")[1].startswith("Have it sent again under a name that follows the rules.")
    run("withdraw", "8", "--reason", "a wrong export")
    assert why("8")[0] == "DT_0000008_KS_CATEGORY.NET is withdrawn: a wrong export."
    run("skip", "DT", "4")
    assert "ready and loads in the next wave" in why("7")[0]


def test_why_of_a_file_that_has_not_arrived_says_what_is_known_of_its_number(bench: Bench, run: Run) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    run("skip", "DT", "2")
    for name, told in (
        ("DT_0000001_KS_ORDERS.NET", "Its number belongs to DT_0000001_KS_CATEGORY.NET, which is file 1."),
        ("DT_0000002_KS_ORDERS.NET", "Its number was given up; if it comes after all, it is loaded."),
        ("DT_0000009_KS_ORDERS.NET", "The next number of DT is 0000003."),
        ("XX_0000009_KS_ORDERS.NET", "No file of XX has."),
        ("a typing error", "neither the name nor the id of a file"),
    ):
        code, _, messages = run("why", name)
        assert code == 2
        assert told in messages


def test_skip_says_what_it_has_given_up_and_does_not_believe_a_mistyped_number(
    bench: Bench, run: Run
) -> None:
    bench.arrive("DT_0000003_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    _, out, _ = run("skip", "DT", "0000001-5")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["DT", "0000001", "0000002"],
        ["DT", "0000004", "0000005"],
    ]
    _, out, _ = run("skip", "DT", "1-5")
    assert "arrived or were given up before; nothing was skipped" in out
    code, _, messages = run("skip", "DT", "6-600000")
    assert code == 2
    assert "0600000 is more than 100,000 ahead of 0000006" in messages
    bench.arrive("DT_0500000_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    assert json_of(run, "skip", "DT", "6-499999") == [{"stream": "DT", "first": 6, "last": 499999}]


def test_where_the_numbers_begin_again_skip_takes_what_why_and_the_exception_say(
    bench: Bench, run: Run
) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    assert run("sequence", "set", "DT", "9999998")[0] == 0
    bench.arrive("DT_0000003_KS_CATEGORY.NET", b"A\tone\n")
    bench.work(sequence=bench.settings.sequence.model_copy(update={"gap_alert_after": 0}))
    _, told, _ = run("why", "DT_0000003_KS_CATEGORY.NET")
    [incident] = json_of(run, "exceptions")
    command = "kore-inbox skip DT 9999998-0000002"
    assert command in told
    assert command in incident["todo"]
    assert run(*command.split()[1:])[0] == 0
    bench.work()
    assert bench.states()["DT_0000003_KS_CATEGORY.NET"] == "loaded"
    assert run(*command.split()[1:])[0] == 0, "it is safe to repeat"
    bench.arrive("XX_0000001_KS_CATEGORY.NET", b"X\tone\n")
    bench.work()
    said = "9999998-0000002 ends before it begins, as XX is at 0000002.\n"
    assert run("skip", "XX", "9999998-0000002") == (2, "", said)


def test_why_neither_waits_for_nor_stumbles_over_a_gap_that_is_just_closing(bench: Bench) -> None:
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    with bench.database.read() as connection:
        held = bench.inbox.find(connection, "DT_0000002_KS_CATEGORY.NET")
    with bench.database.write("a gap closes") as connection:
        stream = streams.by_name(connection, "DT", lock=True)
        assert stream is not None
        first = Range(Version(0, 1), Version(0, 1))
        streams.give_up(connection, stream, [first], ledger.now_utc(), by="me", reason="lost")
        assert "0000001 missing" in bench.inbox.why("DT_0000002_KS_CATEGORY.NET")[1]
    with bench.database.read() as connection:
        [told] = explanation.why(connection, held, waits_on_quarantine=False, opens=None)
    assert "is being released at this moment" in told


@pytest.mark.parametrize(
    ("scope", "right", "wrong"),
    [
        ("source", "dt", "DT_KS"),
        ("source+integration", "DT_ks", "DT"),
        ("api", "DT_KS_CUST_PARTS", "DT_KS"),
    ],
)
def test_skip_takes_the_name_of_a_stream_whatever_the_scope(
    bench: Bench, run: Run, tmp_path: Path, scope: str, right: str, wrong: str
) -> None:
    settings = tmp_path / "conf" / "inbox.toml"
    settings.write_text(settings.read_text() + f'[sequence]\nscope = "{scope}"\n[sources.DT]\nrank = 1\n')
    assert json_of(run, "skip", right, "1") == [{"stream": right.upper(), "first": 1, "last": 1}]
    code, _, messages = run("skip", wrong, "1")
    assert code == 2
    assert f'`{wrong}` is no stream: where scope = "{scope}", they are named like DT' in messages


def test_a_closed_gap_releases_what_it_held_back_up_to_the_next_one(bench: Bench, run: Run) -> None:
    """S2; arrivals are read in pages, of which these are several."""
    for number in {*range(2, 251)} - {200}:
        bench.arrive(f"DT_{number:07d}_KS_CATEGORY.NET", b"A\tone\n")
    loader = bench.loader()
    loader.register()
    assert set(bench.states().values()) == {"held"}
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    loader.register()
    [found] = json_of(run, "status")
    assert found["streams"] == [{"stream": "DT", "next": 200, "epoch": 0}]
    assert found["files"] == {"held": 50, "ready": 199}
    [gap] = found["gaps"]
    assert (gap["first"], gap["last"], gap["holds_back"]) == (200, 200, 50)


def test_a_dry_run_changes_nothing(bench: Bench, run: Run) -> None:
    bench.arrive("DT_0000003_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    for words in (
        ("skip", "DT", "1-2"),
        ("withdraw", "DT_0000003_KS_CATEGORY.NET"),
        ("sequence", "set", "DT", "9"),
    ):
        code, _, messages = run(*words, "--dry-run")
        assert code == 0
        assert "nothing was changed" in messages
    assert bench.states() == {"DT_0000003_KS_CATEGORY.NET": "held"}
    assert [gap["last"] for gap in json_of(run, "gaps")] == [2]


def test_sequence_set_forwards_skips_and_backwards_opens_an_epoch(
    bench: Bench, run: Run, tmp_path: Path
) -> None:
    settings = tmp_path / "conf" / "inbox.toml"
    settings.write_text(settings.read_text() + "[sources.DT]\nrank = 1\n")
    [set_to] = json_of(run, "sequence", "set", "DT", "5")
    assert (set_to["stream"], set_to["next"], set_to["epoch"]) == ("DT", 5, 0)
    bench.arrive("DT_0000005_KS_CATEGORY.NET", b"A\told\n")
    bench.work()
    [set_to] = json_of(run, "sequence", "set", "DT", "1")
    assert (set_to["stream"], set_to["next"], set_to["epoch"]) == ("DT", 1, 1)
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tnew\n")
    bench.work()
    assert [row["category_name"] for row in bench.rows("category")] == ["new"]


def test_a_withdrawn_file_does_not_load_and_a_replay_brings_it_back(bench: Bench, run: Run) -> None:
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    [touched] = json_of(
        run, "withdraw", "DT_0000002_KS_CATEGORY.NET", "--by", "ada", "--reason", "wrong file"
    )
    assert (touched["was"], touched["becomes"]) == ("held", "withdrawn")
    assert json_of(run, "withdraw", "DT_0000002_KS_CATEGORY.NET")[0]["becomes"] == "withdrawn"
    run("skip", "DT", "1")
    bench.work()
    assert bench.rows("category") == []
    [shown] = json_of(run, "show", "DT_0000002_KS_CATEGORY.NET")
    assert ("withdrawn", "ada", "wrong file") in [
        (event["event"], event["done_by"], event["reason"]) for event in shown["history"]
    ]
    run("replay", "DT_0000002_KS_CATEGORY.NET")
    bench.work()
    assert bench.states() == {"DT_0000002_KS_CATEGORY.NET": "loaded"}


def test_replaying_what_is_loaded_changes_no_cell(bench: Bench, run: Run) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"A\ttwo\n")
    bench.work()
    before = bench.tables()
    touched = json_of(run, "replay", "--loaded", "--source", "DT")
    assert [file["becomes"] for file in touched] == ["ready", "ready"]
    bench.work()
    assert bench.tables() == before


@pytest.mark.parametrize(
    "words",
    [
        ("why", "DT_0000009_KS_ORDERS.NET"),
        ("show", "99"),
        ("skip", "DT", "9-1"),
        ("skip", "DT", "x"),
        ("replay",),
        ("sequence", "set", "DT", "0"),
        ("catalog", "NOSUCH"),
        ("simulate",),
        ("files", "--state", "nosuch"),
        ("skip", "DT", "0"),
        ("skip", "no source", "1"),
        ("nosuch",),
        ("show", "9" * 30),
        ("approve", "9" * 5000),
        ("files", "--limit", "9" * 30),
        ("skip", "DT", "3", "--by", "x" * 101),
        ("skip", "DT", "3", "--reason", "\udcff"),
        ("files", "--source", "\udcff"),
        ("user", "add", "x", "--source", "DT", "--password-stdin", "\udcff"),
        ("simulate", "--folder", "x", "--days", "99999999"),
    ],
)
def test_a_mistake_gets_a_sentence_and_exit_code_2(run: Run, words: tuple[str, ...]) -> None:
    code, out, messages = run(*words)
    assert (code, out) == (2, "")
    assert len(messages.strip()) > 20
    assert "Traceback" not in messages


def test_all_mistakes_in_the_settings_are_told_at_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf" / "inbox.toml").write_text(
        '[ftp]\nprot = 1\nhost = "0.0.0.0"\n[dispatch]\nsettle = "soon"\n'
        '[inbox]\nmin_free_disk = "lots"\n'
        '[sources.dt]\nencoding = "utf-7"\ndate_formats = ["YYYYMMDD", "MDYYYY"]\nthousands = "."\n'
        "[sources.es]\ndate_formats = []\n[sources.fr]\ndate_formats = ['x']\ntrim = 'often'\n"
        "[load]\nmax_lines = 3000000000\n"
    )
    monkeypatch.setenv("KORE_INBOX_WEB__PORT", "ninety")
    code, _, messages = run("status")
    assert code == 2
    assert "date_formats: Tuple" not in messages.partition("sources.FR")[2]
    for part in (
        "ftp.prot: there is no such setting",
        "0.0.0.0",
        "`soon` is not a duration",
        "sources.DT.encoding: `utf-7` cannot be read",
        "sources.DT.date_formats.1: `MDYYYY` leaves open",
        "sources.DT.thousands: `.` cannot separate thousands: it is the decimal mark",
        "sources.ES.date_formats: ",
        "load.max_lines: ",
        "inbox.min_free_disk: write a size",
        "sources.FR.trim: write true or false",
        "KORE_INBOX_WEB__PORT: write a whole number",
    ):
        assert part in messages


def test_names_are_escaped_wherever_they_are_shown(bench: Bench, run: Run) -> None:
    """X4."""
    bench.arrive("evil\x1b[2J\nname", b"x")
    bench.work()
    for words in (("files",), ("exceptions",), ("show", "1")):
        _, out, _ = run(*words)
        assert "\x1b" not in out
        assert "evil" in out


def test_status_says_it_all_in_sentences(bench: Bench, run: Run) -> None:
    bench.arrive("DT_0000001_KS_MFG_ITEMS.NET", b'I1\t3/4" bolt\t\t\t\t\t\tN\tN\t1.5\t1\t\t\tNOSUCH\n')
    bench.arrive("DT_0000003_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    code, out, _ = run("status")
    assert code == 0
    for part in (
        "stream DT: next is 0000002",
        "gap in DT: 0000002 missing for",
        "1 file held back",
        "loaded: 1 file\n",
        "held: 1 file\n",
        "not joined: 1 row of mfg_items, whose category is not in category",
        "exceptions: 0",
    ):
        assert part in out


def test_status_knows_the_last_load(bench: Bench, run: Run) -> None:
    assert json_of(run, "status")[0]["last_loaded_at"] is None
    for number in (1, 2):
        bench.arrive(f"DT_{number:07d}_KS_CATEGORY.NET", b"A\tone\n")
        bench.work()
    bench.arrive("DT_0000009_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    assert json_of(run, "status")[0]["last_loaded_at"] == json_of(run, "show", "2")[0]["loaded_at"]


def test_status_fails_on_exceptions_when_asked_to(bench: Bench, run: Run) -> None:
    bench.arrive("no name at all", b"x")
    bench.work()
    assert run("status")[0] == 0
    assert run("status", "--fail-on-exceptions")[0] == 1


def test_an_incident_closes_by_itself_when_its_cause_is_gone(bench: Bench, run: Run) -> None:
    """E1."""
    bench.arrive("DT_0000001_KS_NOSUCH.NET", b"x")
    bench.work()
    [incident] = json_of(run, "exceptions")
    assert (incident["kind"], incident["subject"]) == ("quarantined", "DT_0000001_KS_NOSUCH.NET")
    run("withdraw", "DT_0000001_KS_NOSUCH.NET")
    assert json_of(run, "exceptions") == []
    assert [incident["closed_at"] is None for incident in json_of(run, "exceptions", "--all")] == [False]


def test_a_refused_file_is_set_aside_as_its_incident_says(bench: Bench, run: Run) -> None:
    bench.arrive("no name at all", b"x")
    bench.work()
    [incident] = json_of(run, "exceptions")
    assert "`kore-inbox withdraw 1` sets this one aside" in incident["todo"]
    assert json_of(run, "withdraw", "1")[0]["becomes"] == "withdrawn"
    assert json_of(run, "exceptions") == []


def test_simulate_writes_files_that_load(bench: Bench, run: Run, tmp_path: Path) -> None:
    options = ("--files", "100", "--rows", "5", "--fulls", "--header")
    code, _, messages = run("simulate", "--folder", str(tmp_path / "out"), *options)
    assert code == 0, messages
    for path in sorted((tmp_path / "out").iterdir(), key=lambda path: path.name, reverse=True):
        bench.arrive(path.name, path.read_bytes())
    bench.work()
    assert set(bench.states().values()) == {"loaded"}
    assert len(bench.states()) == 100


def test_simulate_tells_what_it_did_wrong_on_purpose(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mishaps = [("gaps", 2), ("duplicates", 1), ("conflicts", 1), ("late", 1), ("bad-rows", 3)]
    options = [word for kind, count in mishaps for word in (f"--{kind}", str(count))]
    code, said, _ = run("simulate", "--folder", str(out), "--files", "60", *options)
    assert code == 0
    assert said.count("bad row: ") == 3
    [done] = json_of(run, "simulate", "--folder", str(tmp_path / "again"), "--files", "60", *options)
    assert f"never sent: {', '.join(f'{number:07}' for number in sorted(done['missing']))}" in said
    assert {kind: len(done[kind]) for kind in ("missing", "duplicates", "conflicts", "late", "bad_rows")} == {
        "missing": 2, "duplicates": 1, "conflicts": 1, "late": 1, "bad_rows": 3,
    }  # fmt: skip
    assert (done["files"], done["sent"]) == (58, 60)
    code, _, messages = run("simulate", "--folder", str(out), "--files", "60")
    assert code == 2
    assert "Name a folder that is new or empty" in messages
    few = str(tmp_path / "few")
    code, _, messages = run("simulate", "--folder", few, "--files", "3", "--gaps", "4")
    assert code == 2
    assert "4 mishaps need as many files, and there are 3" in messages


def test_simulate_goes_on_behind_the_highest_number(tmp_path: Path) -> None:
    with RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox:
        inbox.push("DT_0000001_KS_ORDERS.NET", b"O1\t\tnobody\n")
        until(lambda: inbox.states() == {"DT_0000001_KS_ORDERS.NET": "loaded"}, "the first is loaded")
        words = ("simulate", "--user", USER, "--password-stdin", "--files", "6", "--rows", "3")
        assert "226 DT_0000002_KS_CATEGORY.NET accepted" in inbox.command(*words, stdin=PASSWORD)
        said = inbox.command(*words, "--first", "1", code=1, stdin=PASSWORD)
        assert "553 DT_0000001_KS_CATEGORY.NET refused" in said
        until(lambda: inbox.ask("status")[0]["files"] == {"loaded": 7, "refused": 6}, "all are judged")


def test_simulate_lets_an_operator_practise(tmp_path: Path) -> None:
    with RunningInbox(tmp_path, f"sqlite:///{tmp_path / 'inbox.sqlite'}") as inbox:
        words = ("simulate", "--user", USER, "--password-stdin", "--files", "60", "--rows", "3", "--json")
        mishaps = ("--gaps", "1", "--duplicates", "2", "--conflicts", "2", "--late", "1", "--shuffle")
        told = inbox.command(*words, *mishaps, "--connections", "4", stdin=PASSWORD)
        [done] = json.loads(told[told.index("[\n") : told.rindex("]") + 1])
        assert (done["sent"], done["refused"], done["conflicts_refused"]) == (63, 0, 2)
        until(lambda: inbox.ask("status")[0]["files"].get("duplicate") == 2, "all are registered")
        assert [(gap["first"], gap["last"]) for gap in inbox.ask("gaps")] == [tuple(done["missing"] * 2)]
        # An ERP goes on behind its last number, and does not fill the gap.
        assert "226 DT_0000061_KS_" in inbox.command(*words[:4], "--files", "1", stdin=PASSWORD)
        until(lambda: inbox.ask("status")[0]["files"].get("held", 0) > 1, "it waits behind the gap")
        inbox.command("skip", "DT", str(done["missing"][0]))
        wanted = {"loaded": 60, "duplicate": 2, "refused": 2}
        until(lambda: inbox.ask("status")[0]["files"] == wanted, "all but the missing one are loaded")


def test_the_catalog_lists_apis_by_level_and_one_api_s_fields(run: Run) -> None:
    levels = [api["level"] for api in json_of(run, "catalog")]
    assert levels == sorted(levels)
    first = json_of(run, "catalog", "orders")[0]
    assert (first["name"], first["type"], first["key"]) == ("SO Number", "string(30)", True)


def test_init_makes_a_folder_that_runs_and_overwrites_nothing(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "fresh" / "conf"
    assert run("init", str(folder))[0] == 0
    (folder / "inbox.toml").write_text("# mine\n")
    assert run("init", str(folder))[0] == 0
    assert (folder / "inbox.toml").read_text() == "# mine\n"
    assert sorted(path.name for path in folder.iterdir()) == [".env", "inbox.toml", "users.toml"]


def test_users_are_added_listed_and_removed(run: Run, tmp_path: Path) -> None:
    assert run("user", "add", "erp", "--source", "dt", "--password-stdin", stdin="secret\n")[0] == 0
    assert json_of(run, "user", "list") == [{"name": "erp", "sources": ["DT"], "unsequenced": False}]
    text = (tmp_path / "conf" / "users.toml").read_text()
    assert "argon2id" in text
    assert "secret" not in text
    assert run("user", "remove", "erp")[0] == 0
    assert json_of(run, "user", "list") == []


@pytest.mark.parametrize(
    "words",
    [
        ("serve",),
        ("status",),
        ("files",),
        ("show", "1"),
        ("why", "1"),
        ("gaps",),
        ("skip", "DT", "1"),
        ("sequence", "set", "DT", "5"),
        ("replay", "--held"),
        ("withdraw", "1"),
        ("rejects", "1"),
        ("parked",),
        ("exceptions",),
        ("catalog",),
        ("user", "add", "erp", "--source", "DT", "--password-stdin"),
        ("user", "list"),
        ("user", "remove", "erp"),
        ("simulate", "--folder", "out"),
        ("simulate", "--user", "erp", "--password-stdin"),
    ],
    ids=" ".join,
)
def test_without_a_settings_folder_nothing_is_made_and_init_is_named(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["kore-inbox", "--conf", "nope", *words])
    monkeypatch.setattr(sys, "stdin", io.StringIO("a password\n"))
    with pytest.raises(SystemExit) as ending:
        cli.main()
    assert ending.value.code == 2
    assert f"`kore-inbox init {tmp_path / 'nope'}`" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", [state for state in State if MOVES[state]])
def test_the_manual_names_every_way_out_of_a_state(state: State) -> None:
    readme = Path("README.md").read_text()
    [row] = [line for line in readme.splitlines() if line.startswith(f"| `{state}`")]
    for follows in set(MOVES[state].values()) - {State.RECEIVED}:
        assert f"`{follows}`" in row.partition("|")[2].partition("|")[2], f"{state} can become {follows}"


def _full_that_loses_all(bench: Bench) -> str:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\nB\ttwo\n")
    bench.arrive("DT_0000002_KS_CATEGORY.FULL", b"C\tthree\n")
    bench.arrive("DT_0000003_KS_CATEGORY.NET", b"D\tfour\n")
    bench.work()
    return "DT_0000002_KS_CATEGORY.FULL"


def _active(bench: Bench) -> dict[str, int]:
    return {row["category_id"]: row["active"] for row in bench.rows("category")}


def test_a_full_that_would_lose_too_much_waits_and_says_why(bench: Bench, run: Run) -> None:
    """L6, D2: it holds nothing back."""
    name = _full_that_loses_all(bench)
    assert bench.states()[name] == "deferred"
    assert _active(bench) == {"A": 1, "B": 1, "D": 1}
    _, told, _ = run("why", name)
    said = "It would make inactive 2 of the 2 active rows that its stream has in category: all of them."
    assert f"waits for approval. {said}" in told
    assert "kore-inbox approve 2" in told
    [incident] = json_of(run, "exceptions")
    assert (incident["kind"], incident["subject"]) == ("needs approval", name)


def test_an_approved_full_loads_and_its_exception_closes(bench: Bench, run: Run) -> None:
    name = _full_that_loses_all(bench)
    [tried] = json_of(run, "approve", name, "--dry-run")
    assert (tried["id"], tried["name"], tried["was"], tried["becomes"]) == (2, name, "deferred", "ready")
    assert bench.states()[name] == "deferred"
    for _ in range(2):
        run("approve", name, "--reason", "the ERP was cleaned up", "--by", "ann")
    bench.work()
    assert _active(bench) == {"A": 0, "B": 0, "C": 1, "D": 1}
    assert json_of(run, "exceptions") == []
    [shown] = json_of(run, "show", name)
    decisions = [(event["event"], event["done_by"], event["reason"]) for event in shown["history"]]
    assert decisions.count(("approved", "ann", "the ERP was cleaned up")) == 1


def test_a_full_may_be_approved_before_it_comes_to_that(bench: Bench, run: Run) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    bench.arrive("DT_0000003_KS_CATEGORY.FULL", b"C\tthree\n")
    bench.work()
    assert run("approve", "DT_0000003_KS_CATEGORY.FULL")[0] == 0
    run("skip", "DT", "2")
    bench.work()
    assert _active(bench) == {"A": 0, "C": 1}


def test_a_full_that_is_not_approved_can_be_withdrawn(bench: Bench, run: Run) -> None:
    name = _full_that_loses_all(bench)
    run("withdraw", name, "--reason", "the export was cut")
    bench.work()
    assert bench.states()[name] == "withdrawn"
    assert _active(bench) == {"A": 1, "B": 1, "D": 1}
    assert json_of(run, "exceptions") == []


def test_a_loaded_full_can_be_undone(bench: Bench, run: Run) -> None:
    name = _full_that_loses_all(bench)
    run("approve", name)
    bench.work()
    assert json_of(run, "undo", name, "--dry-run") == [{"file": name, "rows_reactivated": 2}]
    assert _active(bench)["A"] == 0
    assert json_of(run, "undo", name, "--reason", "wrong export") == [{"file": name, "rows_reactivated": 2}]
    assert json_of(run, "undo", name) == [{"file": name, "rows_reactivated": 0}]
    bench.inbox.replay([name], [], [], Decision())
    bench.work()
    assert _active(bench) == {"A": 1, "B": 1, "C": 1, "D": 1}


@pytest.mark.parametrize("verb", ["approve", "undo"])
def test_only_a_full_is_approved_or_undone(bench: Bench, run: Run, verb: str) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    code, _, said = run(verb, "1")
    assert code == 2
    assert "no FULL" in said


def test_rows_that_name_each_other_as_parents_are_an_exception(bench: Bench, run: Run) -> None:
    """L5: a longer cycle stays parked; what only waits for it, or for what may come, is not part of it."""
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\t\tB\nB\t\tC\nC\t\tA\nD\t\tA\nE\t\tZ\nS\t\tS\n")
    bench.work()
    [found] = [incident for incident in json_of(run, "exceptions") if incident["kind"] == "cycle"]
    assert found["happened"] == "Rows of CATEGORY name each other as parents: A, B, C."
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"C\t\t\n")
    bench.work()
    assert json_of(run, "exceptions") == []
    assert {row["category_id"] for row in bench.rows("category")} == {"A", "B", "C", "D", "S"}


# --- FTPS ------------------------------------------------------------------------------------------------


def test_init_makes_a_certificate_for_trials_once_and_serve_says_what_is_wrong_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kore-inbox", "--conf", str(tmp_path / "conf"), *words])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        return int(ending.value.code or 0), printed.out, printed.err

    code, out, _ = command("init", "--self-signed")
    assert code == 0
    settings = re.search(r'tls = "required", certificate = "conf/.+", key = "conf/.+"(?=\.)', out)
    assert settings
    pair = [tmp_path / "conf" / name for name in ("certificate.pem", "key.pem")]
    assert [path.stat().st_mode & 0o777 for path in pair] == [0o644, 0o600]
    made = [path.read_bytes() for path in pair]
    code, out, _ = command("init", "--self-signed")
    assert code == 0
    assert settings[0] in out, "it says again what to set"
    assert [path.read_bytes() for path in pair] == made
    (tmp_path / "conf" / "inbox.toml").write_text(f"[ftp]\n{settings[0].replace(', ', chr(10))}\n")
    pair[1].unlink()
    code, _, told = command("serve")
    assert code == 2
    assert f"ftp.key: {pair[1]}: No such file" in told


def test_a_password_that_is_not_in_utf8_is_refused(run: Run) -> None:
    code, _, messages = run("user", "add", "x", "--source", "DT", "--password-stdin", stdin="p\udce4ss\n")
    assert (code, messages) == (2, "The password on standard input is not in UTF-8.\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("replay", "--held", "--source", "ZZ"), 2, "Nothing has come from a source ZZ"),
        (
            ("replay", "1"),
            2,
            "were not kept when it was refused: `refused_quota` was used up. Have it sent again",
        ),
        (("sequence", "set", "DT", "x"), 2, "Invalid value for 'N': it is no whole number. See --help."),
        (("show", "DT_5_KS_CATEGORY.NET"), 2, "the sequence must have seven digits, e.g. 0000017."),
        (("check", "rows.fix"), 2, "`kore-inbox replay FILE --with rows.fix --dry-run` says"),
        (("files", "--state", "held"), 0, "No such file has arrived."),
    ],
)
def test_what_cannot_be_done_is_told_with_a_way_on(
    bench: Bench,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    assert run("files")[1] == "No file has arrived yet.\n"
    receipt = bench.arrive("nosuch", b"x", refusal="the name must end in .NET or .FULL", cause="bad name")
    bench.spool.registered([receipt.id])
    bench.spool.discard_data(receipt.data)
    (bench.spool.done / receipt.id).unlink()
    bench.spool.accept(replace(receipt, data=""))
    bench.work()
    monkeypatch.chdir(tmp_path)
    Path("rows.fix").write_bytes(b"1\t\t\tA\n")
    ended, out, told = run(*words)
    assert ended == code
    assert said in out + told
    assert bench.states() == {"nosuch": "refused"}


def test_status_tells_what_is_kept_of_uploads_that_nobody_has_finished(bench: Bench, run: Run) -> None:
    receipt = bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    for name, cut in (("DT_0000002_KS_CATEGORY.NET", "the connection was reset"), ("next.tmp", None)):
        bench.spool.stage(replace(receipt, id=bench.spool.new_id(), name=name, user="bob", cut=cut))
    _, told, _ = run("status")
    cut_line, staged_line = (line for line in told.splitlines() if line.startswith("unfinished: "))
    assert cut_line.startswith("unfinished: `DT_0000002_KS_CATEGORY.NET` of bob, 6 B kept since ")
    assert cut_line.endswith("UTC; cut: the connection was reset")
    assert staged_line.endswith("whole, and waits to be renamed")
    [found] = json_of(run, "status")
    assert [(part["name"], part["size_bytes"]) for part in found["unfinished"]] == [
        ("DT_0000002_KS_CATEGORY.NET", 6),
        ("next.tmp", 6),
    ]


def test_a_password_is_asked_for_at_a_terminal_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # What it does where there is no terminal.
    monkeypatch.setattr(getpass, "getpass", vars(getpass)["fallback_getpass"])
    code, _, messages = run("user", "add", "erp", "--source", "DT", stdin="seen by all\n")
    assert code == 2
    assert "--password-stdin" in messages
    assert json_of(run, "user", "list") == []


def test_the_command_tells_its_version(run: Run) -> None:
    code, out, _ = run("--version")
    assert (code, out) == (0, f"kore-inbox {metadata.version('kore-inbox')}\n")
