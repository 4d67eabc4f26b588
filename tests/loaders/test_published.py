"""What was published of the APIs is taken over to the letter (contract L2, L3, D1).

`published.json` holds the facts; null means that a fact was not published. What the catalog says beyond them
has to be marked as inferred or assumed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loaders.shapes import Api, Field, FieldType, Origin
from tests.loaders.store import CATALOG

PUBLISHED: list[dict[str, Any]] = json.loads(Path(__file__).with_name("published.json").read_text())
BY_NAME = {api["name"]: api for api in PUBLISHED}

# Where the catalog knowingly says something else, and why.
DEPARTURES = {
    (
        "DEPARTMENTS",
        "Parent Business Unit",
        "required",
    ): "the unit at the top has no parent, so a tree could never be loaded",
    (
        "SHIP_ADDRS",
        "State",
        "references",
    ): "no API sends states; the text is kept as it comes",
}
# References that nobody published, but that follow from the names of the fields.
OUR_REFERENCES = {
    ("CUST_PARTS", "Customer", "endusers"),
    ("CUST_PARTS", "Item ID", "mfg_items"),
    ("CUSTOMERS", "Terms Type XREF", "payment_terms"),
    ("INVENTORY", "Inventory Location", "inventory_locations"),
    ("INVENTORY", "Part Number", "mfg_items"),
    ("INVENTORY", "Site ID", "inventory_locations"),
    ("INVENTORY", "Site ID", "warehouses"),
    ("INVOICES", "Currency Code", "currency"),
    ("CONTACTS", "Company Number", "ship_addrs"),
    ("ORDERS", "Ship Via", "freight"),
    ("PRICE_ADJS", "Group Code", "price_adjustment_types"),
    ("RMAS", "Ship Via", "freight"),
    ("RMA_RECEIPTS", "Ship Via", "freight"),
    ("SERIALHIST", "Source Record", "rma_receipts"),
    ("SERIALHIST", "Source Record", "shipments"),
    ("WAREHOUSE_ITEMS", "Warehouse ID", "warehouses"),
}
# How the published pages call what is no API.
TABLES = {"warehouse_plant": "warehouses"}
SHAPE = {"decimal": (14, 4)}


def fields() -> Iterator[Any]:
    for api in PUBLISHED:
        for fact in api["fields"]:
            yield pytest.param(api["name"], fact, id=f"{api['name']}-{fact['name']}")


def parents(api: Api, field: Field) -> set[str]:
    """The tables that a field of the file refers to, through a derived column too."""
    columns = {field.column} | {part.field.column for part in api.derived if part.source == field.column}
    through = {part.field.column for part in api.derived if part.source != field.column}
    return {r.parent for r in api.references if (columns - through) & set(r.columns)}


def test_there_are_34_apis_and_each_has_its_published_level() -> None:
    assert len(PUBLISHED) == 34
    assert set(CATALOG) == set(BY_NAME)
    for name, fact in BY_NAME.items():
        assert CATALOG[name].origin is Origin.PUBLISHED
        if fact["level"] is None:
            assert "level" in CATALOG[name].assumed
        else:
            assert CATALOG.level(name) == fact["level"]
            assert "level" not in CATALOG[name].assumed


@pytest.mark.parametrize(("name", "fact"), list(fields()))
def test_a_field_is_what_was_published(name: str, fact: dict[str, Any]) -> None:
    api = CATALOG[name]
    field = api.fields[fact["ordinal"] - 1]
    assert (field.ordinal, field.name) == (fact["ordinal"], fact["name"])
    assert field.origin in (Origin.PUBLISHED, Origin.INFERRED)
    assumed = set(field.assumed)
    found = {
        "type": field.type.value,
        "length": field.length if field.precision is None else field.precision,
        "required": field.required,
        "codes": {**field.codes, **field.open_codes} or None,
    }
    if field.type is FieldType.MONEY:
        found["length"] = None
    for what, value in found.items():
        if (name, field.name, what) in DEPARTURES:
            assert value != fact[what], "no departure any more"
            assert what in assumed
        elif fact[what] is not None:
            assert value == fact[what]
            assert what not in assumed
        else:
            assert value is None or what in assumed, f"{what} was not published"
    if field.type is FieldType.DECIMAL:
        assert (field.precision, field.scale) == SHAPE["decimal"]
    if fact["key"]:
        assert field.key
    elif field.key:
        assert "key" in api.assumed
    wanted = set((fact["references"] or "").split(" or ")) - {""}
    tables = {TABLES.get(parent) or _table(parent) for parent in wanted}
    if (name, field.name, "references") in DEPARTURES:
        assert not parents(api, field)
    else:
        ours = {parent for api_name, text, parent in OUR_REFERENCES if (api_name, text) == (name, field.name)}
        assert parents(api, field) == tables | ours
        assert not tables & ours, "it is published"


def _table(parent: str) -> str:
    return CATALOG[parent].tables[0].name if parent in CATALOG else f"no table for {parent}"


@pytest.mark.parametrize("api", CATALOG.values(), ids=lambda api: api.name)
def test_what_was_not_published_is_marked(api: Api) -> None:
    published = BY_NAME[api.name]["fields"]
    for field in api.fields[len(published) :]:
        assert field.origin in (Origin.INFERRED, Origin.ASSUMED), field.name
    if not published:
        assert {"fields", "key"} <= set(api.assumed)
    assert BY_NAME[api.name]["complete"] is False or len(api.fields) == len(published)


def test_every_departure_is_of_a_published_field() -> None:
    named = {(name, text) for name, text, _ in [*DEPARTURES, *OUR_REFERENCES]}
    assert named <= {(api["name"], fact["name"]) for api in PUBLISHED for fact in api["fields"]}
    assert all(DEPARTURES.values())
