"""Every API of the catalog loads, with its parents or after them (contract L2, L5, L7).

The rows are made from the catalog: as little as may be in them, and the text `A` wherever a text is wanted,
so that a row of one API is the parent of a row of another.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from loaders.shapes import Api, Field, FieldType, ReferenceKind
from tests.loaders.store import CATALOG, Store, customer

TEXTS = {
    FieldType.STRING: "A",
    FieldType.INTEGER: "1",
    FieldType.DECIMAL: "1.5",
    FieldType.MONEY: "1.5",
    FieldType.FLOAT: "1.5",
    FieldType.DATE: "2024-01-31",
    FieldType.DATETIME: "2024-01-31",
}
Codes = Mapping[str, str]


def cases(api: Api) -> list[Codes]:
    """The codes on which it depends which parent a row has, one set for each that there is."""
    columns = {part.when.column for part in api.derived}
    deciding = [field for field in api.fields if field.column in columns]
    assert len(deciding) <= 1
    return [{field.column: code} for field in deciding for code in field.codes] or [{}]


def row(api: Api, codes: Codes) -> list[str]:
    """What a good row has to say, and the parents that it can wait for."""
    named = {part.source for part in api.derived} | {
        column
        for reference in api.referring(ReferenceKind.PARK)
        if not reference.is_self
        for column in reference.columns
    }

    def cell(field: Field) -> str:
        if not (field.required or field.key or field.column in named):
            return ""
        return codes.get(field.column) or next(iter(field.codes), TEXTS[field.type])

    return [cell(field) for field in api.fields]


def parents(api: Api, codes: Codes) -> set[str]:
    """The APIs that must have sent a row before, near and far."""
    found: set[str] = set()
    for reference in api.referring(ReferenceKind.PARK):
        holds = reference.when is None or codes[reference.when.column] in reference.when.values
        if holds and not reference.is_self:
            parent = CATALOG.api_of_table[reference.parent]
            found |= {parent.name} | parents(parent, cases(parent)[0])
    return found


def all_cases() -> Iterator[tuple[Api, Codes]]:
    return ((api, codes) for api in CATALOG.values() for codes in cases(api))


def load(store: Store, connection: Connection, name: str, codes: Codes | None = None) -> Any:
    api = CATALOG[name]
    return store.load(name, [row(api, cases(api)[0] if codes is None else codes)], connection=connection)


def count(store: Store, connection: Connection, api: Api) -> list[tuple[object, ...]]:
    return [store.rows(table.name, "COUNT(*)", connection=connection)[0] for table in api.tables]


def test_a_row_of_every_api_loads_when_its_parents_are_there(store: Store) -> None:
    for api, codes in all_cases():
        with store.undone() as connection:
            for parent in sorted(parents(api, codes), key=CATALOG.level):
                assert load(store, connection, parent).rows_loaded == 1, parent
            outcome = load(store, connection, api.name, codes)
            assert (outcome.rows_loaded, outcome.rows_parked) == (1, 0), api.name
            assert count(store, connection, api) == [(1,)] * len(api.tables)
            for reference in api.referring(ReferenceKind.PARK):
                if not reference.is_self:
                    holds = reference.when is None or codes[reference.when.column] in reference.when.values
                    found = store.rows(reference.table, *reference.columns, connection=connection)
                    assert found == [("A" if holds else None,)], (api.name, reference)


def test_a_row_of_every_api_waits_for_its_parents_and_for_nothing_else(store: Store) -> None:
    for api, codes in all_cases():
        with store.undone() as connection:
            needed = parents(api, codes)
            assert load(store, connection, api.name, codes).rows_parked == (1 if needed else 0), api.name
            for parent in sorted(needed, key=CATALOG.level):
                assert count(store, connection, api) == [(0,)] * len(api.tables), (api.name, parent)
                load(store, connection, parent)
            assert count(store, connection, api) == [(1,)] * len(api.tables), api.name


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(order=st.permutations(list(all_cases())))
def test_files_of_all_apis_in_any_order_end_alike(store: Store, order: list[tuple[Api, Codes]]) -> None:
    """Each has the version of its place in the catalog, whenever it comes."""
    versions = {(api.name, *codes.values()): n for n, (api, codes) in enumerate(all_cases(), 1)}

    def state(cases: list[tuple[Api, Codes]]) -> Any:
        with store.undone() as connection:
            for api, codes in cases:
                version = versions[(api.name, *codes.values())]
                store.load(
                    api.name, [row(api, codes)], connection=connection, file_id=version, version=version
                )
            assert store.rows("inbox_parked_row", connection=connection) == []
            return {name: store.rows(name, connection=connection) for name in CATALOG.tables}

    in_sequence = sorted(all_cases(), key=lambda case: case[0].level)
    assert state(order) == state(in_sequence)


def contact(number: str, company: str, kind: str, address: str = "") -> list[str]:
    cells = [""] * 19
    cells[0], cells[2], cells[11], cells[12], cells[17] = number, "Ada", company, kind, address
    return cells


def test_a_contact_waits_for_its_customer_or_its_end_user(store: Store) -> None:
    store.load("CONTACTS", [contact("1", "X", "C"), contact("2", "X", "E")], file_id=9)
    assert store.rows("inbox_parked_row", "line, waits_table") == [(1, "customers"), (2, "endusers")]
    assert store.load("ENDUSERS", [customer("X")]).unparked == {9: 1}
    assert store.rows("contacts", "contact_number, customer_number, enduser_number") == [("2", None, "X")]
    assert store.load("CUSTOMERS", [customer("X")]).unparked == {9: 1}
    assert store.rows("contacts", "contact_number, company_number, customer_number, enduser_number") == [
        ("1", "X", "X", None),
        ("2", "X", None, "X"),
    ]


def shipment(number: str, line: str, order: str, kind: str, *, status: str = "S") -> list[str]:
    cells = [""] * 19
    cells[0], cells[1], cells[2], cells[3], cells[9], cells[10], cells[12] = (
        number,
        line,
        order,
        "1",
        status,
        kind,
        "EA",
    )
    return cells


def test_a_shipment_of_an_rma_has_its_number_where_rmas_are_referred_to(store: Store) -> None:
    for name in ("CUSTOMERS", "ORDERS", "RMAS"):
        store.load(name, [row(CATALOG[name], {})])
    rows = [shipment("S1", "1", "A", "S"), shipment("S2", "1", "A", "R"), shipment("S3", "1", "A", "C")]
    assert store.load("SHIPMENTS", rows).rows_loaded == 3
    for table in ("shipments", "shipment_lines"):
        assert store.rows(table, "shipper_number, order_number, rma_number") == [
            ("S1", "A", None),
            ("S2", None, "A"),
            ("S3", "A", None),
        ]


@pytest.mark.parametrize("status", ["S", "X", "D", "?", ""])
def test_any_character_is_a_status_of_a_shipment(store: Store, status: str) -> None:
    assert store.load("SHIPMENTS", [shipment("S1", "1", "A", "S", status=status)]).rows_rejected == 0


def test_a_code_that_is_not_published_as_open_is_checked(store: Store) -> None:
    assert store.load("SHIPMENTS", [shipment("S1", "1", "A", "Q")]).rows_rejected == 1


def test_the_unit_at_the_top_has_no_parent(store: Store) -> None:
    rows = [["2", "below", "DEPT", "1"], ["1", "top", "DIV", ""]]
    assert store.load("DEPARTMENTS", rows).rows_loaded == 2
