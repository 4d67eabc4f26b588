"""What an operator who knows the manual alone is told, and what he can do about it (contract section 8)."""

from pathlib import Path

import pytest

from server import refused_rows
from server.config import Load, Sequence
from server.users import add_user
from tests.support.commands import Run, json_of
from tests.support.inboxes import Bench

LONG = "x" * 31
# For what no database can make different.
ON_ONE_DATABASE = pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)

NET = "DT_{:07d}_KS_CATEGORY.NET"
FULL = "DT_{:07d}_KS_CATEGORY.FULL"


def _exceptions(run: Run) -> dict[str, str]:
    return {found["subject"]: found["kind"] for found in json_of(run, "exceptions")}


# --- replay ----------------------------------------------------------------------------------------------


def _from_a_user_without_the_right(bench: Bench, name: str = "XX_0000005_KS_CATEGORY.NET") -> None:
    refusal = "erp may not push files of XX"
    bench.arrive(name, b"A\tone\n", refusal=refusal, cause="not allowed")
    bench.work()


@pytest.mark.parametrize("withdrawn", [False, True])
@ON_ONE_DATABASE
def test_a_file_that_its_sender_may_not_push_is_refused_again_until_he_may(
    bench: Bench, run: Run, tmp_path: Path, withdrawn: bool
) -> None:
    """A9: whatever became of it in the meantime; no stream comes to be of it."""
    _from_a_user_without_the_right(bench)
    assert _exceptions(run) == {"XX_0000005_KS_CATEGORY.NET": "not allowed"}
    [incident] = json_of(run, "exceptions")
    assert "`kore-inbox user add`" in incident["todo"]
    if withdrawn:
        run("withdraw", "1", "--reason", "let us see")
    code, out, _ = run("replay", "1")
    assert code == 1
    assert out.rstrip().endswith("refused  erp may not push files of XX")
    assert json_of(run, "status")[0]["streams"] == []
    add_user(tmp_path / "conf", "erp", "secret", ["DT", "XX"])
    assert run("replay", "1")[0] == 0
    bench.work()
    assert bench.states() == {"XX_0000005_KS_CATEGORY.NET": "held"}
    assert _exceptions(run) == {}


@ON_ONE_DATABASE
def test_a_fix_that_its_sender_may_not_push_finds_its_file_once_he_may(
    bench: Bench, run: Run, tmp_path: Path
) -> None:
    bench.arrive("XX_0000001_KS_CATEGORY.NET", f"A\t{LONG}\n".encode(), user="other")
    _from_a_user_without_the_right(bench, "XX_0000001_KS_CATEGORY.NET.fix")
    add_user(tmp_path / "conf", "erp", "secret", ["XX"])
    run("replay", "2")
    assert bench.states()["XX_0000001_KS_CATEGORY.NET.FIX"] == "held"


@ON_ONE_DATABASE
def test_a_replay_that_comes_to_nothing_says_why_and_ends_with_1(bench: Bench, run: Run) -> None:
    for name, data in ((NET.format(1), b"A\tone\n"), (NET.format(1), b"A\tother\n"), ("hello.txt", b"x")):
        bench.arrive(name, data)
    bench.work()
    for file_id, why, advice in (
        ("2", "has other content", "number of its own"),
        ("3", "must end in .NET", "name"),
    ):
        code, out, _ = run("replay", file_id)
        assert code == 1
        assert why in out
        assert advice in run("why", file_id)[1]
    todo = {found["kind"]: found["todo"] for found in json_of(run, "exceptions")}
    assert "replay" not in todo["bad name"]
    assert "`kore-inbox replay 2`" in todo["conflict"]


@ON_ONE_DATABASE
def test_the_name_is_why_a_bad_name_is_refused_again_whatever_was_said_of_it(bench: Bench, run: Run) -> None:
    bench.arrive("hello.txt", b"x")
    bench.work()
    run("withdraw", "1", "--reason", "a trial")
    assert "must end in .NET" in run("replay", "1")[1]


