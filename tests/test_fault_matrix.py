"""The manual's table of faults: each row is shown by a test, each test of a fault has its row."""

import ast
import functools
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
README = (TESTS.parent / "README.md").read_text(encoding="utf-8")


def rows() -> list[list[str]]:
    """The cells of each row."""
    table = README.partition("## When something fails")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[1:]]


@functools.cache
def functions_of(folder: Path) -> set[str]:
    """The names of all test functions in a folder and below."""
    return {
        node.name
        for path in folder.rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


# These show how a fault is told of, not what becomes of files.
BESIDE = {
    "test_faults_of_a_server_are_told_apart_by_their_codes",
    "test_a_full_disk_is_told_as_such_by_whichever_layer_of_a_server_meets_it",
    "test_a_connection_over_a_network_asks_whether_the_other_machine_is_still_there",
    "test_a_folder_that_cannot_be_made_or_read_is_told_in_a_sentence",
    "test_a_connection_whose_server_has_died_is_given_back_without_a_traceback",
    "test_the_receiver_asks_a_database_that_is_away_once_in_a_while_and_not_for_each_upload",
    "test_whose_turn_it_is_to_write_needs_no_room",
    "test_what_is_swept_later_is_swept_at_last",
    "test_what_of_the_spool_is_waited_for_is_noted",
    "test_a_spool_that_is_away_is_told_once_a_try",
    "test_status_says_what_it_knows_while_the_spool_is_away",
    "test_a_command_makes_no_spool_in_the_place_of_one_that_is_away",
}


def test_there_is_a_table() -> None:
    assert len(rows()) > 30


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]}, {row[1]}")
def test_each_row_says_all_and_names_a_test_that_exists(row: list[str]) -> None:
    assert len(row) == 6
    assert all(row)
    assert row[5].strip("`") in functions_of(TESTS)


def test_each_test_of_a_fault_has_a_row() -> None:
    named = {row[5].strip("`") for row in rows()}
    there = functions_of(TESTS / "faults")
    assert there - named == BESIDE
