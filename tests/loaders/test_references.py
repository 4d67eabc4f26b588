"""Parents are there, are made, or are waited for (contract L5, L7.3, L7.4)."""

import itertools
from pathlib import Path

import pytest

from loaders.catalog import read_catalog
from tests.loaders.store import Store, customer, item, order, price


def test_a_row_waits_for_its_parent_and_goes_in_by_itself(store: Store) -> None:
    outcome = store.load("ORDERS", [order("O1", "1"), order("O2", "1", customer_number="C2")], file_id=4)
    assert (outcome.rows_loaded, outcome.rows_parked) == (0, 2)
    assert store.rows("inbox_parked_row", "waits_table, waits_key, row_key, line") == [
        ("customers", "C1", '["O1", 1, "2024-01-31 00:00:00"]', 1),
        ("customers", "C2", '["O2", 1, "2024-01-31 00:00:00"]', 2),
    ]
    outcome = store.load("CUSTOMERS", [customer("C1")])
    assert outcome.unparked == {4: 1}
    assert store.rows("orders", "so_number, version, line, file_id") == [("O1", 4, 1, 4)]
    assert store.rows("order_lines", "so_number, version, line, file_id") == [("O1", 4, 1, 4)]
    assert store.rows("inbox_parked_row", "waits_key") == [("C2",)]


def test_what_a_parked_row_held_goes_in_unchanged(store: Store) -> None:
    row = [*price("I1", sheet='"\\N é', amount="12.5", start=""), "surplus"]
    store.load("BASE_PRICES", [row])
    store.load("MFG_ITEMS", [item("I1")])
    assert store.rows("base_prices", "price_sheet_code, base_price, start_date, extra") == [
        ('"\\N é', "12.5000", "0001-01-01", '["surplus"]')
    ]


def test_rows_of_one_file_may_come_in_any_order(store: Store) -> None:
    rows = [["C", "", "B"], ["B", "", "A"], ["D", "", "D"], ["A", "", ""], ["E", "", "A"]]
    outcome = store.load("CATEGORY", rows)
    assert (outcome.rows_loaded, outcome.rows_parked, outcome.unparked) == (5, 0, {})
    assert store.rows("category", "category_id, parent_category") == [
        ("A", None),
        ("B", "A"),
        ("C", "B"),
        ("D", "D"),
        ("E", "A"),
    ]


def test_a_cycle_stays_parked_until_it_is_broken(store: Store) -> None:
    assert store.load("CATEGORY", [["A", "", "B"], ["B", "", "A"]], file_id=1).rows_parked == 2
    outcome = store.load("CATEGORY", [["B", "", ""]], file_id=2)
    assert (outcome.rows_loaded, outcome.unparked) == (1, {1: 2})
    assert store.rows("category", "category_id, parent_category, version") == [("A", "B", 1), ("B", None, 2)]
    assert store.rows("inbox_parked_row") == []


def test_what_goes_in_lets_others_in(store: Store) -> None:
    store.load("CATEGORY", [["C", "", "B"]], file_id=1)
    store.load("CATEGORY", [["B", "", "A"]], file_id=2, stream=2)
    assert store.load("CATEGORY", [["A", "", ""]]).unparked == {1: 1, 2: 1}
    assert store.rows("category", "category_id, stream") == [("A", 1), ("B", 2), ("C", 1)]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_parked_row_that_is_overtaken_is_void(store: Store, when: str) -> None:
    newer = [order("O1", "1", customer_number="C1", qty="9")]
    store.load("CUSTOMERS", [customer("C1")])
    if when == "before":
        store.load("ORDERS", newer, version=7)
    outcome = store.load("ORDERS", [order("O1", "1", customer_number="C2")], file_id=50, version=5)
    assert outcome.rows_parked == (0 if when == "before" else 1)
    if when == "after":
        assert store.load("ORDERS", newer, version=7).unparked == {50: 1}
    assert store.rows("inbox_parked_row") == []
    store.load("CUSTOMERS", [customer("C2")])
    assert store.rows("order_lines", "schedule_qty, version") == [(9, 7)]
    assert store.rows("orders", "customer_number, version") == [("C1", 7)]


def test_an_older_row_that_goes_in_leaves_a_newer_parked_one_waiting(store: Store) -> None:
    store.load("ORDERS", [order("O1", "1", customer_number="C2")], version=7)
    store.load("CUSTOMERS", [customer("C1")])
    store.load("ORDERS", [order("O1", "1", customer_number="C1")], version=5)
    assert len(store.rows("inbox_parked_row")) == 1
    store.load("CUSTOMERS", [customer("C2")])
    assert store.rows("orders", "customer_number, version") == [("C2", 7)]