@ON_ONE_DATABASE
def test_a_replayed_fix_shows_its_file_too(bench: Bench, run: Run) -> None:
    bench.arrive(NET.format(1), f"A\t{LONG}\n".encode())
    bench.arrive(f"{NET.format(1)}.fix", b"1\t\t\tA\tmended\n")
    bench.work()
    touched = json_of(run, "replay", f"{NET.format(1)}.FIX", "--dry-run")
    assert [(file["id"], file["was"], file["becomes"]) for file in touched] == [
        (1, "loaded", "ready"),
        (2, "loaded", "loaded"),
    ]


@ON_ONE_DATABASE
def test_a_replay_chooses_by_state_api_and_time_and_lists_in_the_order_of_loading(
    bench: Bench, run: Run
) -> None:
    """D1; among files that load, parents come first."""
    bench.arrive("DT_0000001_KS_MFG_ITEMS.NET", b"I1\n")
    bench.arrive(NET.format(2), b"A\tone\n")
    bench.arrive("DT_0000003_KS_NOSUCH.NET", b"x")
    bench.arrive(NET.format(4), b"B\ttwo\n")
    bench.work()

    def replayed(*words: str) -> list[int]:
        return [file["id"] for file in json_of(run, "replay", "--dry-run", *words)]

    assert replayed("--state", "loaded") == [2, 4, 1]
    assert replayed("--loaded", "--api", "mfg_items") == [1]
    assert replayed("--loaded", "--until", "2001-01-01") == []
    moment = json_of(run, "files")[3]["received_at"][:19]
    assert 4 in replayed("--loaded", "--since", moment)
    assert run("replay", "--state", "quarantined", "--state", "loaded", "--dry-run")[0] == 0
    code, _, messages = run("replay", "--state", "duplicate")
    assert code == 2
    assert "nothing to replay of duplicate files" in messages


# --- corrected rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fix", "counts", "told"),
    [
        ("garbage\n", (1, 0), "line 1: `garbage` is not a line's number"),
        (f"2\t\t\tB\t{LONG}y\n", (1, 0), "32 characters, 30 allowed"),
        ("1\t\t\tA\tother\n", (1, 0), "was not refused"),
        ("2\t\t\tB\tmended\n1\t\t\tA\tother\n", (2, 1), "was not refused"),
        ("2\t\t\tB\tmended\n", (1, 1), ""),
    ],
)
@ON_ONE_DATABASE
def test_corrected_rows_are_tried_and_counted_before_they_are_taken(
    bench: Bench, run: Run, tmp_path: Path, fix: str, counts: tuple[int, int], told: str
) -> None:
    """E3: exit code 1 if any row corrects nothing; nothing is taken if all do."""
    bench.arrive(NET.format(1), f"A\tone\nB\t{LONG}\n".encode())
    bench.work()
    path = tmp_path / "rows.fix"
    path.write_text(fix)
    for words in (("--dry-run",), ()):
        code, out, messages = run("replay", "1", "--with", str(path), *words)
        assert code == (1 if told else 0)
        assert told in messages
        assert [int(word) for word in out.split()[-3:]] == [*counts, counts[0] - counts[1]]
        assert ("it was not taken" in messages) is (counts[1] == 0)
    bench.work()
    assert ("B" in {row["category_id"] for row in bench.rows("category")}) is bool(counts[1])
    assert len(json_of(run, "files")) == (2 if counts[1] else 1)


@ON_ONE_DATABASE
def test_that_a_corrected_copy_is_not_there_is_said_first(bench: Bench, run: Run) -> None:
    bench.arrive(NET.format(1), b"A\tone\n")
    bench.work()
    code, _, messages = run("replay", "1", "--with", "/nonexist")
    assert (code, messages) == (1, "/nonexist: No such file or directory.\n")


