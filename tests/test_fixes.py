"""Corrected rows come back as NAME.fix, or from the operator's own disk (contract E3, A7, section 8)."""

import ftplib
from pathlib import Path

import pytest

from server.config import Load, Sequence
from tests.support.commands import Run, json_of
from tests.support.inboxes import Bench
from tests.support.running import RunningInbox, until

NAME = "DT_0000001_KS_CATEGORY.NET"
LONG = "x" * 31
BAD = f"A\tone\nB\t{LONG}\nC\t{LONG}\n".encode()


def _names(bench: Bench) -> dict[str, str | None]:
    return {row["category_id"]: row["category_name"] for row in bench.rows("category")}


def _fix(*rows: str) -> bytes:
    return "".join(f"{row.partition(' ')[0]}\t\t\t{row.partition(' ')[2]}\n" for row in rows).encode()


def test_refused_rows_are_written_out_mended_and_sent_back(bench: Bench, run: Run, tmp_path: Path) -> None:
    bench.arrive(NAME, BAD)
    bench.work()
    out = tmp_path / "rows.tsv"
    assert run("rejects", NAME, "--output", str(out))[:2] == (0, f"2 rows of {NAME} written to {out}.\n")
    assert out.read_text().splitlines()[:2] == [
        "line\tfield\treason\trow",
        f"2\tCategory Name\t31 characters, 30 allowed\tB\t{LONG}",
    ]
    bench.arrive(f"{NAME}.fix", out.read_text().replace(LONG, "mended").encode())
    bench.work()
    assert _names(bench) == {"A": "one", "B": "mended", "C": "mended"}
    file, fix = json_of(run, "files")
    assert (file["rows_read"], file["rows_loaded"], file["rows_rejected"]) == (3, 3, 0)
    assert (fix["name"], fix["state"], fix["rows_loaded"]) == (f"{NAME}.FIX", "loaded", 2)
    assert json_of(run, "exceptions") == []
    assert {(row["version"], row["line"]) for row in bench.rows("category")} == {(1, 1), (1, 2), (1, 3)}


def test_what_is_still_wrong_stays_refused_with_the_new_reason(bench: Bench, run: Run) -> None:
    bench.arrive(NAME, BAD)
    bench.arrive(f"{NAME}.fix", _fix("2 B\tmended", "3 " + "C" * 31, "1 A\tanother"))
    bench.work()
    assert _names(bench) == {"A": "one", "B": "mended"}
    [reject] = json_of(run, "rejects", NAME)
    assert (reject["line"], reject["reason"]) == (3, "1 column, where 2 are expected")
    [needless] = json_of(run, "rejects", f"{NAME}.FIX")
    assert (needless["line"], needless["reason"]) == (1, f"this line of {NAME} was not refused")
    assert [file["rows_rejected"] for file in json_of(run, "files")] == [1, 2]


def test_a_fix_that_comes_first_waits_for_its_file(bench: Bench, run: Run) -> None:
    bench.arrive("DT_0000002_KS_CATEGORY.NET.fix", _fix("1 B\tmended"))
    bench.work()
    _, told, _ = run("why", "DT_0000002_KS_CATEGORY.NET.FIX")
    assert "holds corrected rows of DT_0000002_KS_CATEGORY.NET, which has not arrived." in told
    bench.arrive("DT_0000002_KS_CATEGORY.NET", f"B\t{LONG}\n".encode())
    bench.work()
    assert "which is held." in run("why", "DT_0000002_KS_CATEGORY.NET.FIX")[1]
    assert json_of(run, "gaps")[0]["holds_back"] == 1
    bench.arrive(NAME, b"A\tone\n")
    bench.work()
    assert set(bench.states().values()) == {"loaded"}
    assert _names(bench) == {"A": "one", "B": "mended"}


