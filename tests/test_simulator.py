"""The simulated ERP: the same seed makes the same company, and a company that makes sense.

Everything that is shown with simulated files rests on this: that nothing may be parked at the end, because
nothing refers to what was not exported before it, and that two runs send the same bytes.
"""

import hashlib
import io
import itertools
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

from loaders import tabular
from loaders.catalog import read_catalog
from loaders.fields import Checker
from loaders.options import SourceOptions
from loaders.shapes import Catalog, ReferenceKind
from server.names import Mode, parse
from server.simulator import (
    Disturbed,
    Export,
    Mishaps,
    Plan,
    PushFailed,
    Reply,
    Server,
    delivery,
    into_folder,
    over_ftp,
    push,
    simulate,
    write,
)
from server.simulator.faults import FaultKind
from server.simulator.profiles import PROFILES

CATALOG = read_catalog()
APIS = [api.name for api in sorted(CATALOG.values(), key=lambda api: (api.level, api.name))]

plans = st.builds(
    Plan,
    seed=st.integers(0, 1000),
    files=st.integers(1, 120),
    days=st.integers(1, 50),
    rows_per_file=st.integers(1, 12),
    fulls=st.booleans(),
)


def values(export: Export, row: dict[str, str], columns: Iterable[str]) -> tuple[str, ...]:
    """What a row says in some columns of its table, derived ones too; "" where that is NULL."""
    api = CATALOG[export.file.api]
    by_column = {field.column: row[field.name] for field in api.fields}
    for part in api.derived:
        holds = by_column[part.when.column] in part.when.values
        by_column |= {part.field.column: by_column[part.source] if holds else ""}
    return tuple(by_column[column] for column in columns)


def key(export: Export, row: dict[str, str]) -> tuple[str, ...]:
    return values(export, row, CATALOG[export.file.api].most_specific.key)


# --- the same seed makes the same company ---


@given(plans)
def test_the_same_plan_makes_the_same_bytes(plan: Plan) -> None:
    first = [(export.name, export.data) for export in simulate(plan)]
    assert [(export.name, export.data) for export in simulate(plan)] == first
    assert len(first) == plan.files


def test_another_process_makes_the_same_bytes() -> None:
    # Sets and dictionaries that leak their hash order would differ here.
    program = (
        "import hashlib; from server.simulator import Plan, simulate;"
        "print(hashlib.sha256(b''.join(e.data for e in simulate(Plan(seed=5)))).hexdigest())"
    )
    here = hashlib.sha256(b"".join(export.data for export in simulate(Plan(seed=5)))).hexdigest()
    for hash_seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == here


def test_another_seed_makes_another_company() -> None:
    one, other = (b"".join(e.data for e in simulate(Plan(seed=seed))) for seed in (1, 2))
    assert one != other


@given(plans)
def test_bytes_asked_for_in_any_order_are_the_same(plan: Plan) -> None:
    exports = list(simulate(plan))
    backwards = [export.data for export in reversed(exports)]
    assert [export.data for export in exports] == backwards[::-1]


# --- names ---


@given(plans, st.sampled_from([1, 17, 9_999_990]))
def test_names_follow_the_grammar_and_numbers_go_on_by_one(plan: Plan, first: int) -> None:
    names = [parse(e.name) for e in simulate(Plan(seed=plan.seed, files=plan.files, first_sequence=first))]
    assert [str(name) for name in names] == [
        e.name for e in simulate(Plan(seed=plan.seed, files=plan.files, first_sequence=first))
    ]
    assert {(name.source, name.integration) for name in names} == {("DT", "KS")}
    for before, after in itertools.pairwise(names):
        assert after.sequence == (1 if before.sequence == 9_999_999 else before.sequence + 1)


def test_the_first_day_begins_with_everything_of_each_api_as_a_net_parents_first() -> None:
    names = [export.file for export in simulate(Plan(files=60))]
    assert [name.api for name in names[: len(APIS)]] == APIS
    assert {name.mode for name in names} == {Mode.NET}


