"""What a FULL does to rows that it does not hold, and when a person has to look first (L6, L7.2, L7.5)."""

import pytest

from loaders.activity import Activity
from loaders.full import Full, Loss, objection, undo
from loaders.load import NeedsApproval, Outcome
from tests.loaders.store import CATALOG, Store, customer, item, order, price


def full(store: Store, api: str, rows: list[list[str]], version: int, **more: object) -> Outcome:
    """Load an approved FULL."""
    return store.load(api, rows, version=version, mode="FULL", **{"is_approved": True, **more})  # type: ignore[arg-type]


def active(store: Store, table: str = "category", key: str = "category_id") -> dict[object, object]:
    return dict(store.rows(table, key, "active"))  # type: ignore[arg-type] # two columns make pairs


def undone(store: Store, api: str, version: int, stream: int = 1) -> int | None:
    with store.database.write("undoing") as connection:
        return undo(connection, CATALOG[api], stream, version)


def test_what_a_full_does_not_hold_becomes_inactive_until_it_is_sent_again(store: Store) -> None:
    store.load("CATEGORY", [["A", "first"], ["B", "first"]], version=1)
    full(store, "CATEGORY", [["A", "second"]], 2)
    assert store.rows("category", "category_id, category_name, version, active") == [
        ("A", "second", 2, 1),
        ("B", "first", 1, 0),
    ]
    store.load("CATEGORY", [["B", "third"]], version=3)
    assert active(store) == {"A": 1, "B": 1}


def test_a_full_of_documents_leaves_the_others_active(store: Store) -> None:
    store.load("CUSTOMERS", [customer("C1")])
    store.load("ORDERS", [order("O1", "1"), order("O2", "1")], version=1)
    full(store, "ORDERS", [order("O1", "1")], 2)
    assert active(store, "orders", "so_number") == {"O1": 1, "O2": 1}


def test_a_full_speaks_for_its_own_stream_alone(store: Store) -> None:
    store.load("CATEGORY", [["A"], ["B"]], version=1, stream=2)
    store.load("CATEGORY", [["C"]], version=1, stream=1)
    full(store, "CATEGORY", [["A"]], 2, stream=2)
    assert active(store) == {"A": 1, "B": 0, "C": 1}


def test_a_refused_row_of_a_full_counts_as_held_if_its_key_can_be_read(store: Store) -> None:
    store.load("CATEGORY", [["A"], ["B"]], version=1)
    outcome = full(store, "CATEGORY", [["A", "x" * 31], ["C", ""]], 2)
    assert outcome.rows_rejected == 1
    assert active(store) == {"A": 1, "B": 0, "C": 1}


def test_a_refused_row_of_a_net_is_no_mention(store: Store) -> None:
    store.load("CATEGORY", [["A"]], version=1)
    full(store, "CATEGORY", [["B"]], 2)
    store.load("CATEGORY", [["A", "x" * 31]], version=3)
    assert active(store) == {"A": 0, "B": 1}


@pytest.mark.parametrize("mode", ["NET", "FULL"])
def test_a_parked_row_keeps_the_older_one_of_its_key_active(store: Store, mode: str) -> None:
    store.load("CATEGORY", [["A", "old", ""]], version=1)
    full(store, "CATEGORY", [["B", "", ""]], 2)
    store.load("CATEGORY", [["A", "new", "Z"], ["B", "", ""]], version=3, mode=mode, is_approved=True)
    assert store.rows("category", "category_id, category_name, active") == [("A", "old", 1), ("B", None, 1)]


def test_what_comes_late_comes_in_inactive_unless_the_full_mentioned_it(store: Store) -> None:
    full(store, "CATEGORY", [["A", ""], ["B", "x" * 31]], 5)
    store.load("CATEGORY", [["B", "late"], ["C", "late"]], version=4)
    assert active(store) == {"A": 1, "B": 1, "C": 0}


def test_an_older_full_that_comes_late_changes_nothing_that_is_newer(store: Store) -> None:
    full(store, "CATEGORY", [["A"], ["B"]], 5)
    full(store, "CATEGORY", [["C"]], 4)
    assert active(store) == {"A": 1, "B": 1, "C": 0}


def test_a_row_that_had_to_wait_goes_in_as_active_as_its_file_makes_it(store: Store) -> None:
    store.load("BASE_PRICES", [price("I1"), price("I2")], version=1)
    full(store, "BASE_PRICES", [price("I2"), price("I3")], 2)
    store.load("MFG_ITEMS", [item("I1"), item("I2"), item("I3")])
    assert active(store, "base_prices", "item_id") == {"I1": 0, "I2": 1, "I3": 1}


def test_older_rows_that_waited_for_a_full_are_none_that_it_loses(store: Store) -> None:
    """They were never active, so nobody is asked."""
    store.load("CATEGORY", [[f"C{number}", "", "P"] for number in range(150)], version=1)
    outcome = store.load("CATEGORY", [["P", "", ""]], version=2, mode="FULL")
    assert outcome.unparked == {1001: 150}
    found = active(store)
    assert found.pop("P") == 1
    assert (len(found), set(found.values())) == (150, {0})