def test_a_fix_without_its_file_is_an_exception_until_the_file_comes(bench: Bench, run: Run) -> None:
    at_once = Sequence(gap_alert_after=0)
    bench.arrive(f"{NAME}.fix", _fix("2 B\tmended"))
    bench.work()
    assert json_of(run, "exceptions") == [], "it may be a little early"
    bench.work(sequence=at_once)
    incidents = {found["kind"]: found for found in json_of(run, "exceptions")}
    assert incidents.keys() == {"waiting fix"}
    assert incidents["waiting fix"]["happened"].endswith(f"corrected rows of {NAME}, which has not arrived.")
    assert "`kore-inbox withdraw 1`" in incidents["waiting fix"]["todo"]
    bench.arrive(NAME, BAD.replace(f"C\t{LONG}".encode(), b"C\tthree"))
    bench.work(sequence=at_once)
    assert _names(bench) == {"A": "one", "B": "mended", "C": "three"}
    assert json_of(run, "exceptions") == []


def test_a_fix_whose_file_was_withdrawn_is_an_exception_until_one_of_them_goes(
    bench: Bench, run: Run
) -> None:
    late = {"sequence": Sequence(gap_alert_after=0), "load": Load(max_rejected=0)}
    bench.arrive(NAME, BAD)
    bench.work(**late)
    run("withdraw", NAME)
    bench.arrive(f"{NAME}.fix", _fix("2 B\tmended"))
    bench.work(**late)
    [incident] = json_of(run, "exceptions")
    assert (incident["kind"], incident["subject"]) == ("waiting fix", f"{NAME}.FIX")
    assert "`kore-inbox replay 1`" in incident["todo"]
    run("withdraw", f"{NAME}.FIX")
    assert json_of(run, "exceptions") == []


def test_a_fix_lets_a_file_in_that_had_too_many_refused_rows(bench: Bench) -> None:
    strict = Load(max_rejected=0)
    bench.arrive(NAME, BAD)
    bench.work(load=strict)
    bench.arrive(f"{NAME}.fix", _fix("2 B\tmended"))
    bench.work(load=strict)
    assert bench.states() == {NAME: "quarantined", f"{NAME}.FIX": "held"}
    bench.arrive(f"{NAME}.fix", _fix("3 C\tmended"))
    bench.work(load=strict)
    assert set(bench.states().values()) == {"loaded"}
    assert _names(bench) == {"A": "one", "B": "mended", "C": "mended"}


def test_a_row_that_comes_back_as_it_was_stays_refused_though_it_is_written_in_escapes(
    bench: Bench, run: Run, tmp_path: Path
) -> None:
    bench.arrive(NAME, b"A\tone\nB\tcaf\xe9\nC\tcaf\xe9\n")
    bench.work()
    out = tmp_path / "rows.tsv"
    run("rejects", NAME, "--output", str(out))
    bench.arrive(f"{NAME}.fix", out.read_bytes().replace(b"C\tcaf\\xe9", b"C\tcaf\xc3\xa9"))
    bench.work()
    assert _names(bench) == {"A": "one", "C": "café"}
    [reject] = json_of(run, "rejects", NAME)
    assert (reject["line"], reject["reason"]) == (2, "byte 6 is not utf-8")
    [unmended] = json_of(run, "rejects", f"{NAME}.FIX")
    assert (unmended["line"], unmended["reason"]) == (2, "it came back as it was when it was refused")
    assert [(file["rows_loaded"], file["rows_rejected"]) for file in json_of(run, "files")] == [
        (2, 1),
        (1, 1),
    ]


def test_a_fix_does_not_bring_back_a_file_that_was_withdrawn(bench: Bench, run: Run) -> None:
    strict = Load(max_rejected=0)
    bench.arrive(NAME, BAD)
    bench.work(load=strict)
    assert run("withdraw", NAME)[0] == 0
    bench.arrive(f"{NAME}.fix", _fix("2 B\tmended", "3 C\tmended"))
    bench.work(load=strict)
    assert bench.states() == {NAME: "withdrawn", f"{NAME}.FIX": "held"}


def test_loading_the_file_again_keeps_its_fixes(bench: Bench, run: Run) -> None:
    bench.arrive(NAME, BAD)
    bench.arrive(f"{NAME}.fix", _fix("2 B\tmended", "3 C\tmended"))
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"C\tnewer\n")
    bench.work()
    for word in (NAME, f"{NAME}.FIX", "--loaded"):
        assert run("replay", word)[0] == 0
        bench.work()
        assert _names(bench) == {"A": "one", "B": "mended", "C": "newer"}
        assert set(bench.states().values()) == {"loaded"}


