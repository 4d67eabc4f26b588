"""The catalog is complete, and says of every fact how it is known; its mistakes are told all at once."""

from importlib.resources import files
from pathlib import Path

import pytest

from loaders.catalog import CatalogError, read_catalog
from loaders.shapes import Api, FieldType, Origin, ReferenceKind
from tests.loaders.store import CATALOG

PARENT = """
api = "PARENT"
purpose = "a parent"
level = 1
full_absent = "keep"
origin = "assumed"
[[table]]
name = "parent"
key = ["Code"]
[[field]]
ordinal = 1
name = "Code"
type = "string"
length = 10
required = true
"""
CHILD = """
api = "CHILD"
purpose = "a child"
level = 2
full_absent = "keep"
origin = "assumed"
[[table]]
name = "child"
key = ["Number"]
[[reference]]
kind = "park"
fields = ["Parent"]
table = "parent"
[[field]]
ordinal = 1
name = "Number"
type = "integer"
[[field]]
ordinal = 2
name = "Parent"
type = "string"
length = 10
"""


def mistakes(folder: Path, *texts: str) -> list[str]:
    for number, text in enumerate(texts, 1):
        (folder / f"{number}.toml").write_text(text, encoding="utf-8")
    try:
        read_catalog(folder)
    except CatalogError as error:
        return list(error.mistakes)
    return []


@pytest.mark.parametrize("api", CATALOG.values(), ids=lambda api: api.name)
def test_every_api_is_complete(api: Api) -> None:
    assert api.purpose
    assert [field.ordinal for field in api.fields] == list(range(1, len(api.fields) + 1))
    for field in api.fields:
        assert field.origin in Origin
        assert (field.length is not None) is (field.type in {FieldType.STRING, FieldType.INTEGER})
        assert set(field.assumed) <= {"type", "length", "required", "codes"}
    for reference in api.references:
        assert reference.parent in CATALOG.tables
        assert set(reference.columns) <= set(api.columns)
        if reference.kind is ReferenceKind.PARK:
            parent = CATALOG.api_of_table[reference.parent]
            assert parent is api or parent.level < api.level


def test_orders_are_taken_apart_into_header_and_lines() -> None:
    orders, lines = CATALOG["ORDERS"].tables
    assert (orders.name, orders.key) == ("orders", ("so_number",))
    assert (lines.name, lines.key) == ("order_lines", ("so_number", "so_item_number", "schedule_date"))
    assert not {"status", "customer_number"} & set(lines.columns)


def test_attributes_of_made_parents_are_wide_enough_for_all_who_fill_them() -> None:
    made = {"warehouses", "inventory_locations", "payment_terms", "price_adjustment_types"}
    assert set(CATALOG.created) == made
    assert CATALOG.created["warehouses"].columns["site_name"].length == 50
    assert "site_name" not in CATALOG["INVENTORY"].most_specific.columns


def test_each_file_of_the_package_is_read() -> None:
    names = {item.name for item in (files("loaders") / "apis").iterdir() if item.name.endswith(".toml")}
    assert names == {f"{api.lower()}.toml" for api in CATALOG}


def test_a_folder_of_ones_own_takes_the_place_of_the_package(tmp_path: Path) -> None:
    assert mistakes(tmp_path, PARENT, CHILD) == []
    assert list(read_catalog(tmp_path)) == ["PARENT", "CHILD"]


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('purpose = "a child"', "", "2.toml: purpose: a text is needed"),
        ("level = 2", "level = 'two'", "2.toml: level: 'two' is not a number from 1 to 99"),
        (
            "level = 2",
            "level = 1",
            "2.toml: reference 'parent': table: PARENT has level 1, which is not below level 1",
        ),
        ("level = 2", "level = 2\ncolour = 1", "2.toml: colour: unknown key"),
        (
            'type = "integer"',
            'type = "number"',
            "2.toml: field 'Number': type: 'number' is not one of string",
        ),
        ("ordinal = 2", "ordinal = 1", "2.toml: field 'Parent': ordinal: 1 is taken by another field"),
        ("ordinal = 2", "ordinal = 3", "2.toml: field: ordinals must run from 1 to 2 without a gap"),
        ('key = ["Number"]', 'key = ["No"]', "2.toml: table 'child': key: 'No' is no field of this API"),
        (
            'table = "parent"',
            'table = "nobody"',
            "2.toml: reference 'nobody': table: 'nobody' is a table of no API",
        ),
        ('name = "child"', 'name = "parent"', "2.toml: table: 'parent' is a table of 1.toml too"),
        (
            'name = "Parent"',
            'name = "Line"',
            "2.toml: field 'Line': name: 'Line' gives 'line', which cannot be a column",
        ),
        (
            'fields = ["Parent"]',
            'fields = ["Number"]',
            "2.toml: reference 'parent': fields: 'Number' is integer",
        ),
        ('api = "CHILD"', 'api = "PARENT"', "2.toml: api: 'PARENT' has a file already"),
        ("[[table]]", "[[table]", "2.toml: TOML: "),
    ],
)
def test_a_mistake_is_told_with_file_key_and_reason(tmp_path: Path, old: str, new: str, mistake: str) -> None:
    found = mistakes(tmp_path, PARENT, CHILD.replace(old, new, 1))
    assert any(line.startswith(mistake) for line in found), found


def test_rows_cannot_be_parked_for_a_key_of_several_fields(tmp_path: Path) -> None:
    parent = PARENT.replace('key = ["Code"]', 'key = ["Code", "Part"]') + (
        '[[field]]\nordinal = 2\nname = "Part"\ntype = "string"\nlength = 3\n'
    )
    assert any("reference 'parent'" in line for line in mistakes(tmp_path, parent, CHILD))


def test_a_reference_in_a_key_must_be_required(tmp_path: Path) -> None:
    child = CHILD.replace('key = ["Number"]', 'key = ["Number", "Parent"]')
    assert mistakes(tmp_path, PARENT, child) == [
        "2.toml: reference 'parent': fields: 'Parent' is part of the key, so it must be required"
    ]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    bad_parent = PARENT.replace("level = 1", "").replace('origin = "assumed"', 'origin = "rumour"')
    bad_child = CHILD.replace('type = "integer"', 'type = "number"').replace("length = 10", "length = 0")
    found = mistakes(tmp_path, bad_parent, bad_child)
    assert [line.split(":")[0] for line in found] == ["1.toml", "1.toml", "2.toml", "2.toml", "2.toml"][
        : len(found)
    ]
    assert len(found) >= 4
