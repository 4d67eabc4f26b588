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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

from loaders import tabular
from loaders.catalog import read_catalog
from loaders.fields import Checker
from loaders.options import SourceOptions
from loaders.shapes import ReferenceKind
from server.names import Mode, parse
from server.simulator import APIS, Export, Plan, PushFailed, Reply, Server, push, simulate, write

KEYS = {
    "CATEGORY": ("Category ID",),
    "CUSTOMERS": ("Customer Number",),
    "MFG_ITEMS": ("Item ID",),
    "BASE_PRICES": ("Item ID", "Price Sheet Code", "Price Basis Code", "Start Date"),
    "INVENTORY": ("Part Number", "Site ID", "Inventory Location"),
    "ORDERS": ("SO Number", "SO Item Number", "Schedule Date"),
}
REFERENCES = {
    "CATEGORY": {"Parent Category": "CATEGORY"},
    "CUSTOMERS": {},
    "MFG_ITEMS": {"Category": "CATEGORY"},
    "BASE_PRICES": {"Item ID": "MFG_ITEMS"},
    "INVENTORY": {"Part Number": "MFG_ITEMS"},
    "ORDERS": {"Customer Number": "CUSTOMERS", "Part Number": "MFG_ITEMS"},
}

plans = st.builds(
    Plan,
    seed=st.integers(0, 1000),
    files=st.integers(1, 40),
    days=st.integers(1, 50),
    rows_per_file=st.integers(1, 12),
)


def key(export: Export, row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row.get(field, "") for field in KEYS[export.file.api])


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


@pytest.mark.parametrize("mode", Mode)
def test_the_first_day_begins_with_one_initial_load_of_each_api_parents_first(mode: Mode) -> None:
    names = [export.file for export in simulate(Plan(files=20, initial_mode=mode))]
    assert [(name.api, name.mode) for name in names[:6]] == [(api, mode) for api in APIS]
    assert {name.mode for name in names[6:]} == {Mode.NET}


@pytest.mark.parametrize("wrong", [{"files": 0}, {"days": 0}, {"rows_per_file": 0}])
def test_an_empty_plan_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        next(simulate(Plan(**wrong)))  # type: ignore[arg-type] # all three are integers


# --- rows that the catalog allows ---

CATALOG = read_catalog()