def test_the_same_fix_again_is_a_duplicate(bench: Bench, run: Run) -> None:
    bench.arrive(NAME, BAD)
    for row in ("2 B\tmended", "3 C\tmended", "2 B\tmended"):
        bench.arrive(f"{NAME}.fix", _fix(row))
    bench.work()
    assert [file["state"] for file in json_of(run, "files")] == ["loaded", "loaded", "loaded", "duplicate"]
    assert _names(bench) == {"A": "one", "B": "mended", "C": "mended"}


@pytest.mark.parametrize("together", [True, False])
def test_a_row_is_corrected_once_and_a_later_correction_of_it_is_told_so(
    bench: Bench, run: Run, together: bool
) -> None:
    """Whether the fixes go in one by one or at once, under the same key or another (E3, L7)."""
    bench.arrive(NAME, BAD)
    for rows in (["2 B\tfirst"], ["2 D\tsecond", "3 C\tmended"], ["2 B\tthird", f"3 C\t{LONG}"]):
        if not together:
            bench.work()
        bench.arrive(f"{NAME}.fix", _fix(*rows))
    bench.work()
    assert _names(bench) == {"A": "one", "B": "first", "C": "mended"}
    assert [file["rows_rejected"] for file in json_of(run, "files")] == [0, 0, 1, 2]
    for file_id, by in (("3", {2: 2}), ("4", {2: 2, 3: 3})):
        told = {reject["line"]: reject["reason"] for reject in json_of(run, "rejects", file_id)}
        assert told == {
            line: f"this line of {NAME} was corrected by file {fix} already; "
            "send the row in a new file to change it"
            for line, fix in by.items()
        }


@pytest.mark.parametrize("together", [True, False])
def test_a_correction_that_was_wrong_too_can_be_followed_by_another(
    bench: Bench, run: Run, together: bool
) -> None:
    bench.arrive(NAME, BAD)
    for rows in ([f"2 B\t{LONG}y", f"3 C\t{LONG}"], ["2 B\tmended", "3 C\tmended"]):
        bench.arrive(f"{NAME}.fix", _fix(*rows))
        if not together:
            bench.work()
    bench.work()
    assert _names(bench) == {"A": "one", "B": "mended", "C": "mended"}
    assert [file["rows_rejected"] for file in json_of(run, "files")] == [0, 2, 0]
    assert json_of(run, "exceptions") == []


def test_a_fix_that_is_replayed_after_it_was_withdrawn_comes_after_those_that_went_in(
    bench: Bench, run: Run
) -> None:
    bench.arrive(f"{NAME}.fix", _fix("2 B\twithdrawn"))
    bench.work()
    run("withdraw", f"{NAME}.FIX")
    bench.arrive(NAME, BAD)
    bench.arrive(f"{NAME}.fix", _fix("2 D\tmended"))
    bench.work()
    for word in ("1", NAME):
        run("replay", word)
        bench.work()
        assert _names(bench) == {"A": "one", "D": "mended"}


def test_a_whole_file_that_takes_the_place_of_a_bad_one_takes_no_fix_over(bench: Bench) -> None:
    strict = Load(max_rejected=0)
    bench.arrive(NAME, BAD)
    bench.arrive(f"{NAME}.fix", _fix("2 B\tmended"))
    bench.work(load=strict)
    bench.arrive(NAME, f"X\tten\nY\t{LONG}\n".encode())
    bench.work()
    assert bench.states() == {NAME: "loaded", f"{NAME}.FIX": "replaced"}
    assert _names(bench) == {"X": "ten"}


def test_the_whole_of_a_file_that_was_cut_keeps_the_fixes_of_its_beginning(bench: Bench, run: Run) -> None:
    bench.arrive(NAME, BAD)
    bench.arrive(f"{NAME}.fix", _fix("2 B\tmended", "3 C\tmended"))
    bench.work()
    bench.arrive(NAME, BAD + b"D\tfour\n")
    bench.work()
    assert [file["state"] for file in json_of(run, "files")] == ["replaced", "loaded", "loaded"]
    assert _names(bench) == {"A": "one", "B": "mended", "C": "mended", "D": "four"}
    assert json_of(run, "exceptions") == []