def test_a_full_that_parks_its_rows_is_asked_about_only_for_what_it_does_not_hold(store: Store) -> None:
    store.load("CATEGORY", [[f"C{number}", "", ""] for number in range(150)], version=1)
    store.load("CATEGORY", [[f"C{number}", "", "P"] for number in range(150)], version=2, mode="FULL")
    assert set(active(store).values()) == {1}
    store.load("CATEGORY", [["P", "", ""]], version=3)
    assert set(active(store).values()) == {1}


# --- groups ------------------------------------------------------------------------------------------------


def schedules(store: Store) -> dict[object, object]:
    return dict(store.rows("order_lines", "schedule_date", "active"))  # type: ignore[arg-type]


def test_a_new_date_for_an_order_line_replaces_the_old_one(store: Store) -> None:
    store.load("CUSTOMERS", [customer("C1")])
    store.load(
        "ORDERS", [order("O1", "1", date="2024-01-05"), order("O1", "2", date="2024-01-06")], version=1
    )
    store.load("ORDERS", [order("O1", "1", date="2024-01-09")], version=2)
    assert schedules(store) == {
        "2024-01-05 00:00:00": 0,
        "2024-01-06 00:00:00": 1,
        "2024-01-09 00:00:00": 1,
    }
    store.load("ORDERS", [order("O1", "1", date="2024-01-05")], version=3)
    assert schedules(store)["2024-01-05 00:00:00"] == 1
    assert schedules(store)["2024-01-09 00:00:00"] == 0


def test_all_schedules_of_a_line_in_one_file_are_active(store: Store) -> None:
    store.load("CUSTOMERS", [customer("C1")])
    store.load("ORDERS", [order("O1", "1", date=f"2024-01-0{day}") for day in (5, 6)], version=1)
    assert set(schedules(store).values()) == {1}


def test_a_line_that_waits_has_replaced_the_older_one_already(store: Store) -> None:
    store.load("CUSTOMERS", [customer("C1")])
    store.load("ORDERS", [order("O1", "1", date="2024-01-05")], version=1)
    store.load("ORDERS", [order("O1", "1", date="2024-01-09", customer_number="C2")], version=2)
    assert schedules(store) == {"2024-01-05 00:00:00": 0}
    store.load("CUSTOMERS", [customer("C2")])
    assert schedules(store) == {"2024-01-05 00:00:00": 0, "2024-01-09 00:00:00": 1}


def test_an_older_schedule_that_comes_late_stays_inactive(store: Store) -> None:
    store.load("CUSTOMERS", [customer("C1")])
    store.load("ORDERS", [order("O1", "1", date="2024-01-09")], version=2)
    store.load("ORDERS", [order("O1", "1", date="2024-01-05")], version=1)
    assert schedules(store) == {"2024-01-05 00:00:00": 0, "2024-01-09 00:00:00": 1}


# --- approval ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "gone", "good", "unreadable", "expected"),
    [
        (1000, 200, 800, 0, ""),
        (
            1000,
            201,
            799,
            0,
            "It would make inactive 201 of the 1,000 active rows that its stream has in t, more than",
        ),
        (200, 100, 100, 0, ""),
        (200, 101, 99, 0, "It would make inactive 101 of the 200 "),
        (5, 5, 3, 0, "It would make inactive 5 of the 5 active rows that its stream has in t: all of them."),
        (1000, 1, 999, 1, "while the keys of 1 of its rows cannot be read"),
        (1000, 0, 1000, 1, ""),
        (0, 0, 5, 0, ""),
        (0, 0, 0, 0, "It has no good row. It would make nothing inactive."),
        (200, 4, 0, 0, "It has no good row. It would make inactive 4 of the 200 active rows"),
    ],
)
def test_a_full_that_would_lose_too_much_needs_approval(
    before: int, gone: int, good: int, unreadable: int, expected: str
) -> None:
    said = objection([Loss("t", before, gone)], good_rows=good, unreadable_keys=unreadable, limit_percent=20)
    assert expected in said
    assert bool(expected) is bool(said)


@pytest.mark.parametrize("options", [{}, {"trim": True}, {"ragged": True}])
def test_blank_rows_and_repeated_headers_are_refused_and_make_no_full_wait(
    store: Store, options: dict[str, bool]
) -> None:
    header = "Category ID\tCategory Name\n"
    store.load("CATEGORY", "A\tone\nB\ttwo\nC\tthree\n", version=1)
    rows = f"{header}A\tone\n \t \n{header}B\ttwo\n\t\n\t\t\n\n"
    outcome = store.load("CATEGORY", rows, version=2, mode="FULL", **options)  # type: ignore[arg-type]
    assert (outcome.rows_loaded, outcome.rows_rejected) == (2, 4)
    assert active(store) == {"A": 1, "B": 1, "C": 0}


@pytest.mark.parametrize("row", ["\tname alone\n", "D\tname\tparent\n", "D\tna\0me\n"])
def test_a_row_that_hides_its_key_makes_a_full_wait(store: Store, row: str) -> None:
    store.load("CATEGORY", "A\tone\nB\ttwo\nC\tthree\n", version=1)
    with pytest.raises(NeedsApproval, match="the keys of 1 of its rows cannot be read"):
        store.load("CATEGORY", f"A\tone\nB\ttwo\n{row}", version=2, mode="FULL")