def test_fulls_of_all_master_data_come_every_night_if_wanted() -> None:
    exports = [export.file for export in simulate(Plan(files=400, days=4, fulls=True))]
    nightly = Counter(file.api for file in exports if file.mode is Mode.FULL)
    assert nightly == {api.name: 3 for api in CATALOG.values() if api.deactivates}
    assert {file.mode for file in exports[: len(APIS)]} == {Mode.NET}


@pytest.mark.parametrize("wrong", [{"files": 0}, {"days": 0}, {"rows_per_file": 0}])
def test_an_empty_plan_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        next(simulate(Plan(**wrong)))  # type: ignore[arg-type] # all three are integers


# --- rows that the catalog allows ---


@given(plans, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_the_loaders_take_every_row(plan: Plan, end_of_line: str, header: bool) -> None:
    for export in simulate(replace(plan, end_of_line=end_of_line, header=header)):
        assert taken(export, CATALOG) == export.count_rows()


def taken(export: Export, catalog: Catalog) -> int:
    """How many rows the loaders find in an export, all of them good."""
    fields = catalog[export.file.api].fields
    rows = 0
    for batch in tabular.read(io.BytesIO(export.data), [field.name for field in fields], SourceOptions()):
        assert list(batch.refused) == [], export.name
        _, refusals = Checker(fields, SourceOptions()).check(batch.columns)
        assert refusals == {}, export.name
        rows += len(batch.texts)
    return rows


def test_every_field_says_something_somewhere() -> None:
    silent = {(api.name, field.name) for api in CATALOG.values() for field in api.fields}
    for export in simulate(Plan(files=300)):
        for row in export.rows():
            silent -= {(export.file.api, name) for name, value in row.items() if value}
        if not silent:
            break
    assert silent == set()


# What a site's catalog may have that ours has not: keys of all types, of codes or of a parent alone, texts
# that are too short for our words, references to numbers, three parts below a header.
SITE = {
    "MODELS": """
        api = "MODELS"
        purpose = "one for each item"
        level = 3
        full_absent = "deactivate"
        origin = "assumed"
        table = [{ name = "models", key = ["Item"] }]
        reference = [{ kind = "park", fields = ["Item"], table = "mfg_items" }]
        field = [
            { ordinal = 1, name = "Item", type = "string", length = 25, required = true },
            { ordinal = 2, name = "City", type = "string", length = 1, required = true },
            { ordinal = 3, name = "Unit Price", type = "decimal", precision = 3, scale = 1 },
            { ordinal = 4, name = "Quantity", type = "integer", length = 1, required = true },
            { ordinal = 5, name = "Status", type = "string", length = 9, codes = { NEW = "", OLD = "" } },
        ]
    """,
    "SWITCHES": """
        api = "SWITCHES"
        purpose = "as many as there are codes"
        level = 1
        full_absent = "deactivate"
        origin = "assumed"
        table = [{ name = "switches", key = ["Kind", "State"] }]
        field = [
            { ordinal = 1, name = "Kind", type = "string", length = 1, codes = { A = "", B = "" } },
            { ordinal = 2, name = "State", type = "string", length = 1, codes = { X = "", Y = "", Z = "" } },
        ]
    """,
    "SCALES": """
        api = "SCALES"
        purpose = "counted by numbers"
        level = 2
        full_absent = "keep"
        origin = "assumed"
        table = [{ name = "scales", key = ["Step"] }]
        reference = [{ kind = "create", fields = ["Made"], table = "made", key = ["made"] }]
        field = [
            { ordinal = 1, name = "Step", type = "decimal", precision = 3, scale = 1 },
            { ordinal = 2, name = "Made", type = "string", length = 2, required = true },
        ]
    """,
    "LAYERS": """
        api = "LAYERS"
        purpose = "deep"
        level = 9
        full_absent = "keep"
        net_scope = "line"
        origin = "assumed"
        table = [
            { name = "layers", key = ["Number"], fields = ["Number", "Step", "Name"] },
            { name = "layer_parts", key = ["Number", "Part", "Piece"], header = "layers", fields = [
                "Number", "Part", "Piece", "Note",
            ] },
        ]
        reference = [{ kind = "keep", fields = ["Step"], table = "scales" }]
        field = [
            { ordinal = 1, name = "Number", type = "integer", length = 2, required = true },
            { ordinal = 2, name = "Part", type = "string", length = 3, required = true },
            { ordinal = 3, name = "Piece", type = "integer", length = 1, required = true },
            { ordinal = 4, name = "Step", type = "decimal", precision = 3, scale = 1 },
            { ordinal = 5, name = "Name", type = "string", length = 3 },
            { ordinal = 6, name = "Note", type = "string", length = 5, required = true },
        ]
    """,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Our catalog with APIs of a site, and without some of ours."""
    folder = tmp_path_factory.mktemp("apis")
    for item in (files("loaders") / "apis").iterdir():
        if item.name not in {"commissions.toml", "classifications.toml"}:
            text = item.read_text(encoding="utf-8")
            if item.name == "contacts.toml":
                reference = (
                    '[[reference]]\nkind = "keep"\nfields = ["Contact Class"]\ntable = "classifications"\n'
                )
                assert reference in text
                text = text.replace(reference, "")
            (folder / item.name).write_text(text, encoding="utf-8")
    for name, text in SITE.items():
        (folder / f"{name.lower()}.toml").write_text(text, encoding="utf-8")
    return read_catalog(folder)


@given(plans)
def test_a_site_s_own_apis_are_simulated_from_what_its_catalog_says(site: Catalog, plan: Plan) -> None:
    keys: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for export in simulate(replace(plan, files=plan.files + len(site)), site):
        assert taken(export, site) == export.count_rows()
        api = site[export.file.api]
        names = {field.column: field.name for field in api.fields}
        found = [tuple(row[names[column]] for column in api.most_specific.key) for row in export.rows()]
        assert len(set(found)) == len(found), export.name
        keys[api.name].update(found)
    assert set(keys) == set(site)
    assert len(keys["SWITCHES"]) <= 8


# --- a company that makes sense ---


@given(plans)
def test_what_a_row_must_refer_to_was_exported_before_it(plan: Plan) -> None:
    exported: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for export in simulate(plan):
        api = CATALOG[export.file.api]
        rows = list(export.rows())
        for table in api.tables:
            exported[table.name].update(values(export, row, table.key) for row in rows)
        for reference in api.referring(ReferenceKind.PARK):
            for row in rows:
                parent = values(export, row, reference.columns)
                assert parent == ("",) or parent in exported[reference.parent], (export.name, reference)


def test_most_of_what_a_row_may_refer_to_exists_too() -> None:
    exported: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    joined: Counter[tuple[str, str]] = Counter()
    unjoined: Counter[tuple[str, str]] = Counter()
    for export in simulate(Plan(files=200, rows_per_file=40)):
        api = CATALOG[export.file.api]
        rows = list(export.rows())
        for table in api.tables:
            exported[table.name].update(values(export, row, table.key) for row in rows)
        for reference in api.referring(ReferenceKind.KEEP):
            for row in rows if len(reference.columns) == 1 else []:
                what = api.name, reference.columns[0]
                if (
                    reference.when
                    and values(export, row, [reference.when.column])[0] not in reference.when.values
                ):
                    continue
                parent = values(export, row, reference.columns)
                (joined if parent in exported[reference.parent] else unjoined)[what] += parent != ("",)
    for what in joined:
        assert joined[what] > 9 * unjoined[what], what
    assert sum(unjoined.values()) > 0, "the store has to meet texts that it does not know"


@given(plans)
def test_nothing_is_above_itself(plan: Plan) -> None:
    for name, parent_name in (("CATEGORY", "Parent Category"), ("REGIONS", "Parent Region ID")):
        parent = {
            key(export, row)[0]: row[parent_name]
            for export in simulate(plan)
            if export.file.api == name
            for row in export.rows()
        }
        for one in parent:
            seen = {one}
            above = one
            while above := parent.get(above, ""):
                assert above not in seen
                seen.add(above)


@given(plans)
def test_no_key_is_twice_in_one_file(plan: Plan) -> None:
    for export in simulate(plan):
        keys = Counter(key(export, row) for row in export.rows())
        assert keys.most_common(1)[0][1] == 1, export.name


@given(plans)
def test_a_net_has_the_rows_that_were_asked_for_where_there_are_so_many(plan: Plan) -> None:
    known: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for export in simulate(plan):
        rows = [key(export, row) for row in export.rows()]
        known[export.file.api].update(rows)
        assert rows, export.name
        if export.file.mode is Mode.NET:
            # New orders and changed ones are whole: four rows at most, of which one was wanted.
            assert len(rows) <= plan.rows_per_file + 6, export.name


def test_an_order_keeps_its_customer_and_is_exported_with_all_its_lines() -> None:
    facts: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    lines: dict[str, set[tuple[tuple[str, str], ...]]] = defaultdict(set)
    for export in simulate(Plan(files=200, rows_per_file=20)):
        if export.file.api != "ORDERS":
            continue
        in_file: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in export.rows():
            facts[row["SO Number"]].add((row["Customer Number"], row["Order Date"], row["Purchase Order"]))
            in_file[row["SO Number"]].append((row["SO Item Number"], row["Part Number"]))
        for order, mentioned in in_file.items():
            lines[order].add(tuple(mentioned))
    assert len(facts) > 20
    assert all(len(seen) == 1 for seen in facts.values())
    assert all(len(seen) == 1 for seen in lines.values())


def test_documents_agree_with_what_they_come_from() -> None:
    orders: dict[str, tuple[str, dict[str, str]]] = {}
    shipped: dict[str, tuple[str, str]] = {}
    met: Counter[str] = Counter()
    for export in simulate(Plan(files=150, rows_per_file=60)):
        for row in export.rows():
            match export.file.api:
                case "ORDERS" | "RMAS":
                    parts = orders.setdefault(row["SO Number"], (row["Customer Number"], {}))[1]
                    parts[row["SO Item Number"]] = row["Part Number"]
                case "SHIPMENTS" | "RMA_RECEIPTS":
                    assert orders[row["Order Number"]][1][row["Order Item Number"]] == row["Part Number"]
                    number = row.get("Shipper Number") or row["Receipt Number"]
                    shipped[number] = (row["Order Type"], row["Order Number"])
                    met[row["Order Type"]] += 1
                case "INVOICES":
                    delivery = shipped.get(row["Delivery Number"])
                    if delivery is not None:
                        assert delivery == (row["Order Type"], row["Order Number"])
                        assert orders[row["Order Number"]][0] == row["Customer Number"]
                        met["invoices"] += 1
                    elif not row["Order Type"]:
                        assert not row["Order Number"], "one that was written by hand has no order"
                        met["by hand"] += 1
    assert set(met) == {"S", "C", "R", "invoices", "by hand"}


def test_every_api_has_several_net_changes_with_new_and_with_changed_rows() -> None:
    known: dict[str, dict[tuple[str, ...], dict[str, str]]] = defaultdict(dict)
    new: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    for export in simulate(Plan(files=600, days=5)):
        api = export.file.api
        for row in export.rows():
            before = known[api].get(key(export, row))
            new[api] += before is None
            changed[api] += before is not None and before != row
            known[api][key(export, row)] = row
    # Of currencies and the like a company has only a few; the initial load had them all.
    few = {api for api in APIS if new[api] <= 50}
    assert few <= {api for api, profile in PROFILES.items() if profile.most is not None}
    # These are nothing but a key, and the item that it stands for.
    assert [api for api in APIS if not changed[api]] == ["COMPETITOR_XREFS", "CUST_PARTS"]


def test_a_full_repeats_what_the_last_net_said_of_each_row_and_leaves_out_a_few() -> None:
    known: dict[str, dict[tuple[str, ...], tuple[str, ...]]] = defaultdict(dict)
    left_out: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    fulls = 0
    for export in simulate(Plan(files=700, rows_per_file=40, days=6, fulls=True, header=True)):
        api = export.file.api
        rows = {key(export, row): tuple(row.values()) for row in export.rows()}
        assert not rows.keys() & left_out[api], "what was discontinued does not come back"
        if export.file.mode is Mode.FULL:
            fulls += 1
            gone = known[api].keys() - rows.keys()
            assert rows == {key: row for key, row in known[api].items() if key not in gone}
            new_gone = len(gone - left_out[api])
            assert new_gone <= max(3, len(known[api]) * 0.1)
            left_out[api] |= gone
        known[api] |= rows
    assert fulls > 100
    assert sum(map(len, left_out.values())) > 50


def test_order_lines_move_to_other_dates_and_orders_are_closed() -> None:
    dates: dict[tuple[str, str], set[str]] = defaultdict(set)
    statuses: dict[str, list[str]] = defaultdict(list)
    for export in simulate(Plan(files=300)):
        if export.file.api == "ORDERS":
            for row in export.rows():
                dates[row["SO Number"], row["SO Item Number"]].add(row["Schedule Date"])
                statuses[row["SO Number"]].append(row["Status"])
    assert max(len(seen) for seen in dates.values()) > 3
    assert {status for seen in statuses.values() for status in seen} == {"O", "C", "X"}
    for seen in statuses.values():
        first_end = next((i for i, status in enumerate(seen) if status != "O"), len(seen))
        assert len(set(seen[first_end:])) <= 1, "what is closed stays closed"


def test_customers_move() -> None:
    cities: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for export in simulate(Plan(files=800, rows_per_file=20)):
        if export.file.api == "CUSTOMERS":
            for row in export.rows():
                cities[row["Customer Number"]].add((row["City"], row["Zip Code"]))
    assert max(len(seen - {("", "")}) for seen in cities.values()) > 1


def test_days_pass() -> None:
    days = {
        datetime.strptime(row["Order Date"][:10], "%m-%d-%Y").date()  # noqa: DTZ007 - a date is wanted
        for export in simulate(Plan(files=300, days=4))
        if export.file.api == "ORDERS"
        for row in export.rows()
        if row["Order Date"]
    }
    assert days == {date(2026, 1, day) for day in (5, 6, 7, 8)}


def test_the_values_are_those_that_break_loaders() -> None:
    rows = [(e.file.api, row) for e in simulate(Plan(files=150)) for row in e.rows()]
    found = {value for _, row in rows for value in row.values()}
    for hard in ('3/4" x 10"', "ü", "Ł", "螺", "🔩", "\\N", "C:\\new", "%", "'", "--"):
        assert any(hard in value for value in found), hard
    assert any(value != value.rstrip() for value in found)
    assert any(value != value.lstrip() for value in found)
    assert "" in found
    assert any(int(row["Schedule Qty"]) < 0 for api, row in rows if api == "ORDERS")
    decimals = {len(row["Base Price"].partition(".")[2]) for api, row in rows if api == "BASE_PRICES"}
    assert decimals == {2, 3, 4}
    assert not any(control in value for value in found for control in "\t\r\n\0")


# --- the file's form ---


@pytest.mark.parametrize("end_of_line", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [False, True])
def test_a_file_s_lines_are_equally_wide_and_ended(end_of_line: str, header: bool) -> None:
    surplus = []
    for export in simulate(Plan(files=60, end_of_line=end_of_line, header=header)):
        text = export.data.decode("utf-8")
        lines = text.split(end_of_line)
        assert lines.pop() == ""
        assert len({line.count("\t") for line in lines}) == 1
        assert ("\r" in text) == (end_of_line == "\r\n")
        rows = list(export.rows())
        assert len(lines) == len(rows) + header
        names = [field.name for field in CATALOG[export.file.api].fields]
        for row, line in zip(rows, lines[header:], strict=True):
            cells = line.split("\t")
            assert cells[: len(names)] == [row[name] for name in names][: len(cells)]
        surplus.append(lines[0].count("\t") + 1 - len(names))
    if header:
        assert set(surplus) == {0}
    else:
        assert min(surplus) < 0 < max(surplus), "some exporters are older than the catalog, some newer"
        assert surplus.count(0) > 40


def test_a_header_names_the_cells_below_it() -> None:
    export = next(simulate(Plan(header=True)))
    header, *lines = [line.split("\t") for line in export.data.decode().splitlines()]
    assert header[0] == "Category ID"
    for row, cells in zip(export.rows(), lines, strict=True):
        assert {field: value for field, value in zip(header, cells, strict=True) if value} == {
            field: value for field, value in row.items() if value
        }


# --- any size ---


def test_an_export_is_a_recipe_of_the_same_size_for_any_number_of_rows() -> None:
    for export in simulate(Plan(files=80, rows_per_file=20_000, fulls=True)):
        assert len(pickle.dumps((export.file, export.recipe, export.faults))) < 1000


def test_what_is_held_does_not_grow_with_files_or_rows() -> None:
    def peak(plan: Plan, api: str | None = None) -> int:
        """The most bytes held at once while files of a plan are made and none kept."""
        tracemalloc.start()
        for export in simulate(plan, CATALOG):
            if api in {None, export.file.api}:
                for _ in export.chunks():
                    pass
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    assert peak(Plan(files=400, rows_per_file=3)) < peak(Plan(files=40, rows_per_file=3)) + 100_000
    few, many = (peak(Plan(files=40, rows_per_file=rows), "CUSTOMERS") for rows in (1500, 6000))
    assert many < few + 100_000


def test_a_file_of_many_chunks_holds_every_row_once() -> None:
    [export] = [e for e in simulate(Plan(files=20, rows_per_file=3000)) if e.file.api == "CUSTOMERS"]
    assert len(list(export.chunks())) > 2
    numbers = [line.split("\t")[0] for line in export.data.decode().splitlines()]
    assert numbers == [row["Customer Number"] for row in export.rows()]
    assert len(numbers) == 3000


def test_a_huge_file_of_a_huge_plan_begins_at_once() -> None:
    export = next(simulate(Plan(files=10**7, rows_per_file=10**9)))
    chunks = export.chunks()
    assert len(next(chunks)) < 2**18
    assert next(chunks).startswith(b"CAT-")


# --- delivery ---


def test_written_files_are_whole_and_in_order(tmp_path: Path) -> None:
    exports = list(simulate(Plan(files=9)))
    paths = list(write(iter(exports), tmp_path / "new" / "folder"))
    assert [path.name for path in paths] == [export.name for export in exports]
    assert sorted(paths) == sorted((tmp_path / "new" / "folder").iterdir())
    for export, path in zip(exports, paths, strict=True):
        assert path.read_bytes() == export.data


@contextmanager
def ftp_server(
    folder: Path, permissions: str = "elrw", **handler_methods: Callable[..., Any]
) -> Iterator[Server]:
    """A plain FTP server that is none of ours, on a thread."""
    authorizer = DummyAuthorizer()
    authorizer.add_user("trial", "secret", str(folder), perm=permissions)
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer, "auth_failed_timeout": 0})
    for name, method in handler_methods.items():
        setattr(handler, name, method)
    loop = IOLoop()
    ftp = FTPServer(("127.0.0.1", 0), handler, ioloop=loop)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            loop.loop(timeout=0.02, blocking=False)
        ftp.close_all()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Server("127.0.0.1", ftp.address[1], "trial", "secret", timeout_seconds=10)
    finally:
        stop.set()
        thread.join()


def test_one_connection_sends_in_order(tmp_path: Path) -> None:
    exports = list(simulate(Plan(files=10)))
    seen: list[Reply] = []
    with ftp_server(tmp_path) as server:
        replies = push(iter(exports), server, on_reply=seen.append)
    assert [reply.name for reply in replies] == [export.name for export in exports]
    assert seen == replies
    assert all(reply.accepted and reply.seconds > 0 for reply in replies)


def test_eight_connections_send_every_file_once_in_a_shuffled_order(tmp_path: Path) -> None:
    exports = list(simulate(Plan(files=40)))
    with ftp_server(tmp_path) as server:
        replies = push(exports, server, connections=8, shuffle_seed=3)
    assert all(reply.accepted for reply in replies)
    assert Counter(reply.name for reply in replies) == Counter(export.name for export in exports)
    assert [reply.name for reply in replies] != sorted(reply.name for reply in replies)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        export.name: export.data for export in exports
    }


def test_many_files_are_shuffled_without_being_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SHUFFLED_AT_ONCE", 10)
    taken = 0

    def exports() -> Iterator[Export]:
        nonlocal taken
        for export in simulate(Plan(files=100)):
            taken += 1
            yield export

    order = []
    for sent, export in enumerate(delivery.shuffled(exports(), 1)):
        assert taken <= sent + 11
        order.append(export.name)
    names = [export.name for export in simulate(Plan(files=100))]
    assert order != names
    assert sorted(order) == sorted(names)


def test_the_seed_of_the_shuffle_fixes_the_order(tmp_path: Path) -> None:
    with ftp_server(tmp_path) as server:
        orders = [
            [reply.name for reply in push(simulate(Plan(files=12)), server, shuffle_seed=seed)]
            for seed in (7, 7, 8)
        ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_a_refusal_is_that_files_reply(tmp_path: Path) -> None:
    with ftp_server(tmp_path, permissions="el") as server:
        replies = push(simulate(Plan(files=3)), server)
    assert len(replies) == 3
    assert all(reply.text.startswith("550") and not reply.accepted for reply in replies)


def test_a_connection_that_is_lost_is_that_files_reply_and_the_rest_is_sent(tmp_path: Path) -> None:
    def hang_up_on_competitors(handler: Any, file: str, mode: str = "w") -> Any:
        if "COMPETITORS" in file:
            handler.close()
            return None
        return FTPHandler.ftp_STOR(handler, file, mode)

    with ftp_server(tmp_path, ftp_STOR=hang_up_on_competitors) as server:
        replies = push(simulate(Plan(files=6)), server)
    assert [reply.accepted for reply in replies] == [True, True, False, True, True, True]
    assert replies[2].text.startswith("connection lost: ")


def test_a_farewell_ends_the_session_and_the_rest_is_sent_in_another(tmp_path: Path) -> None:
    def farewell(handler: Any, file: str, mode: str = "w") -> Any:
        if "COMPETITORS" in file:
            handler.respond("421 Closing.")
            handler.close_when_done()
            return None
        return FTPHandler.ftp_STOR(handler, file, mode)

    with ftp_server(tmp_path, ftp_STOR=farewell) as server:
        replies = push(simulate(Plan(files=6)), server)
    assert [reply.text[:3] for reply in replies] == ["226", "226", "421", "226", "226", "226"]


def test_a_wrong_password_is_told_without_a_traceback(tmp_path: Path) -> None:
    with ftp_server(tmp_path) as server:
        wrong = Server(server.host, server.port, "trial", "wrong")
        with pytest.raises(PushFailed, match=r"No session for trial at .*530 .*[^.]\. See"):
            push(simulate(Plan(files=30)), wrong, connections=4)
    assert list(tmp_path.iterdir()) == []


def test_nobody_listening_is_told_without_a_traceback() -> None:
    with pytest.raises(PushFailed, match="See that the inbox runs"):
        push(simulate(Plan(files=3)), Server("127.0.0.1", 1, "trial", "secret"))


# --- what goes wrong ---

MISHAPS = Mishaps(gaps=3, duplicates=4, conflicts=5, late=6, bad_rows=70)


def test_mishaps_happen_as_often_as_wanted_and_are_told() -> None:
    plan = Plan(files=300, fulls=True)
    whole = {export.name: export for export in simulate(plan)}
    disturbed = Disturbed(plan, MISHAPS)
    first, then = list(disturbed.first()), list(disturbed.then())
    done = disturbed.account
    sent = {export.name: export for export in first}

    assert len(done.missing) == 3
    missing = {export.file.sequence for export in whole.values()} - {e.file.sequence for e in [*first, *then]}
    assert set(done.missing) == missing
    assert len(done.late) == 6
    assert not set(done.late) & set(sent)
    assert sorted(e.name for e in then) == sorted([*done.late, *done.duplicates, *done.conflicts])
    assert done.files == 297
    for export in then:
        if export.name in done.duplicates:
            assert export.data == sent[export.name].data
        elif export.name in done.conflicts:
            assert not export.data.startswith(sent[export.name].data), "that would be the whole of a cut file"
            assert not sent[export.name].data.startswith(export.data)
    assert [len(done.duplicates), len(done.conflicts)] == [4, 5]
    untouched = [
        e for e in whole.values() if e.name in sent and e.name not in {b["name"] for b in done.bad_rows}
    ]
    assert all(sent[export.name].data == export.data for export in untouched)
    initial = {export.name for export in itertools.islice(whole.values(), len(CATALOG))}
    assert not initial & {*done.late, *done.duplicates, *done.conflicts}
    again = Disturbed(plan, MISHAPS)
    assert [e.data for part in (again.first(), again.then()) for e in part] == [
        e.data for e in [*first, *then]
    ]


def test_a_plan_with_too_few_files_for_its_mishaps_is_refused() -> None:
    with pytest.raises(ValueError, match="6 mishaps need as many files, and there are 5"):
        Disturbed(Plan(files=5), Mishaps(gaps=3, late=3))
    disturbed = Disturbed(Plan(files=5), Mishaps(gaps=2, late=3))
    assert list(disturbed.first()) == []
    assert len(list(disturbed.then())) == 3


@settings(max_examples=8)
@given(st.integers(0, 1000), st.booleans())
@example(328, False)
def test_the_loaders_refuse_exactly_the_bad_rows(seed: int, header: bool) -> None:
    plan = Plan(seed=seed, files=80, rows_per_file=10, days=2, fulls=True, header=header)
    disturbed = Disturbed(plan, Mishaps(bad_rows=150))
    refused = []
    for part in (disturbed.first(), disturbed.then()):
        for export in part:
            fields = CATALOG[export.file.api].fields
            names = [field.name for field in fields]
            found: dict[int, tuple[str | None, frozenset[str]]] = {}
            for batch in tabular.read(io.BytesIO(export.data), names, SourceOptions()):
                found |= {reject.line: (None, frozenset[str]()) for reject in batch.refused}
                _, refusals = Checker(fields, SourceOptions()).check(batch.columns)
                found |= {batch.numbers[i]: (r.field, r.columns) for i, r in refusals.items()}
            refused += [(export.name, line, field) for line, (field, _) in sorted(found.items())]
            if export.file.mode is Mode.FULL:
                own_key = set(CATALOG[export.file.api].most_specific.key)
                assert all(field is not None for field, _ in found.values())
                assert all(columns.isdisjoint(own_key) for _, columns in found.values())
    meant = [(bad["name"], bad["line"], bad["field"]) for bad in disturbed.account.bad_rows]
    assert [row[:2] for row in refused] == [row[:2] for row in meant]
    # A row whose only filled cell was emptied is refused as a whole.
    assert all(said[2] in (None, bad[2]) for said, bad in zip(refused, meant, strict=True))
    assert len(refused) == 150


def test_bad_rows_are_bad_in_every_way() -> None:
    disturbed = Disturbed(Plan(files=200), Mishaps(bad_rows=300))
    assert len(list(disturbed.first())) == 200
    assert {bad["fault"] for bad in disturbed.account.bad_rows} == set(FaultKind)


def test_a_run_tells_what_was_done_for_people_and_for_machines(tmp_path: Path) -> None:
    with ftp_server(tmp_path) as server:
        disturbed = Disturbed(Plan(files=60), Mishaps(gaps=1, duplicates=1, conflicts=1, late=1, bad_rows=2))
        run = over_ftp(disturbed, server, 3, 1, on_reply=lambda reply: None)
    account = run.account
    assert run.lines()[:4] == [
        f"never sent: {account.missing[0]:07}",
        f"sent twice: {account.duplicates[0]}",
        f"sent again with other bytes: {account.conflicts[0]}",
        f"sent after all others: {account.late[0]}",
    ]
    assert len(run.lines()) == 6
    bad = account.bad_rows[0]
    assert run.lines()[4].startswith(f"bad row: {bad['name']} line {bad['line']}")
    assert run.record().keys() == {
        "sent", "refused", "conflicts_refused",
        "files", "missing", "duplicates", "conflicts", "late", "bad_rows",
    }  # fmt: skip
    # A plain server takes everything; 59 files, and two of them again.
    assert (run.sent, run.refused, run.conflicts_refused) == (61, 0, 0)


def test_what_comes_late_or_again_is_written_beside_the_others(tmp_path: Path) -> None:
    disturbed = Disturbed(Plan(files=60), Mishaps(gaps=1, duplicates=1, conflicts=1, late=1))
    run = into_folder(disturbed, tmp_path)
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) == 58
    assert {path.name for path in (tmp_path / "afterwards").iterdir()} == {
        *run.account.duplicates, *run.account.conflicts, *run.account.late,
    }  # fmt: skip