def test_parents_are_made_with_the_attributes_of_the_lowest_mark(store: Store) -> None:
    store.load("CUSTOMERS", [customer("C1", site="S1", site_name="later")], version=5)
    store.load(
        "INVENTORY", [["I1", "S1", "first", "L1", "place", "1"], ["I1", "S1", "next", "L1"]][:1], version=3
    )
    store.load("CUSTOMERS", [customer("C2", site="S1", site_name="last")], version=9)
    assert store.rows("warehouses", "site_id, site_name, version, line") == [("S1", "first", 3, 1)]
    # The row itself is parked, its item is missing; what it mentions is made all the same.
    assert store.rows("inventory_locations", "site_id, inventory_location, location_name") == [
        ("S1", "L1", "place")
    ]
    assert store.rows("inventory") == []
    store.load("CUSTOMERS", [customer("C3", site="S1", site_name="lower stream")], stream=2, version=77)
    assert store.rows("warehouses", "site_name, stream") == [("lower stream", 2)]


def test_a_blank_code_makes_no_parent(store: Store) -> None:
    store.load("CUSTOMERS", [customer("C1", term_type="PREPAID", days="3")])
    assert store.rows("warehouses") == store.rows("payment_terms") == []
    assert store.rows("customers", "site_id, ks_term_type, discount_days") == [(None, "PREPAID", 3)]


def test_a_refused_row_makes_no_parent(store: Store) -> None:
    store.load("CUSTOMERS", [customer("C1", name="x" * 101, site="S1")])
    assert store.rows("warehouses") == []


def test_a_kept_reference_needs_no_parent(store: Store) -> None:
    store.load("MFG_ITEMS", [item("I1", category="nowhere")])
    assert store.rows("mfg_items", "category") == [("nowhere",)]


def test_the_lines_of_an_order_share_its_header(store: Store) -> None:
    store.load("CUSTOMERS", [customer("C1")])
    lines = [
        order("O1", "1", status="O"),
        order("O1", "2", status="O"),
        order("O1", "2", date="2024-02-01", status="C"),
    ]
    store.load("ORDERS", lines)
    assert store.rows("orders", "so_number, status, line") == [("O1", "C", 3)]
    assert len(store.rows("order_lines")) == 3


def test_many_parked_rows_go_in_at_once(store: Store) -> None:
    store.load(
        "ORDERS", [order(f"O{i}", "1", customer_number=f"C{i % 3000}") for i in range(4000)], file_id=1
    )
    parents = [customer(f"C{i}") for i in range(2999)]
    assert store.load("CUSTOMERS", parents).unparked == {1: 3999}
    assert store.rows("inbox_parked_row", "waits_key") == [("C2999",)]
    assert store.rows("orders", "COUNT(*)") == [(3999,)]


def test_parked_rows_of_a_large_load_of_parents_go_in(store: Store) -> None:
    store.load("ORDERS", [order(f"O{i}", "1", customer_number=f"C{i}") for i in range(1500)], file_id=1)
    parents = [[f"C{i}"] for i in range(10_500)]
    assert store.load("CUSTOMERS", parents).unparked == {1: 1500}


def api(name: str, level: int, *parents: str) -> str:
    """A catalog file: a key, and a reference to wait for per parent."""
    fields = "".join(
        f'[[field]]\nordinal = {i}\nname = "{field}"\ntype = "string"\nlength = 10\n'
        for i, field in enumerate(["Code", *(f"Of {parent}" for parent in parents)], 1)
    )
    references = "".join(
        f'[[reference]]\nkind = "park"\nfields = ["Of {parent}"]\ntable = "{parent}"\n' for parent in parents
    )
    head = f'api = "{name}"\npurpose = "a test"\nlevel = {level}\nfull_absent = "keep"\norigin = "assumed"\n'
    return f'{head}[[table]]\nname = "{name.lower()}"\nkey = ["Code"]\n{references}{fields}'


@pytest.mark.parametrize("order_of_parents", list(itertools.permutations(["A", "B", "CHILD"])))
def test_a_row_waits_for_its_parents_one_after_another(
    database_url: str, tmp_path: Path, order_of_parents: tuple[str, ...]
) -> None:
    for name, text in {
        "A": api("A", 1),
        "B": api("B", 1),
        "CHILD": api("CHILD", 2, "a", "b", "child"),
    }.items():
        (tmp_path / f"{name}.toml").write_text(text)
    store = Store.at(database_url, read_catalog(tmp_path))
    store.load("CHILD", [["c", "a1", "b1", "p"]], file_id=1)
    missing = ["a", "b", "child"]
    for parent in order_of_parents:
        # The first that is missing is told, whichever has come before.
        assert store.rows("inbox_parked_row", "waits_table") == [(missing[0],)]
        key = "p" if parent == "CHILD" else f"{parent.lower()}1"
        store.load(parent, [[key, "", "", ""][: 4 if parent == "CHILD" else 1]])
        missing.remove(parent.lower())
    assert store.rows("child", "code") == [("c",), ("p",)]
    assert store.rows("inbox_parked_row") == []
    store.database.close()