@given(plans, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_the_loaders_take_every_row(plan: Plan, end_of_line: str, header: bool) -> None:
    for export in simulate(replace(plan, end_of_line=end_of_line, header=header)):
        fields = CATALOG[export.file.api].fields
        names = [field.name for field in fields]
        rows = 0
        for batch in tabular.read(io.BytesIO(export.data), names, SourceOptions()):
            assert list(batch.refused) == []
            assert set(batch.extras) == {None}
            _, refusals = Checker(fields, SourceOptions()).check(batch.columns)
            assert refusals == {}, export.name
            rows += len(batch.texts)
        assert rows == sum(1 for _ in export.rows())


def test_every_value_belongs_to_a_field() -> None:
    for export in simulate(Plan()):
        names = {field.name for field in CATALOG[export.file.api].fields}
        for row in export.rows():
            assert row.keys() <= names


def test_keys_and_references_are_those_of_the_catalog() -> None:
    for api in APIS:
        columns = {field.column: field.name for field in CATALOG[api].fields}
        assert KEYS[api] == tuple(columns[column] for column in CATALOG[api].most_specific.key)
        assert REFERENCES[api] == {
            columns[reference.columns[0]]: CATALOG.api_of_table[reference.parent].name
            for reference in CATALOG[api].references
            if reference.kind is not ReferenceKind.CREATE
            and CATALOG.api_of_table[reference.parent].name in APIS
        }


# --- a company that makes sense ---


@given(plans)
def test_what_a_row_refers_to_was_exported_before_it(plan: Plan) -> None:
    exported: dict[str, set[str]] = defaultdict(set)
    for export in simulate(plan):
        for row in export.rows():
            own = row[KEYS[export.file.api][0]]
            exported[export.file.api].add(own)
            for field, parent in REFERENCES[export.file.api].items():
                if row.get(field):
                    assert row[field] in exported[parent], (export.name, field)


@given(plans)
def test_no_category_is_above_itself(plan: Plan) -> None:
    parent = {
        row["Category ID"]: row["Parent Category"]
        for export in simulate(plan)
        if export.file.api == "CATEGORY"
        for row in export.rows()
    }
    for category in parent:
        seen = {category}
        while category := parent.get(category, ""):
            assert category not in seen
            seen.add(category)


@given(plans)
def test_no_key_is_twice_in_one_file(plan: Plan) -> None:
    for export in simulate(plan):
        keys = Counter(key(export, row) for row in export.rows())
        assert keys.most_common(1)[0][1] == 1, export.name


@given(plans)
def test_every_file_has_the_rows_that_were_asked_for(plan: Plan) -> None:
    for export in simulate(plan):
        rows = sum(1 for _ in export.rows())
        if export.file.api == "ORDERS":
            # Whole orders; a file may hold fewer where few orders have been placed that could change.
            assert 1 <= rows <= plan.rows_per_file + 3, export.name
        else:
            assert rows == plan.rows_per_file, export.name


@given(plans)
def test_an_order_keeps_its_customer_and_is_exported_with_all_its_lines(plan: Plan) -> None:
    facts: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    lines: dict[str, set[tuple[tuple[str, str], ...]]] = defaultdict(set)
    for export in simulate(plan):
        if export.file.api != "ORDERS":
            continue
        in_file: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in export.rows():
            facts[row["SO Number"]].add((row["Customer Number"], row["Order Date"], row["Purchase Order"]))
            in_file[row["SO Number"]].append((row["SO Item Number"], row["Part Number"]))
        for order, mentioned in in_file.items():
            lines[order].add(tuple(mentioned))
    assert all(len(seen) == 1 for seen in facts.values())
    assert all(len(seen) == 1 for seen in lines.values())


def test_every_api_has_several_net_changes_with_new_and_with_changed_rows() -> None:
    known: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    new: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for export in simulate(Plan(files=100, days=5)):
        api = export.file.api
        keys = {key(export, row) for row in export.rows()}
        if export.file.mode is Mode.NET:
            files[api] += 1
            new[api] += len(keys - known[api])
            changed[api] += len(keys & known[api])
        known[api] |= keys
    for api in APIS:
        assert files[api] >= 2, api
        assert new[api] > 0, api
        assert changed[api] > 0, api


def test_order_lines_move_to_other_dates_and_orders_are_closed() -> None:
    dates: dict[tuple[str, str], set[str]] = defaultdict(set)
    statuses = set()
    for export in simulate(Plan(files=60)):
        if export.file.api == "ORDERS":
            for row in export.rows():
                dates[row["SO Number"], row["SO Item Number"]].add(row["Schedule Date"])
                statuses.add(row["Status"])
    assert max(len(seen) for seen in dates.values()) > 3
    assert statuses == {"O", "C", "X"}


def test_days_pass() -> None:
    days = {
        datetime.strptime(row["Order Date"], "%m-%d-%Y %H:%M:%S").date()  # noqa: DTZ007 - a date is wanted
        for export in simulate(Plan(files=100, days=4))
        if export.file.api == "ORDERS"
        for row in export.rows()
    }
    assert days == {date(2026, 1, day) for day in (5, 6, 7, 8)}


def test_the_values_are_those_that_break_loaders() -> None:
    rows = [(e.file.api, row) for e in simulate(Plan(files=60)) for row in e.rows()]
    values = {value for _, row in rows for value in row.values()}
    assert any('"' in value and '3/4" x 10"' in value for value in values)
    assert any("ü" in value for value in values)
    assert any("Ł" in value for value in values)
    assert any(value != value.rstrip() for value in values)
    assert "" in values
    assert any(int(row["Schedule Qty"]) < 0 for api, row in rows if api == "ORDERS")
    decimals = {len(row["Base Price"].partition(".")[2]) for api, row in rows if api == "BASE_PRICES"}
    assert decimals == {2, 3, 4}
    assert not any(control in value for value in values for control in "\t\r\n")


# --- the file's form ---


@pytest.mark.parametrize("end_of_line", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [False, True])
def test_every_line_is_as_wide_as_the_catalog_and_ended(end_of_line: str, header: bool) -> None:
    for export in simulate(Plan(files=12, end_of_line=end_of_line, header=header)):
        text = export.data.decode("utf-8")
        lines = text.split(end_of_line)
        assert lines.pop() == ""
        assert len({line.count("\t") for line in lines}) == 1
        assert ("\r" in text) == (end_of_line == "\r\n")
        rows = list(export.rows())
        assert len(lines) == len(rows) + header
        cells = [line.split("\t") for line in lines]
        assert (cells[0] == list(dict.fromkeys(cells[0]))) if header else True
        for row, values in zip(rows, cells[header:], strict=True):
            assert Counter(filter(None, values)) == Counter(filter(None, row.values()))


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
    for export in simulate(Plan(files=40, rows_per_file=20_000)):
        assert len(pickle.dumps(export)) < 2000
        assert pickle.loads(pickle.dumps(export)) == export


def test_a_file_of_many_chunks_holds_every_row_once() -> None:
    *_, export = simulate(Plan(files=2, rows_per_file=3000))
    assert len(list(export.chunks())) > 2
    numbers = [line.split("\t")[0] for line in export.data.decode().splitlines()]
    assert numbers == [row["Customer Number"] for row in export.rows()]


def test_a_huge_file_of_a_huge_plan_begins_at_once() -> None:
    export = next(simulate(Plan(files=10**7, rows_per_file=10**9)))
    chunks = export.chunks()
    assert len(next(chunks)) < 2**18
    assert next(chunks).startswith(b"CAT-")


# --- delivery ---


def test_written_files_are_whole_and_in_order(tmp_path: Path) -> None:
    exports = list(simulate(Plan(files=9)))
    paths = write(iter(exports), tmp_path / "new" / "folder")
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
    def hang_up_on_customers(handler: Any, file: str, mode: str = "w") -> Any:
        if "CUSTOMERS" in file:
            handler.close()
            return None
        return FTPHandler.ftp_STOR(handler, file, mode)

    with ftp_server(tmp_path, ftp_STOR=hang_up_on_customers) as server:
        replies = push(simulate(Plan(files=6)), server)
    assert [reply.accepted for reply in replies] == [True, False, True, True, True, True]
    assert replies[1].text.startswith("connection lost: ")


def test_a_farewell_ends_the_session_and_the_rest_is_sent_in_another(tmp_path: Path) -> None:
    def farewell(handler: Any, file: str, mode: str = "w") -> Any:
        if "CUSTOMERS" in file:
            handler.respond("421 Closing.")
            handler.close_when_done()
            return None
        return FTPHandler.ftp_STOR(handler, file, mode)

    with ftp_server(tmp_path, ftp_STOR=farewell) as server:
        replies = push(simulate(Plan(files=6)), server)
    assert [reply.text[:3] for reply in replies] == ["226", "421", "226", "226", "226", "226"]


def test_a_wrong_password_is_told_without_a_traceback(tmp_path: Path) -> None:
    with ftp_server(tmp_path) as server:
        wrong = Server(server.host, server.port, "trial", "wrong")
        with pytest.raises(PushFailed, match=r"No session for trial at .*530"):
            push(simulate(Plan(files=30)), wrong, connections=4)
    assert list(tmp_path.iterdir()) == []


def test_nobody_listening_is_told_without_a_traceback() -> None:
    with pytest.raises(PushFailed, match="See that the inbox runs"):
        push(simulate(Plan(files=3)), Server("127.0.0.1", 1, "trial", "secret"))