@ON_ONE_DATABASE
def test_a_fix_of_a_file_whose_number_another_has_is_refused(bench: Bench, run: Run) -> None:
    """A7, E3: nothing could ever bring it in."""
    bench.arrive(FULL.format(1), b"A\tone\n")
    bench.arrive(f"{NET.format(1)}.fix", b"1\t\t\tA\tmended\n")
    bench.work(sequence=Sequence(gap_alert_after=0))
    assert bench.states() == {FULL.format(1): "loaded", f"{NET.format(1)}.FIX": "refused"}
    assert f"belongs to {FULL.format(1)}" in run("why", "2")[1]


@ON_ONE_DATABASE
def test_the_exception_of_a_fix_names_the_file_that_took_its_number_later(bench: Bench, run: Run) -> None:
    bench.arrive(f"{NET.format(1)}.fix", b"1\t\t\tA\tmended\n")
    bench.arrive(FULL.format(1), b"A\tone\n")
    bench.work(sequence=Sequence(gap_alert_after=0), load=Load(full_shrink_limit=100))
    [incident] = [found for found in json_of(run, "exceptions") if found["kind"] == "waiting fix"]
    assert f"its number belongs to {FULL.format(1)}" in incident["happened"]


# --- refused rows -----------------------------------------------------------------------------------------


def test_the_exception_of_refused_rows_closes_when_each_has_come_again(bench: Bench, run: Run) -> None:
    """E1: a higher mark of the same key is in; one that is lower, or refused as well, does not count."""
    bench.arrive(NET.format(2), f"A\t{LONG}\nB\t{LONG}\nC\tthree\n".encode())
    bench.arrive(NET.format(1), b"B\tolder\n")
    bench.work()
    assert _exceptions(run) == {NET.format(2): "rejected rows"}
    bench.arrive(NET.format(3), f"A\tone\nB\t{LONG}\n".encode())
    bench.work()
    assert _exceptions(run) == {NET.format(2): "rejected rows", NET.format(3): "rejected rows"}
    bench.arrive(NET.format(4), b"B\ttwo\n")
    bench.work()
    assert _exceptions(run) == {}
    assert len(json_of(run, "rejects", NET.format(2))) == 2


def test_refused_rows_that_hide_their_keys_stay_until_a_person_dismisses_them(bench: Bench, run: Run) -> None:
    bench.arrive(NET.format(1), b"\tno key\n")
    bench.arrive(NET.format(2), b"A\tone\n")
    bench.work()
    assert _exceptions(run) == {NET.format(1): "rejected rows"}
    assert "`kore-inbox dismiss 1`" in json_of(run, "exceptions")[0]["todo"]
    assert run("dismiss", "1", "--dry-run")[0] == 0
    assert _exceptions(run) == {NET.format(1): "rejected rows"}
    for _ in range(2):
        assert run("dismiss", NET.format(1), "--by", "ann", "--reason", "a test row")[0] == 0
    assert _exceptions(run) == {}
    [shown] = json_of(run, "show", NET.format(1))
    decisions = [(event["event"], event["done_by"], event["reason"]) for event in shown["history"]]
    assert decisions.count(("dismissed", "ann", "a test row")) == 1
    run("replay", NET.format(1))
    bench.work()
    assert _exceptions(run) == {}, "the same rows were seen already"
    code, _, messages = run("dismiss", "2")
    assert code == 2
    assert "there is nothing to dismiss" in messages


def test_the_exception_of_a_wrong_fix_closes_with_a_later_one_that_is_right(bench: Bench, run: Run) -> None:
    bench.arrive(NET.format(1), f"A\t{LONG}\n".encode())
    bench.arrive(f"{NET.format(1)}.fix", b"garbage\n")
    bench.work()
    assert len(_exceptions(run)) == 2
    bench.arrive(f"{NET.format(1)}.fix", b"1\t\t\tA\tmended\n")
    bench.work()
    assert _exceptions(run) == {}


