"""The tables grow after the catalog, and only grow (contract section 9)."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import IntegrityError

from loaders import growth
from loaders.catalog import read_catalog
from loaders.shapes import Catalog
from tests.loaders.store import Store, item, price

NEW_API = """
api = "LOYALTY"
purpose = "points of customers"
level = 3
full_absent = "deactivate"
[[table]]
name = "loyalty"
key = ["Card"]
[[field]]
ordinal = 1
name = "Card"
type = "string"
length = 30
required = true
[[field]]
ordinal = 2
name = "Points"
type = "integer"
length = 2
"""
NEW_FIELDS = """
api = "CATEGORY"
level = 2
[[field]]
name = "Category Name"
length = 60
[[field]]
name = "Rebate"
type = "decimal"
precision = 8
scale = 2
[[field]]
name = "Region"
type = "string"
length = 30
[[reference]]
kind = "park"
fields = ["Region"]
table = "regions"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def catalog(site: Path, **texts: str) -> Catalog:
    for name, written in texts.items():
        (site / f"{name}.toml").write_text(written)
    return read_catalog(site=site)


def grow(store: Store, wanted: Catalog) -> list[str]:
    """The store after a restart with another catalog; returns what was added."""
    with store.database.write("growing") as connection:
        added = growth.grow(connection, wanted)
    store.catalog = wanted
    return [str(change) for change in added]


def seen(store: Store, wanted: Catalog) -> list[str]:
    with store.database.read() as connection:
        return [str(change) for change in growth.missing(connection, wanted)]


def conflicts(store: Store, wanted: Catalog) -> list[str]:
    with store.database.read() as connection, pytest.raises(growth.GrowthConflict) as error:
        growth.missing(connection, wanted)
    return list(error.value.mistakes)


def is_sqlite(store: Store) -> bool:
    return store.database.is_sqlite


def foreign_keys(store: Store, table: str) -> set[tuple[str, str]]:
    with store.database.read() as connection:
        keys = inspect(connection).get_foreign_keys(table)
    return {(", ".join(key["constrained_columns"]), key["referred_table"]) for key in keys}


def test_a_database_that_has_everything_is_left_alone(store: Store) -> None:
    assert seen(store, store.catalog) == []
    assert grow(store, store.catalog) == []


def test_tables_columns_and_width_are_added_and_old_and_new_files_load(store: Store, site: Path) -> None:
    store.load("CATEGORY", [["A", "old", ""]], file_id=1)
    wanted = catalog(site, loyalty=NEW_API, category=NEW_FIELDS)
    rebate, width = (
        ("decimal_text(8, 2)", [])
        if is_sqlite(store)
        else (
            "numeric(8, 2)",
            ["wider column category (category_name): varchar(60), it was varchar(30)"],
        )
    )
    expected = {
        *width,
        f"new column category (rebate): {rebate}",
        "new column category (region): varchar(30)",
        "new table loyalty",
    }
    assert set(seen(store, wanted)) == expected, "looking changes nothing"
    assert set(grow(store, wanted)) == expected
    assert seen(store, wanted) == []
    store.load("CATEGORY", [["B", "old file", ""]], file_id=2)
    store.load("CATEGORY", [["C", "n" * 60, "", "", "", "", "", "12.5", "R1"]], file_id=3)
    store.load("LOYALTY", [["1", "7"]])
    columns = "category_id, category_name, rebate, region"
    assert store.rows("category", columns) == [("A", "old", None, None), ("B", "old file", None, None)]
    store.load("REGIONS", [["R1"]])
    assert store.rows("category", columns)[2:] == [("C", "n" * 60, "12.50", "R1")]
    assert store.rows("loyalty", "card, points") == [("1", 7)]


def test_a_new_column_has_a_real_foreign_key(store: Store, site: Path) -> None:
    grow(store, catalog(site, category=NEW_FIELDS))
    assert foreign_keys(store, "category") == {("parent_category", "category"), ("region", "regions")}
    store.load("CATEGORY", [["A"]])
    with pytest.raises(IntegrityError), store.database.write("a test") as connection:
        connection.execute(text("UPDATE category SET region = 'nowhere'"))