def test_a_withdrawn_fix_does_not_go_in_until_it_is_replayed(bench: Bench, run: Run) -> None:
    bench.arrive(f"{NAME}.fix", _fix("2 B\tmended"))
    bench.work()
    assert json_of(run, "withdraw", f"{NAME}.FIX")[0]["becomes"] == "withdrawn"
    bench.arrive(NAME, BAD)
    bench.work()
    assert _names(bench) == {"A": "one"}
    run("replay", f"{NAME}.FIX")
    bench.work()
    assert _names(bench) == {"A": "one", "B": "mended"}


# --- replay --with -----------------------------------------------------------------------------------------


def test_a_corrected_copy_takes_the_place_of_a_quarantined_file(
    bench: Bench, run: Run, tmp_path: Path
) -> None:
    bench.arrive(NAME, BAD)
    bench.work(load=Load(max_rejected=0))
    copy = tmp_path / "mended.txt"
    copy.write_text("A\tone\nB\ttwo\n")
    for words in (("--dry-run",), ()):
        [touched] = json_of(run, "replay", NAME, "--with", str(copy), "--by", "ann", *words)
        assert (touched["was"], touched["becomes"]) == ("quarantined", "replaced")
        assert len(bench.spool.pending_ids()) == (0 if words else 1)
    bench.work()
    assert [file["state"] for file in json_of(run, "files")] == ["replaced", "loaded"]
    assert _names(bench) == {"A": "one", "B": "two"}


def test_corrected_rows_can_be_given_from_the_operators_disk(bench: Bench, run: Run, tmp_path: Path) -> None:
    bench.arrive(NAME, BAD)
    bench.work()
    rows = tmp_path / "mended.fix"
    rows.write_bytes(_fix("2 B\tmended", "3 C\tmended"))
    assert run("replay", "1", "--with", str(rows))[0] == 0
    bench.work()
    assert _names(bench) == {"A": "one", "B": "mended", "C": "mended"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((NAME, "--with", "nosuch.txt"), "nosuch.txt: No such file or directory."),
        ((NAME, "--with", "README.md"), "cannot take its number"),
        ((NAME, "--with", "nosuch.fix"), "nosuch.fix: No such file or directory."),
        ((NAME, "DT_2", "--with", "nosuch.fix"), "--with goes with one FILE."),
        (("--loaded", "--with", "nosuch.fix"), "--with goes with one FILE."),
    ],
)
def test_a_copy_that_cannot_be_taken_is_refused_and_nothing_is_kept(
    bench: Bench, run: Run, words: tuple[str, ...], said: str
) -> None:
    bench.arrive(NAME, BAD)
    bench.work()
    before = sorted(bench.spool.data.iterdir())
    code, _, told = run("replay", *words)
    assert code in (1, 2)
    assert said in told
    assert sorted(bench.spool.data.iterdir()) == before


# --- over FTP ----------------------------------------------------------------------------------------------


def test_a_fix_is_pushed_like_any_file(tmp_path: Path, database_url: str) -> None:
    with RunningInbox(tmp_path, database_url, "[dispatch]\nsettle = 0\n") as inbox:
        inbox.push(NAME, BAD)
        until(lambda: inbox.states().get(NAME) == "loaded", "the file is loaded")
        reply = inbox.push(f"{NAME.lower()}.fix", _fix("2 B\tmended", "3 C\tmended"))
        assert reply == f"226 {NAME}.FIX accepted; its rows go in with {NAME}."
        until(lambda: inbox.ask("files")[0]["rows_rejected"] == 0, "the rows are in")
        until(lambda: inbox.ask("exceptions") == [], "there is no exception any more")
        again = inbox.push(f"{NAME}.fix", _fix("2 B\tmended", "3 C\tmended"))
        assert again == f"226 {NAME}.FIX already received"
        with pytest.raises(ftplib.error_perm, match=r"553 .* may not push files of ZZ"):
            inbox.push("ZZ_0000001_KS_CATEGORY.NET.fix", b"1\t\t\tA\n")