# --- FULLs ------------------------------------------------------------------------------------------------


def test_an_empty_full_tells_its_counts_and_its_keys_before_it_is_approved(bench: Bench, run: Run) -> None:
    """L6: what it would make inactive now, of its own stream; nothing is changed by asking."""
    bench.arrive(NET.format(1), b"".join(b"K%02d\tname\n" % number for number in range(12)))
    bench.arrive("XX_0000001_KS_CATEGORY.NET", b"A\tof another stream\n")
    bench.arrive(FULL.format(2), b"")
    bench.work()
    counts = "12 of the 12 active rows that its stream has in category"
    told = run("why", "3")[1]
    assert f"It has no good row. It would make inactive {counts}: all of them." in told
    assert "`kore-inbox approve 3 --dry-run`" in told
    bench.arrive(NET.format(3), b"K00\tnewer\n")
    bench.work()
    before = bench.tables()
    [approved] = json_of(run, "approve", "3", "--dry-run")
    keys = [[f"K{number:02d}"] for number in range(1, 11)]
    assert (approved["was"], approved["becomes"]) == ("deferred", "ready")
    assert approved["losses"] == [
        {
            "table": "category",
            "active_before": 12,
            "made_inactive": 11,
            "key": ["category_id"],
            "keys": keys,
        }
    ]
    _, out, messages = run("approve", "3", "--dry-run")
    said = ", ".join(key for (key,) in keys)
    assert f"11 of the 12 active rows that its stream has in category become inactive: {said}, …" in out
    assert "nothing was changed" in messages
    assert bench.tables() == before
    assert bench.states()[FULL.format(2)] == "deferred"


def test_an_undone_full_is_put_in_force_again_by_approving_it(bench: Bench, run: Run) -> None:
    bench.arrive(NET.format(1), b"A\tone\nB\ttwo\n")
    bench.arrive(FULL.format(2), b"C\tthree\n")
    bench.work()
    run("approve", FULL.format(2))
    bench.work()
    before = bench.tables()
    code, _, messages = run("undo", FULL.format(2))
    assert code == 0
    assert f"`kore-inbox approve {FULL.format(2)}`" in messages
    assert bench.tables() != before
    for words, made_inactive in ((("--dry-run",), [2]), ((), [2]), ((), [])):
        [approved] = json_of(run, "approve", FULL.format(2), *words)
        assert [loss["made_inactive"] for loss in approved["losses"]] == made_inactive
        assert (bench.tables() == before) is not bool(words)