def test_a_reference_by_another_field_gets_its_column(store: Store, site: Path) -> None:
    written = """
        api = "SALES_TAX"
        level = 2
        [[reference]]
        kind = "park"
        fields = ["State/Province"]
        table = "regions"
        when = { "Freight Taxable" = ["Y"] }
        column = "taxed_region"
        [[reference]]
        kind = "park"
        fields = ["State/Province"]
        table = "classifications"
        when = { "Freight Taxable" = ["N"] }
        column = "class"
    """
    store.load("SALES_TAX", [["T1", "R1", "Y"]])
    grow(store, catalog(site, tax=written))
    assert foreign_keys(store, "sales_tax") == {("taxed_region", "regions"), ("class", "classifications")}
    store.load("SALES_TAX", [["T2", "R1", "Y"]])
    store.load("REGIONS", [["R1"]])
    assert store.rows("sales_tax", "tax_code, taxed_region, class") == [
        ("T1", None, None),
        ("T2", "R1", None),
    ]


def test_a_made_parent_gets_a_new_attribute(store: Store, site: Path) -> None:
    written = """
        api = "PRICE_ADJS"
        [[field]]
        name = "Group Name"
        type = "string"
        length = 50
        [[reference]]
        kind = "create"
        fields = ["Group Code"]
        table = "price_adjustment_types"
        key = ["group_code"]
        attributes = { precedence = "Precedence", group_name = "Group Name" }
    """
    store.load("PRICE_ADJS", [["1", "G1", "5"]])
    added = grow(store, catalog(site, adjs=written))
    assert set(added) == {
        "new column price_adjs (group_name): varchar(50)",
        "new column price_adjustment_types (group_name): varchar(50)",
    }
    store.load("PRICE_ADJS", [["2", "G2", "5", *[""] * 7, "a name"]])
    assert store.rows("price_adjustment_types", "group_code, group_name") == [("G1", None), ("G2", "a name")]


LONGER_ITEMS = {
    name: f'api = "{name}"\n[[field]]\nname = "Item ID"\nlength = 40\n'
    for name in ("MFG_ITEMS", "BASE_PRICES")
}


def test_a_key_that_others_refer_to_gets_wider_and_they_still_refer_to_it(store: Store, site: Path) -> None:
    store.load("MFG_ITEMS", [item("I1")])
    store.load("BASE_PRICES", [price("I1")])
    before = {name: foreign_keys(store, name) for name in store.catalog.tables}
    grow(store, catalog(site, **LONGER_ITEMS))
    assert {name: foreign_keys(store, name) for name in store.catalog.tables} == before
    long = "I" * 40
    store.load("MFG_ITEMS", [item(long)])
    assert store.load("BASE_PRICES", [price(long)]).rows_loaded == 1
    assert store.rows("base_prices", "item_id") == [("I1",), (long,)]
    with pytest.raises(IntegrityError), store.database.write("a test") as connection:
        connection.execute(text("UPDATE base_prices SET item_id = 'nobody'"))


class Killed(BaseException):
    """The process is gone."""


def test_growing_that_was_cut_off_at_any_statement_is_begun_again(store: Store, site: Path) -> None:
    wanted = catalog(site, loyalty=NEW_API, category=NEW_FIELDS, **LONGER_ITEMS)
    before = {name: foreign_keys(store, name) for name in store.catalog.tables}
    left = 0

    def dies(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal left
        if statement.startswith(("ALTER", "CREATE")):
            left -= 1
            if left < 0:
                raise Killed

    event.listen(store.database.engine, "before_cursor_execute", dies)
    for cuts in range(100):
        left = cuts
        try:
            grow(store, wanted)
        except Killed:
            continue
        break
    event.remove(store.database.engine, "before_cursor_execute", dies)
    assert cuts > 0
    assert seen(store, wanted) == []
    after = {name: foreign_keys(store, name) for name in before}
    assert after == before | {"category": before["category"] | {("region", "regions")}}


TYPES = NEW_API.replace('name = "Points"\ntype = "integer"\nlength = 2', 'name = "Points"\n{}')


@pytest.mark.parametrize(
    ("was", "becomes", "reason"),
    [
        ('type = "integer"', 'type = "date"', "cannot become date"),
        ('type = "string"\nlength = 10', 'type = "string"\nlength = 9', "varchar(9) is narrower"),
        ('type = "integer"\nlength = 4', 'type = "integer"\nlength = 2', "is narrower"),
        ('type = "string"\nlength = 10', 'type = "money"', "it is varchar(10), and cannot become"),
        ('type = "money"', 'type = "decimal"\nprecision = 19\nscale = 2', "cannot become"),
        (
            'type = "decimal"\nprecision = 9\nscale = 2',
            'type = "decimal"\nprecision = 8\nscale = 2',
            "narrower",
        ),
        ('type = "float"', 'type = "string"\nlength = 10', "cannot become varchar(10)"),
    ],
)
def test_another_type_and_a_narrower_field_are_refused(
    store: Store, site: Path, was: str, becomes: str, reason: str
) -> None:
    grow(store, catalog(site, loyalty=TYPES.format(was)))
    [mistake] = conflicts(store, catalog(site, loyalty=TYPES.format(becomes)))
    assert mistake.startswith(f"{site / 'loyalty.toml'}: table 'loyalty': column 'points': it is ")
    assert reason in mistake
    assert seen(store, catalog(site, loyalty=TYPES.format(was))) == []


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ('type = "integer"\nlength = 2', 'type = "integer"\nlength = 8'),
        ('type = "decimal"\nprecision = 8\nscale = 2', 'type = "decimal"\nprecision = 12\nscale = 2'),
        ('type = "string"\nlength = 10', 'type = "string"\nlength = 500'),
    ],
)
def test_a_wider_field_is_added(store: Store, site: Path, was: str, becomes: str) -> None:
    grow(store, catalog(site, loyalty=TYPES.format(was)))
    store.load("LOYALTY", [["1", "7"]])
    before = store.rows("loyalty", "points")
    added = grow(store, catalog(site, loyalty=TYPES.format(becomes)))
    assert [change.split(":")[0] for change in added] == (
        [] if is_sqlite(store) else ["wider column loyalty (points)"]
    )
    assert store.rows("loyalty", "points") == before
    assert store.load("LOYALTY", [["2", "1234567"]]).rows_loaded == 1