def test_a_full_names_the_first_keys_of_what_it_makes_inactive(store: Store) -> None:
    """A row that it refuses under a readable key stays, and so does one that is newer."""
    store.load("CATEGORY", [["E"], ["B"], ["A"], ["D"], ["C"]], version=1)
    store.load("CATEGORY", [["Z"]], version=3)
    rows = f"B\t{'x' * 31}\t\nN\n"
    outcome = store.load("CATEGORY", rows, version=2, mode="FULL", is_approved=True, named_keys=3)
    assert outcome.losses == [Loss("category", 6, 4, ("category_id",), (("A",), ("C",), ("D",)))]


def test_an_undone_full_is_put_in_force_again_with_the_same_effect(store: Store) -> None:
    category = CATALOG["CATEGORY"]
    store.load("CATEGORY", [["A"], ["B"]], version=1)
    store.load("CATEGORY", [["B"]], version=2, mode="FULL")
    before = store.rows("category"), store.rows("inbox_barrier")
    with store.database.write("undoing") as connection:
        assert Full(Activity(connection), category, 1, 2).reinstate() is None
        assert undo(connection, category, 1, 2) == 1
        [loss] = Full(Activity(connection), category, 1, 2).reinstate() or []
    assert (loss.active_before, loss.made_inactive) == (2, 1)
    assert (store.rows("category"), store.rows("inbox_barrier")) == before


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            "N1\n",
            "It would make inactive 3 of the 3 active rows that its stream has in category: all of them.",
        ),
        (f"A\t{'x' * 31}\t\n", "It has no good row. It would make inactive 2 of the 3 active rows"),
        ("", "It has no good row. It would make inactive 3 of the 3 active rows"),
        (
            "A\tx\nB\n",
            "2 of the 3 active rows that its stream has in category, while the keys of 1 of its rows",
        ),
    ],
)
def test_a_full_that_needs_approval_leaves_no_trace_until_it_has_it(
    store: Store, rows: str, reason: str
) -> None:
    store.load("CATEGORY", [["A"], ["B"], ["C"]], version=1)
    before = {table: store.rows(table) for table in ("category", "inbox_mention", "inbox_barrier")}
    with pytest.raises(NeedsApproval, match=reason):
        store.load("CATEGORY", rows, version=2, mode="FULL", file_id=7)
    assert {table: store.rows(table) for table in before} == before
    store.load("CATEGORY", rows, version=2, mode="FULL", file_id=7, is_approved=True)
    assert store.rows("inbox_barrier", "api, stream, version, lifted") == [("CATEGORY", 1, 2, 0)]


# --- undo --------------------------------------------------------------------------------------------------


def test_undoing_a_full_brings_back_what_it_made_inactive(store: Store) -> None:
    store.load("CATEGORY", [["A", "old"], ["B", "old"]], version=1)
    full(store, "CATEGORY", [["A", "new"]], 2)
    assert undone(store, "CATEGORY", 2) == 1
    assert store.rows("category", "category_id, category_name, active") == [("A", "new", 1), ("B", "old", 1)]
    assert undone(store, "CATEGORY", 2) is None


def test_what_an_older_full_had_made_inactive_stays_so_when_a_newer_one_is_undone(store: Store) -> None:
    store.load("CATEGORY", [["A"], ["B"], ["C"]], version=1)
    full(store, "CATEGORY", [["A"], ["B"]], 2)
    full(store, "CATEGORY", [["A"]], 3)
    assert undone(store, "CATEGORY", 3) == 1
    assert active(store) == {"A": 1, "B": 1, "C": 0}


def test_undoing_an_older_full_changes_nothing_while_a_newer_one_is_in_force(store: Store) -> None:
    store.load("CATEGORY", [["A"], ["B"]], version=1)
    full(store, "CATEGORY", [["A"]], 2)
    full(store, "CATEGORY", [["A"]], 3)
    assert undone(store, "CATEGORY", 2) == 0
    assert undone(store, "CATEGORY", 3) == 1
    assert active(store) == {"A": 1, "B": 1}


def test_a_full_that_was_undone_stays_so_when_it_is_loaded_again(store: Store) -> None:
    store.load("CATEGORY", [["A"], ["B"]], version=1)
    full(store, "CATEGORY", [["A"]], 2)
    undone(store, "CATEGORY", 2)
    full(store, "CATEGORY", [["A"]], 2)
    assert active(store) == {"A": 1, "B": 1}


def test_undoing_restores_a_row_whose_newer_version_waits(store: Store) -> None:
    store.load("CATEGORY", [["A", "old", ""]], version=1)
    full(store, "CATEGORY", [["B", "", ""]], 2)
    store.load("CATEGORY", [["A", "new", "Z"]], version=3)
    full(store, "CATEGORY", [["B", "", ""]], 4)
    assert active(store) == {"A": 0, "B": 1}
    assert undone(store, "CATEGORY", 4) == 1
    assert active(store) == {"A": 1, "B": 1}
