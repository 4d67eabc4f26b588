"""What a load promises of rows and files, on both databases (contract L1 to L4, L7, L8)."""

import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from loaders.dialects import UnsafeSettings
from loaders.load import Quarantine
from tests.loaders.store import CATALOG, Store, customer, item, order, price

# Anything that UTF-8 can say, but for what ends a cell or a line; with what has meaning elsewhere more often.
nasty = st.text(
    st.one_of(
        st.sampled_from("\"'\\%`;:?{}$\r N\x1a\x01é😀\u0301\u2028\u00a0\ufeff"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\0"),
    ),
    max_size=110,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(names=st.lists(nasty, min_size=1, max_size=30))
def test_a_text_arrives_exactly_as_sent_or_its_row_is_refused(store: Store, names: list[str]) -> None:
    # Another cell follows, since a CR in the last one would be part of the line's end.
    rows = [[f"K{i}", *[""] * 2, name, "x"] for i, name in enumerate(names)]
    with store.undone() as connection:
        outcome = store.load("CUSTOMERS", rows, connection=connection)
        found = store.rows("customers", "customer_number, customer_name", connection=connection)
    wanted = {f"K{i}": name or None for i, name in enumerate(names) if len(name) <= 100}
    assert found == sorted(wanted.items(), key=repr)
    assert outcome.rows_rejected == len(names) - len(wanted)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(keys=st.sets(nasty.filter(lambda key: key.strip(" ") and len(key) <= 30), min_size=1, max_size=30))
def test_keys_that_differ_in_anything_stay_different(store: Store, keys: set[str]) -> None:
    with store.undone() as connection:
        outcome = store.load("CUSTOMERS", [[key, "", "C"] for key in sorted(keys)], connection=connection)
        got = store.rows("customers", "customer_number", connection=connection)
        orders = [order(f"O{i}", "1", customer_number=key) for i, key in enumerate(sorted(keys))]
        assert store.load("ORDERS", orders, connection=connection).rows_loaded == len(keys)
    assert outcome.rows_loaded == len(keys)
    assert {key for (key,) in got} == keys


@pytest.mark.parametrize(
    "name",
    [
        '3/4" pipe',
        '"',
        r"\N",
        r"c:\new",
        "\\",
        "''",
        "😀",
        "𠀋",
        "e\u0301",
        "é",
        "blank ",
        " ",
        "007",
        "%s %(x)s",
        "NULL",
        "ab\rc",
    ],
)
def test_a_name_with_signs_of_other_languages_arrives_unchanged(store: Store, name: str) -> None:
    store.load("CUSTOMERS", [customer("C1", name=name)])
    assert store.rows("customers", "customer_name") == [(name,)]


def test_case_accents_and_trailing_blanks_tell_keys_apart(store: Store) -> None:
    keys = ["abc", "ABC", "abc ", " abc", "äbc", "a\u0308bc", "007", "7", "ß", "ss"]
    store.load("CUSTOMERS", [customer(key) for key in keys])
    assert {key for (key,) in store.rows("customers", "customer_number")} == set(keys)


def test_values_of_all_types_are_the_same_on_both_databases(store: Store) -> None:
    store.load("MFG_ITEMS", [[*item("I1")[:3], "-7", "D", "1.1e-3", "EA", "Y", "N", "-12.5", "10"]])
    columns = "lead_time, unit_weight, unit_cost, model_flag"
    assert store.rows("mfg_items", columns) == [(-7, 0.0011, "-12.5000", "Y")]
    store.load("BASE_PRICES", [price("I1", amount="999999999999999.9999", start="01-31-2024"), price("I1")])
    assert store.rows("base_prices", "start_date, base_price") == [
        ("0001-01-01", "1.0000"),
        ("2024-01-31", "999999999999999.9999"),
    ]


@pytest.mark.parametrize(
    "weight", ["2.2250738585072014e-308", "1.7976931348623157e308", "-0.1", "5e-300", "1e22"]
)
def test_floats_keep_every_bit(store: Store, weight: str) -> None:
    row = item("I1")
    row[5] = weight
    store.load("MFG_ITEMS", [row])
    assert store.rows("mfg_items", "unit_weight") == [(float(weight),)]


def test_each_row_says_which_file_and_line_wrote_it(store: Store) -> None:
    store.load("CUSTOMERS", "Customer Number\n\nC1\n", file_id=7, version=3)
    assert store.rows("customers", "stream, version, line, file_id, active") == [(1, 3, 3, 7, 1)]


def test_a_bad_row_is_kept_with_its_reason_and_does_not_stop_the_good_ones(store: Store) -> None:
    outcome = store.load("INVENTORY", [["I1", "S1", "", "L1", "", "12,5x"], ["", "S1", "", "L1", "", "1"]])
    assert (outcome.rows_read, outcome.rows_loaded, outcome.rows_rejected) == (2, 0, 2)
    store.load("MFG_ITEMS", [item("I1"), item("I2", description="x" * 101), item("I3")], file_id=9)
    assert store.rows("mfg_items", "item_id") == [("I1",), ("I3",)]
    assert store.rows("inbox_rejected_row", "line, field, reason") == [
        (1, "Quantity On Hand", "`12,5x` is not a number"),
        (1 + 1, "Part Number", "required, but empty"),
        (2, "Short Description", "101 characters, 100 allowed"),
    ]


def test_too_many_refused_rows_quarantine_the_whole_file(store: Store) -> None:
    rows = [item("I1"), *[item(f"I{i}", description="x" * 101) for i in range(2, 8)]]
    with pytest.raises(Quarantine) as fault:
        store.load("MFG_ITEMS", rows, max_rejected=5)
    assert fault.value.reason == (
        "6 of 7 rows rejected, more than max_rejected (5); the first: line 2, Short Description:"
        " 101 characters, 100 allowed."
    )
    assert (fault.value.rows_read, fault.value.rows_rejected, len(fault.value.rejects)) == (7, 6, 6)
    assert store.rows("mfg_items") == []
    assert store.load("MFG_ITEMS", rows, max_rejected=6).rows_loaded == 1


def test_a_quarantine_holds_only_the_first_of_many_refused_rows(store: Store) -> None:
    with pytest.raises(Quarantine) as fault:
        store.load("MFG_ITEMS", "bad\n" * 20_000)
    assert (fault.value.rows_read, fault.value.rows_rejected, len(fault.value.rejects)) == (
        20_000,
        20_000,
        1000,
    )


def test_a_header_that_names_a_field_twice_quarantines_the_file(store: Store) -> None:
    with pytest.raises(Quarantine, match="names `Category ID` twice"):
        store.load("CATEGORY", "Category ID\tcategory_id\n")


def test_a_file_without_rows_is_loaded(store: Store) -> None:
    assert store.load("CATEGORY", "").rows_read == 0
    assert store.load("CATEGORY", "Category ID\tCategory Name\r\n").rows_read == 0


def test_surplus_columns_are_kept_beside_the_row(store: Store) -> None:
    store.load("CATEGORY", [["A", *[""] * 6, 'in"ch', "2"], ["B", *[""] * 8]])
    assert store.rows("category", "category_id, extra") == [("A", '["in\\"ch", "2"]'), ("B", None)]


def test_the_later_of_two_rows_with_one_key_stays(store: Store) -> None:
    store.load("CATEGORY", [["A", "first"], ["A", "second"]])
    assert store.rows("category", "category_name, line") == [("second", 2)]


def test_an_older_version_changes_nothing_and_an_equal_one_overwrites(store: Store) -> None:
    store.load("CATEGORY", [["A", "new"]], version=5)
    assert store.load("CATEGORY", [["A", "old"]], version=4).rows_loaded == 1
    assert store.rows("category", "category_name, version") == [("new", 5)]
    store.load("CATEGORY", [["A", "corrected"]], version=5)
    assert store.rows("category", "category_name, version") == [("corrected", 5)]


@pytest.mark.parametrize("first", [1, 2])
def test_the_stream_of_higher_rank_wins_whatever_the_versions(store: Store, first: int) -> None:
    for stream in (first, 3 - first):
        store.load("CATEGORY", [["A", f"stream {stream}"]], stream=stream, version=99 if stream == 2 else 1)
    assert store.rows("category", "category_name, stream, version, line") == [("stream 1", 1, 1, 1)]


def test_a_replay_leaves_one_record_of_each_refused_and_parked_row(store: Store) -> None:
    rows = [["A", "", "missing"], ["B", "x" * 31, ""]]
    for _ in range(2):
        outcome = store.load("CATEGORY", rows, file_id=3)
        assert (outcome.rows_parked, outcome.rows_rejected) == (1, 1)
    assert len(store.rows("inbox_parked_row")) == len(store.rows("inbox_rejected_row")) == 1


def test_a_load_ends_nothing_that_its_caller_began(store: Store) -> None:
    with store.undone() as connection:
        store.load("ORDERS", [order("O1", "1")], connection=connection)
        store.load("CUSTOMERS", [customer("C1", site="S1", terms="net")], connection=connection)
    for table in (*CATALOG.tables, "inbox_parked_row"):
        assert store.rows(table) == []


def test_many_batches_are_one_file(store: Store) -> None:
    rows = [customer(f"C{i:06}", name=string.ascii_letters, site=f"S{i % 10}") for i in range(10_000)]
    rows[7000][2] = "Q"
    outcome = store.load("CUSTOMERS", rows)
    assert (outcome.rows_read, outcome.rows_loaded, outcome.rows_rejected) == (10_000, 9_999, 1)
    assert store.rows("customers", "COUNT(*), MAX(line)") == [(9_999, 10_000)]
    assert store.rows("inbox_rejected_row", "line") == [(7001,)]


def test_a_database_that_would_alter_values_is_not_written_to(store: Store) -> None:
    if store.database.is_sqlite:
        store.load("CATEGORY", [["A"]])
        return
    with store.undone() as connection:
        connection.execute(text("SET SESSION sql_mode = ''"))
        with pytest.raises(UnsafeSettings, match="strict"):
            store.load("CATEGORY", [["A"]], connection=connection)
        connection.invalidate()