def test_another_key_is_refused(store: Store, site: Path) -> None:
    grow(store, catalog(site, loyalty=NEW_API))
    [mistake] = conflicts(store, catalog(site, loyalty=NEW_API.replace('["Card"]', '["Card", "Points"]')))
    assert "table 'loyalty': key: it is card" in mistake


KEPT = '[[reference]]\nkind = "keep"\nfields = ["Item ID"]\ntable = "mfg_items"\n'


def test_a_column_that_is_there_gets_a_foreign_key_where_the_database_can_and_the_rows_allow_it(
    store: Store, site: Path
) -> None:
    written = NEW_API + '[[field]]\nordinal = 3\nname = "Region"\ntype = "string"\nlength = 30\n'
    grow(store, catalog(site, loyalty=written))
    store.load("LOYALTY", [["1", "7", "R1"], ["2", "7", ""]])
    wanted = catalog(
        site, loyalty=f'{written}[[reference]]\nkind = "park"\nfields = ["Region"]\ntable = "regions"\n'
    )
    [mistake] = conflicts(store, wanted)
    if is_sqlite(store):
        assert "reference 'regions': SQLite can give no foreign key to region" in mistake
        return
    assert "reference 'regions': 1 row(s) have no parent" in mistake
    store.load("REGIONS", [["R1"]])
    assert grow(store, wanted) == ["new foreign key loyalty (region): to regions"]
    assert foreign_keys(store, "loyalty") == {("region", "regions")}


def test_a_foreign_key_stays(store: Store, site: Path) -> None:
    [mistake] = conflicts(store, catalog(site, prices=f'api = "BASE_PRICES"\n{KEPT}'))
    assert (
        "table 'base_prices': reference 'mfg_items': item_id has a foreign key, which has to stay" in mistake
    )


def test_all_conflicts_are_told_at_once_and_nothing_is_changed(store: Store, site: Path) -> None:
    grow(store, catalog(site, loyalty=TYPES.format('type = "string"\nlength = 10')))
    texts = {"category": NEW_FIELDS, "prices": f'api = "BASE_PRICES"\n{KEPT}'}
    wanted = catalog(site, loyalty=TYPES.format('type = "date"'), **texts)
    assert len(conflicts(store, wanted)) == 2
    with store.database.write("growing") as connection, pytest.raises(growth.GrowthConflict):
        growth.grow(connection, wanted)
    assert store.rows("category", "*") == []
    with store.database.read() as connection:
        assert "region" not in {column["name"] for column in inspect(connection).get_columns("category")}


@pytest.mark.parametrize(("fields", "says"), [(20, "a row's texts may take "), (230, "Row size too large")])
def test_a_table_that_mariadb_cannot_hold_is_a_conflict_that_names_it(
    store: Store, site: Path, fields: int, says: str
) -> None:
    length = 4000 if fields == 20 else 60
    more = "".join(
        f'[[field]]\nordinal = {number}\nname = "F{number}"\ntype = "string"\nlength = {length}\n'
        for number in range(3, fields)
    )
    wanted = catalog(site, loyalty=NEW_API + more)
    if not store.database.is_sqlite:
        with pytest.raises(growth.GrowthConflict, match=f"table 'loyalty': {says}"):
            grow(store, wanted)
    else:
        assert grow(store, wanted)
