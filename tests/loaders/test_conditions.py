"""A row waits for one parent or another, by what another field says (contract L5)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from loaders.catalog import CatalogError, read_catalog
from server import unjoined
from tests.loaders.store import Store

HEAD = 'api = "{name}"\npurpose = "a test"\nlevel = {level}\nfull_absent = "keep"\norigin = "assumed"\n'
PARENT = (
    HEAD
    + '[[table]]\nname = "{table}"\nkey = ["Code"]\n'
    + '[[field]]\nordinal = 1\nname = "Code"\ntype = "string"\nlength = 10\nrequired = true\n'
)
CHILD = (
    HEAD.format(name="CHILD", level=2)
    + """
[[table]]
name = "child"
key = ["Number"]
[[reference]]
kind = "park"
fields = ["Parent"]
table = "shops"
when = { "Kind" = ["S", "T"] }
column = "parent"
[[reference]]
kind = "park"
fields = ["Parent"]
table = "people"
when = { "Kind" = ["P"] }
column = "person"
[[reference]]
kind = "keep"
fields = ["Friend"]
table = "shops"
when = { "Kind" = ["S", "T"] }
[[reference]]
kind = "keep"
fields = ["Friend"]
table = "people"
when = { "Kind" = ["P"] }
[[field]]
ordinal = 1
name = "Number"
type = "integer"
[[field]]
ordinal = 2
name = "Kind"
type = "string"
length = 1
required = true
codes = { S = "shop", T = "other shop", P = "person" }
[[field]]
ordinal = 3
name = "Parent"
type = "string"
length = 10
[[field]]
ordinal = 4
name = "Friend"
type = "string"
length = 10
"""
)


def write(folder: Path, child: str = CHILD) -> Path:
    (folder / "shops.toml").write_text(PARENT.format(name="SHOPS", level=1, table="shops"))
    (folder / "people.toml").write_text(PARENT.format(name="PEOPLE", level=1, table="people"))
    (folder / "child.toml").write_text(child)
    return folder


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    made = Store.at(database_url, read_catalog(write(tmp_path)))
    yield made
    made.database.close()


def test_a_row_waits_for_the_parent_that_its_own_code_names(store: Store) -> None:
    rows = [["1", "S", "x"], ["2", "P", "x"], ["3", "T", "x"], ["4", "P", ""]]
    outcome = store.load("CHILD", rows, file_id=7)
    assert (outcome.rows_loaded, outcome.rows_parked) == (1, 3)
    assert store.rows("inbox_parked_row", "line, waits_table, waits_key") == [
        (1, "shops", "x"),
        (2, "people", "x"),
        (3, "shops", "x"),
    ]
    assert store.load("PEOPLE", [["x"]]).unparked == {7: 1}
    assert store.rows("child", "number, parent, person") == [(2, None, "x"), (4, None, None)]
    assert store.load("SHOPS", [["x"]]).unparked == {7: 2}
    assert store.rows("child", "number, parent, person") == [
        (1, "x", None),
        (2, None, "x"),
        (3, "x", None),
        (4, None, None),
    ]


def test_each_of_the_columns_has_a_real_foreign_key(store: Store) -> None:
    with store.database.read() as connection:
        keys = inspect(connection).get_foreign_keys("child")
    assert {(key["constrained_columns"][0], key["referred_table"]) for key in keys} == {
        ("parent", "shops"),
        ("person", "people"),
    }
    store.load("PEOPLE", [["x"]])
    store.load("CHILD", [["2", "P", "x"]])
    for column in ("parent", "person"):
        with pytest.raises(IntegrityError), store.database.write("a test") as connection:
            connection.execute(text(f"UPDATE child SET {column} = 'nobody'"))


def test_a_row_that_changes_its_kind_changes_its_column(store: Store) -> None:
    store.load("SHOPS", [["x"]])
    store.load("PEOPLE", [["x"]])
    store.load("CHILD", [["1", "S", "x"]])
    store.load("CHILD", [["1", "P", "x"]])
    assert store.rows("child", "parent, person") == [(None, "x")]


def test_texts_under_a_condition_are_counted_against_their_own_parent(store: Store) -> None:
    store.load("SHOPS", [["x"]])
    store.load("CHILD", [["1", "S", "", "x"], ["2", "P", "", "x"], ["3", "P", "", ""], ["4", "T", "", "y"]])
    with store.database.read() as connection:
        found = unjoined.count(connection, store.catalog)
    assert found == [unjoined.Unjoined("child", "friend", "shops or people", 2)]


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('["P"] }\ncolumn', '["Q"] }\ncolumn', "reference 'people': when: 'Q' cannot be in 'Kind'"),
        (
            'when = { "Kind" = ["P"] }',
            'when = { "Sort" = ["P"] }',
            "reference 'people': when: 'Sort' is no field",
        ),
        ('when = { "Kind" = ["P"] }', 'when = "P"', "reference 'people': when: 'P' does not map"),
        ('column = "person"', "", "reference 'people': column: rows that wait under a condition need"),
        ('column = "person"', 'column = "parent"', "reference 'people': column: 'parent' is taken"),
        ('column = "person"', 'column = "friend"', "reference 'people': column: 'friend' is taken"),
        (
            'column = "person"',
            'column = "Per son"',
            "reference 'people': column: 'Per son' cannot be a column",
        ),
        ('["S", "T"]', '["S"]', "reference: Parent has no parent where 'Kind' is T"),
        (
            "required = true\ncodes",
            "codes",
            "reference 'shops': when: 'Kind' must be required and have codes",
        ),
    ],
)
def test_a_mistake_in_a_condition_is_told(tmp_path: Path, old: str, new: str, mistake: str) -> None:
    with pytest.raises(CatalogError) as error:
        read_catalog(write(tmp_path, CHILD.replace(old, new, 1)))
    assert any(line.startswith(f"child.toml: {mistake}") for line in error.value.mistakes), error.value