# --- streams ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("skip", "TD", "4"), ("sequence", "set", "TD", "5")])
@ON_ONE_DATABASE
def test_a_mistyped_source_makes_no_stream(
    bench: Bench, run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    bench.arrive(NET.format(1), b"A\tone\n")
    bench.work()
    code, _, messages = run(*words)
    assert code == 2
    assert (
        "There is no stream TD: no file of it has come, and no user or drop folder may have files of TD."
        in messages
    )
    assert [stream["stream"] for stream in json_of(run, "status")[0]["streams"]] == ["DT"]
    add_user(tmp_path / "conf", "erp", "secret", ["TD"])
    assert run(*words)[0] == 0, "it is legitimate ahead of the first file"


@pytest.mark.parametrize(
    "words",
    [
        ("skip", "TD", "4"),
        ("sequence", "set", "TD", "5"),
        ("replay", "--held", "--source", "td"),
        ("replay", "--rows", "--source", "TD"),
    ],
)
@ON_ONE_DATABASE
def test_a_source_of_a_drop_folder_is_known_ahead_of_its_first_file(
    bench: Bench, run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert run(*words)[0] == 2
    with (tmp_path / "conf" / "inbox.toml").open("a") as settings:
        settings.write('[drop_folder]\nfolders = {"/mnt/one" = ["DT"], "/mnt/two" = ["td", "XX"]}\n')
    code, _, messages = run(*words)
    assert (code, messages) == (0, "")


@ON_ONE_DATABASE
def test_setting_a_stream_says_what_is_given_up_and_what_is_released(bench: Bench, run: Run) -> None:
    for number in (1, 4, 6, 20):
        bench.arrive(NET.format(number), b"A\tone\n")
    bench.work()
    expected = {
        "stream": "DT",
        "was_next": 2,
        "next": 21,
        "epoch": 0,
        "given_up": [{"first": 2, "last": 3}, {"first": 5, "last": 5}, {"first": 7, "last": 19}],
        "files_released": 3,
    }
    assert json_of(run, "sequence", "set", "dt", "20", "--dry-run") == [expected]
    _, out, _ = run("sequence", "set", "DT", "20")
    told = " ".join(out.split("\n")[1].split())
    assert told == "DT 0000002 0000021 0 0000002 to 0000003, 0000005, 0000007 to 0000019 3"
    [backwards] = json_of(run, "sequence", "set", "DT", "1", "--dry-run")
    assert (backwards["next"], backwards["epoch"], backwards["given_up"]) == (1, 1, [])
    assert "Epoch 1 of DT begins" in run("sequence", "set", "DT", "1")[2]


@pytest.mark.parametrize("words", [("skip", "4"), ("sequence", "set", "9")])
@ON_ONE_DATABASE
def test_a_stream_that_the_inbox_counts_itself_has_nothing_to_skip(
    bench: Bench, run: Run, words: tuple[str, ...]
) -> None:
    bench.arrive("CATEGORY.net", b"A\tone\n", source="DT")
    bench.work()
    [stream] = json_of(run, "status")[0]["streams"]
    code, _, messages = run(*words[:-1], stream["stream"], words[-1])
    assert code == 2
    assert "it has no gaps to skip, and no number to set" in messages


# --- what is kept of reasons ------------------------------------------------------------------------------


@ON_ONE_DATABASE
def test_a_withdrawn_file_keeps_what_was_wrong_unless_a_reason_is_given(bench: Bench, run: Run) -> None:
    bench.arrive("DT_0000001_KS_NOSUCH.NET", b"x")
    bench.work()
    [before] = json_of(run, "files")
    run("withdraw", "1")
    [after] = json_of(run, "files")
    assert (after["state"], after["reason"]) == ("withdrawn", before["reason"])
    run("replay", "1")
    run("withdraw", "1", "--reason", "a trial")
    assert json_of(run, "files")[0]["reason"] == "a trial"


def test_the_history_tells_that_parked_rows_went_in(bench: Bench, run: Run) -> None:
    bench.arrive(NET.format(1), b"A\tone\tP\nB\ttwo\tP\n")
    bench.arrive(NET.format(2), b"P\tparent\n")
    bench.work()
    [shown] = json_of(run, "show", "1")
    told = [event["reason"] for event in shown["history"] if event["event"] == "unparked"]
    assert told == [f"2 rows that waited went in, or became void, with {NET.format(2)} (file 2)"]


def test_refused_rows_are_gone_round_some_at_a_time_and_each_has_its_turn(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_rows, "ROWS_A_STEP", 2)

    def found_after_three_reviews() -> dict[str, str]:
        bench.work()
        loader = bench.loader()
        for _ in range(3):
            loader.reviewing.review()
        return _exceptions(run)

    bench.arrive(NET.format(1), f"A\t{LONG}\nB\t{LONG}\nC\t{LONG}\n".encode())
    bench.arrive(NET.format(2), f"D\t{LONG}\nE\t{LONG}\n".encode())
    bench.arrive(NET.format(3), b"D\t4\nE\t5\n")
    assert found_after_three_reviews() == {NET.format(1): "rejected rows"}
    bench.arrive(NET.format(4), b"A\t1\nB\t2\nC\t3\n")
    assert found_after_three_reviews() == {}
