"""The tables are a function of the set of files, not of the order in which they were loaded (contract L7).

Small files of all kinds of APIs, NET and FULL, from two streams, with rows that name the same few keys, are
loaded in sequence; in any other order, some of them twice; and into a model written here in another way, by
the plain reading of L7. All three end alike.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from loaders.shapes import ReferenceKind
from tests.loaders.store import CATALOG, RANKS, Store, customer, item, order, price

TABLES = tuple(CATALOG.tables)
Row = dict[str, Any]


@dataclass(frozen=True)
class File:
    """One file; `number` is its id and the place where it was made up, `fixes` as they were accepted."""

    number: int
    api: str
    stream: int
    version: int
    mode: str
    rows: tuple[tuple[str, ...], ...]
    fixes: tuple[Mapping[int, tuple[str, ...]], ...]

    def load(self, store: Store, connection: Connection, fixes: int | None = None, **how: Any) -> Any:
        """Load it with all of its fixes, or with so many as have come."""
        return store.load(
            self.api,
            how.pop("content", self.rows),
            connection=connection,
            file_id=self.number,
            stream=self.stream,
            version=self.version,
            mode=self.mode,
            is_approved=True,
            corrections=[{line: "\t".join(row) for line, row in fix.items()} for fix in self.fixes[:fixes]],
            **how,
        )


words = st.sampled_from(["", "one", "two", "3"])
sites = st.sampled_from(["", "S1", "s1", "S2"])
customers = st.sampled_from(["C1", "c1", "C1 ", "C2"])
items = st.sampled_from(["I1", "I2", "i2"])
days = st.sampled_from(["2024-01-31", "2024-02-01"])
categories = st.sampled_from(["A", "B", "C"])
ROWS = {
    "CATEGORY": st.builds(
        lambda own, name, parent, far: [own, name, parent, "far too long" if far else ""],
        categories,
        words,
        st.sampled_from(["", "", "A", "B", "Z"]),
        st.sampled_from([False] * 9 + [True]),
    ),
    "CUSTOMERS": st.builds(
        lambda number, name, site, site_name, terms, days: customer(
            number, name=name, site=site, site_name=site_name, terms=terms, term_type="STD", days=days
        ),
        customers,
        words,
        sites,
        words,
        st.sampled_from(["", "2/5", "net"]),
        st.sampled_from(["", "5", "10", "x"]),
    ),
    "MFG_ITEMS": st.builds(
        lambda own, text, bad: [*item(own, description=text)[:7], "maybe" if bad else "N", *item(own)[8:]],
        items,
        words,
        st.sampled_from([False] * 4 + [True]),
    ),
    "BASE_PRICES": st.builds(
        lambda own, sheet, amount, start: price(own, sheet=sheet, amount=amount, start=start),
        items,
        words,
        st.sampled_from(["1", "2.5", "-3.0001"]),
        st.one_of(st.just(""), days),
    ),
    "INVENTORY": st.builds(
        lambda *cells: list(cells),
        items,
        st.sampled_from(["S1", "s1", "S2"]),
        words,
        st.sampled_from(["L1", "L2"]),
        words,
        st.sampled_from(["1", "7.25", ""]),
    ),
    "ORDERS": st.builds(
        lambda number, line, who, day, qty, status: order(
            number, line, customer_number=who, date=day, qty=qty, status=status
        ),
        st.sampled_from(["O1", "O2"]),
        st.sampled_from(["1", "2"]),
        customers,
        days,
        st.sampled_from(["1", "2", "3", "x"]),
        st.sampled_from(["O", "C", "X"]),
    ),
}


# Much happens only where the same few keys come again and again; so most histories are of few APIs.
FAMILIES = [
    ["CATEGORY"],
    ["MFG_ITEMS"],
    ["MFG_ITEMS", "BASE_PRICES"],
    ["CUSTOMERS", "ORDERS"],
    ["CUSTOMERS", "ENDUSERS", "CONTACTS"],
    ["CUSTOMERS", "ORDERS", "RMAS", "SHIPMENTS"],
    sorted(ROWS),
]


def cells(api: str, **given: str) -> list[str]:
    """A row of an API, by column."""
    return [given.pop(field.column, "") for field in CATALOG[api].fields]


ROWS |= {
    "ENDUSERS": st.builds(
        lambda own, name: cells("ENDUSERS", enduser_number=own, enduser_name=name), customers, words
    ),
    "CONTACTS": st.builds(
        lambda own, company, kind: cells(
            "CONTACTS", contact_number=own, display_name="x", company_number=company, business_type=kind
        ),
        st.sampled_from(["P1", "P2"]),
        customers,
        st.sampled_from(["C", "E", "E", "?"]),
    ),
    # The fields of ORDERS, and one more.
    "RMAS": ROWS["ORDERS"].map(lambda row: [*row, ""]),
    "SHIPMENTS": st.builds(
        lambda own, line, number, kind: cells(
            "SHIPMENTS",
            shipper_number=own,
            ship_line_no=line,
            order_number=number,
            order_item_number="1",
            order_type=kind,
            ship_uom="EA",
        ),
        st.sampled_from(["S1", "S2"]),
        st.sampled_from(["1", "2"]),
        st.sampled_from(["O1", "O2"]),
        st.sampled_from(["S", "C", "R"]),
    ),
}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[File], list[tuple[File, int]], list[bool]]:
    """Files in the order in which they were made; the order in which they load, each with how many of its
    fixes have come by then; which load died before."""
    files: list[File] = []
    versions = {1: 0, 2: 0}
    apis = draw(st.sampled_from(FAMILIES))
    streams = draw(st.sampled_from([[1], [1, 2]]))
    for number in range(1, draw(st.integers(2, 9)) + 1):
        api = draw(st.sampled_from(apis))
        stream = draw(st.sampled_from(streams))
        versions[stream] += 1
        mode = draw(st.sampled_from(["NET", "NET", "FULL"]))
        rows = draw(st.lists(ROWS[api], min_size=1, max_size=4))
        fix = st.dictionaries(st.integers(1, len(rows)), ROWS[api].map(tuple), min_size=1, max_size=2)
        fixes = tuple(draw(st.lists(fix, max_size=3)))
        files.append(File(number, api, stream, versions[stream], mode, tuple(map(tuple, rows)), fixes))
    again = draw(st.lists(st.sampled_from(files), max_size=5))
    arrived: list[tuple[File, int]] = []
    for file in reversed(draw(st.permutations([*files, *again]))):
        # Whenever a fix comes, its file is loaded again; so the last load has them all.
        later = [fixes for other, fixes in arrived if other is file]
        came = draw(st.integers(0, later[-1])) if later else len(file.fixes)
        arrived.append((file, came))
    arrived.reverse()
    return files, arrived, draw(st.lists(st.booleans(), min_size=len(arrived), max_size=len(arrived)))


def state(store: Store, connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """All tables cell by cell, but for the ids of files and the times."""
    found = {}
    for name in TABLES:
        columns = (*CATALOG.tables[name].columns, "stream", "version", "line", "active")
        found[name] = store.rows(name, *columns, connection=connection)
    found["parked"] = store.rows(
        "inbox_parked_row",
        "api, stream, version, line, row_key, waits_table, waits_key, row_values, raw",
        connection=connection,
    )
    found["rejected"] = store.rows(
        "inbox_rejected_row", "file_id, line, field, reason, raw", connection=connection
    )
    return found


@settings(
    max_examples=max(120, settings().max_examples),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories())
def test_files_in_any_order_and_number_end_in_the_tables_of_their_sequence(
    store: Store, history: tuple[list[File], list[tuple[File, int]], list[bool]]
) -> None:
    made, arrived, deaths = history
    with store.undone() as connection:
        for file in sorted(made, key=lambda f: (CATALOG.level(f.api), RANKS[f.stream], f.version)):
            file.load(store, connection)
        expected = state(store, connection)
    parked: dict[int, int] = {}
    with store.undone() as connection:
        for (file, fixes), dies in zip(arrived, deaths, strict=True):
            if dies:
                before = connection.begin_nested()
                file.load(store, connection, fixes)
                before.rollback()
            outcome = file.load(store, connection, fixes)
            assert outcome.rows_read == len(file.rows)
            assert outcome.rows_read == outcome.rows_loaded + outcome.rows_rejected + outcome.rows_parked
            parked[file.number] = outcome.rows_parked
            for number, rows in outcome.unparked.items():
                parked[number] -= rows
        assert state(store, connection) == expected
        still = store.rows("inbox_parked_row", "file_id", connection=connection)
    assert parked == {file.number: still.count((file.number,)) for file in made}
    for name, rows in model(made).items():
        wanted = [row[:5] for row in expected[name]] if name == "parked" else expected[name]
        assert wanted == rows, name


@settings(
    max_examples=settings().max_examples // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories())
def test_rows_that_are_not_in_end_where_their_whole_files_would_if_they_alone_are_loaded_again(
    store: Store, history: tuple[list[File], list[tuple[File, int]], list[bool]]
) -> None:
    """Blanks at the ends of rows are left out, which their source is allowed (`ragged`) only later."""
    _, arrived, _ = history
    ends = []
    for rows_alone in (False, True):
        with store.undone() as connection:
            for file, fixes in arrived:
                file.load(store, connection, fixes, content=_ragged(file))
            outcomes = []
            for file, _ in arrived[::-1]:
                not_in = _not_in(store, connection, file) if rows_alone else None
                how: dict[str, Any] = {"content": _ragged(file), "ragged": True, "lines": not_in}
                outcomes.append(file.load(store, connection, **how))
            ends.append(
                (state(store, connection), [(outcome.rows_read, outcome.tried) for outcome in outcomes])
            )
    assert ends[0] == ends[1]


def _ragged(file: File) -> str:
    # The key stays a cell of its own, or a line might be none.
    return "".join(f"{row[0]}\t" + "\t".join(row[1:]).rstrip("\t") + "\n" for row in file.rows)


def _not_in(store: Store, connection: Connection, file: File) -> set[int]:
    return {
        line
        for table in ("inbox_rejected_row", "inbox_parked_row")
        for number, line in store.rows(table, "file_id", "line", connection=connection)
        if number == file.number and isinstance(line, int)
    }


# --- the model ---------------------------------------------------------------------------------------


def model(files: Sequence[File]) -> dict[str, list[tuple[object, ...]]]:
    """What the tables must hold, by going through the rows of all files at once."""
    read = [
        ((RANKS[file.stream], file.stream, file.version, line), file, row)
        for file in files
        for line, cells in enumerate(file.rows, 1)
        for row in as_sent_and_mended(file, line, cells)
    ]
    good = [(mark, file.api, row.values) for mark, file, row in read if not row.refused]
    tables: dict[str, dict[tuple[Any, ...], tuple[Any, Row]]] = {name: {} for name in TABLES}
    for mark, api, values in sorted(good, key=lambda g: g[0], reverse=True):
        for reference in CATALOG[api].referring(ReferenceKind.CREATE):
            row = {column: values[source] for column, source in reference.sources.items()}
            key = tuple(row[column] for column in reference.parent_key)
            if None not in key:
                tables[reference.parent][key] = (mark, row)
    waiting = sorted(good, key=lambda g: g[0])
    while True:
        inside = [g for g in waiting if parents_are_there(g, tables)]
        if not inside:
            break
        waiting = [g for g in waiting if g not in inside]
        for mark, api, values in inside:
            for table in CATALOG[api].tables:
                key = tuple(values[column] for column in table.key)
                if key not in tables[table.name] or tables[table.name][key][0] < mark:
                    tables[table.name][key] = (mark, {c: values[c] for c in table.columns})
    left = []
    for mark, api, values in waiting:
        specific = CATALOG[api].most_specific
        key = tuple(values[column] for column in specific.key)
        if key not in tables[specific.name] or tables[specific.name][key][0] < mark:
            left.append((api, *mark[1:], json.dumps(key)))
    found = {
        name: sorted(
            (
                (*row.values(), *mark[1:], is_active(name, key, mark[1], read))
                for key, (mark, row) in rows.items()
            ),
            key=repr,
        )
        for name, rows in tables.items()
    }
    return {**found, "parked": sorted(left, key=repr)}


def as_sent_and_mended(file: File, line: int, cells: Sequence[str]) -> list["Read"]:
    """A row; while it is refused and there are fixes of it, these too (E3)."""
    said = [tuple(cells)]
    for fix in file.fixes:
        if line in fix and fix[line] not in said and understood(file.api, said[-1]).refused:
            said.append(fix[line])
    return [understood(file.api, row) for row in said]


def is_active(table: str, key: tuple[Any, ...], stream: int, read: Sequence[tuple[Any, File, "Read"]]) -> int:
    """L7.2 and L7.5, word for word."""
    api = CATALOG.api_of_table.get(table)
    if api is None:
        return 1
    columns = CATALOG.tables[table].key
    mentions = [
        (tuple(row.values.get(column) for column in columns), file.version)
        for _, file, row in read
        if file.api == api.name and file.stream == stream
        if not row.refused or (file.mode == "FULL" and row.refused.isdisjoint(columns))
    ]
    newest = max(version for mentioned, version in mentions if mentioned == key)
    fulls = [f.version for _, f, _ in read if (f.api, f.stream, f.mode) == (api.name, stream, "FULL")]
    if api.full_absent == "deactivate" and newest < max(fulls, default=0):
        return 0
    if table in ("order_lines", "rma_lines"):
        of_line = [version for mentioned, version in mentions if mentioned[:2] == key[:2]]
        return int(newest == max(of_line))
    return 1


def parents_are_there(good: tuple[Any, str, Row], tables: dict[str, dict[tuple[Any, ...], Any]]) -> bool:
    _, api, values = good
    for reference in CATALOG[api].referring(ReferenceKind.PARK):
        parent = values[reference.columns[0]]
        own = values[CATALOG[api].most_specific.key[0]] if reference.is_self else None
        if parent is not None and parent != own and (parent,) not in tables[reference.parent]:
            return False
    return True


@dataclass(frozen=True)
class Read:
    """A row with its values, and the columns that hold none."""

    values: Row
    refused: frozenset[str]


def understood(api: str, cells: Sequence[str]) -> Read:
    """The values of a row; only the few kinds of bad cells that are made up above are known here."""
    values: Row = {}
    refused = set()
    for field, cell in zip(CATALOG[api].fields, cells, strict=False):
        value: Any = cell or None
        if cell and field.type == "integer":
            value = int(cell) if cell.isdigit() else None
        elif cell and field.type in ("money", "decimal"):
            whole, _, decimals = cell.partition(".")
            value = f"{whole}.{decimals:0<4}"
        elif cell and field.type == "datetime":
            value = f"{cell} 00:00:00"
        elif field.key and not cell:
            value = "0001-01-01" if field.type == "date" else ""
        elif (field.type == "string" and len(cell) > (field.length or 0)) or (
            field.codes and not field.open_codes and cell not in field.codes
        ):
            value = None
        if cell and value is None:
            refused.add(field.column)
        values[field.column] = value
    for field in CATALOG[api].fields[len(cells) :]:
        values[field.column] = None
    parents = {
        part.field.column: values[part.source] if values[part.when.column] in part.when.values else None
        for part in CATALOG[api].derived
    }
    values |= parents
    return Read(values, frozenset(refused))
