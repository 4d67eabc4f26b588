"""Histories of all APIs, as an ERP sends them and as they go wrong, end in the tables that the contract says.

What the tables must hold is worked out by `tests/support/oracle.py`, in another way than the loaders do it,
and compared cell by cell: values, `active`, `extra`, who wrote a row (L7, L8), what is parked and refused.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select, text

from loaders.records import parked_row
from server.admin import Decision
from server.names import Mode
from server.simulator import Disturbed, Export, Mishaps, Plan, over_ftp, simulate
from server.spool import Spool
from tests.support.inboxes import Bench
from tests.support.oracle import broken_references, differences
from tests.support.running import RunningInbox, until


@pytest.fixture
def bench(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    made = Bench.make(tmp_path, database_url)
    yield made
    made.database.close()


def _count_parked(bench: Bench) -> int:
    with bench.database.read() as connection:
        return connection.execute(select(func.count()).select_from(parked_row)).scalar_one()


def _inactive(bench: Bench, table: str) -> int:
    return sum(not row["active"] for row in bench.rows(table))


def _fixes(random: Random, export: Export) -> set[bytes]:
    """Up to three fixes of what is bad in an export, which are right, wrong, or say what another row says."""
    whole = replace(export, faults=()).data.splitlines()
    sent = export.data.split(b"\n")
    bad = [fault.row + export.first_line for fault in export.faults]
    made = set()
    for _ in range(random.randint(0, 3) if bad else 0):
        rows = []
        for line in random.sample(bad, random.randint(1, len(bad))):
            right, another = whole[line - 1], random.choice(whole[export.first_line - 1 :])
            said = random.choice([right, right, another, right + b"\tone too many", sent[line - 1]])
            told = said.decode(errors="backslashreplace").replace("\0", "\\x00")
            rows.append(f"{line}\t\t\t{told}\n")
        made.add("".join(["line\tfield\treason\trow\n", *rows]).encode())
    return made


def test_a_history_with_every_mishap_ends_as_the_contract_says(bench: Bench) -> None:
    plan = Plan(files=220, rows_per_file=25, days=4, fulls=True)
    disturbed = Disturbed(plan, Mishaps(gaps=3, duplicates=5, conflicts=3, late=5, bad_rows=120))
    first = list(disturbed.first())
    Random(1).shuffle(first)
    for part in (first, disturbed.then()):
        for export in part:
            bench.arrive(export.name, export.data)
        bench.work()
    done = disturbed.account
    states = Counter(bench.states().values())
    assert states["held"] > 50, "behind the gaps"
    assert differences(bench) == []
    for number in done.missing:
        bench.inbox.skip("DT", number, number, Decision(reason="never exported"))
    bench.work()

    with bench.database.read() as connection:
        counted = connection.execute(text("SELECT state, COUNT(*) FROM inbox_file GROUP BY state")).all()
    assert dict(counted) == {"loaded": 217, "duplicate": 5, "refused": 3}
    assert differences(bench) == []
    assert broken_references(bench) == []
    assert len(done.bad_rows) == 120
    assert _inactive(bench, "mfg_items"), "discontinued"
    assert _inactive(bench, "order_lines"), "moved to another date"
    written = [row for api in bench.catalog.values() for row in bench.rows(api.most_specific.name)]
    assert any(row["extra"] for row in written), "newer than the catalog"
    assert len({row["version"] for row in bench.rows("shipment_lines")}) > 2, "from several files"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_files_of_two_sources_in_any_order_and_some_never_end_as_the_contract_says(
    bench: Bench, seed: int
) -> None:
    random = Random(seed)
    plan = Plan(files=110, rows_per_file=6, days=4, fulls=True, seed=seed)
    # Halfway an ERP is replaced: it has the same keys, but what they refer to changes.
    replaced = replace(plan, seed=seed + 100, first_sequence=111)
    other = replace(plan, seed=seed + 200, source="XX")
    exports = [
        export for one in (plan, replaced, other) for export in Disturbed(one, Mishaps(bad_rows=60)).first()
    ]
    random.shuffle(exports)
    never = random.sample(exports, 200)
    came = [export for export in exports if export not in never]
    # Numbers that were given up before they came hold nothing back (S4), so each file loads as it comes.
    openers = [next(e for e in came if e.file.source == source) for source in ("DT", "XX")]
    for export in openers:
        bench.arrive(export.name, export.data)
    bench.work()
    for source in ("DT", "XX"):
        bench.inbox.skip(source, 1, 220, Decision(reason="in any order"))
    parked = []
    arrivals = [(export.name, export.data) for export in came if export not in openers]
    for export in came:
        for fix in sorted(_fixes(random, export)):
            arrivals.insert(random.randint(0, len(arrivals)), (f"{export.name}.fix", fix))
    for name, data in arrivals:
        bench.arrive(name, data)
        if random.random() < 0.1:
            bench.work()
            parked.append(_count_parked(bench))
    bench.work()
    assert max(parked) > 0, "children came before their parents"
    assert differences(bench) == []
    if waiting := [name for name, state in bench.states().items() if state == "deferred"]:
        # In this order a FULL may be the first to tell of much of its API.
        bench.inbox.approve(waiting, Decision(reason="as it was exported"))
        bench.work()
    fulls = [e.name for e in came if e.file.mode is Mode.FULL and bench.catalog[e.file.api].deactivates]
    # Many of them make nothing inactive, or an older one does so too.
    undone = (bench.inbox.undo(name, Decision(reason="wrong")) for name in random.sample(fulls, len(fulls)))
    assert any(undone)
    assert differences(bench) == []
    again = [export.name for export in random.sample(came, 10)]
    bench.inbox.replay(again, (), (), Decision(reason="again"))
    bench.work()
    assert set(bench.states().values()) == {"loaded"}
    assert differences(bench) == []
    assert broken_references(bench) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("UPDATE mfg_items SET brand = 'other' WHERE item_id = 'FW3/4\"-0000002'", "brand is 'other'"),
        ("UPDATE order_lines SET active = 1 - active", "active is"),
        ("UPDATE customers SET line = line + 1", "line is"),
        ("UPDATE warehouses SET site_name = 'other'", "site_name is 'other'"),
        ("DELETE FROM commissions", "is missing"),
        ("UPDATE commissions SET commission_line_no = commission_line_no + 7", "should not be there"),
        ("DELETE FROM inbox_rejected_row", "should be rejected"),
        ("UPDATE inbox_file SET rows_read = rows_read + 1", "counts"),
        ("UPDATE invoices SET file_id = (SELECT MIN(id) FROM inbox_file)", "says its file_id"),
    ],
)
def test_the_oracle_tells_what_is_wrong(bench: Bench, wrong: str, told: str) -> None:
    for export in Disturbed(Plan(files=60, rows_per_file=5), Mishaps(bad_rows=5)).first():
        bench.arrive(export.name, export.data)
    bench.work()
    assert differences(bench) == []
    with bench.database.write("spoiling") as connection:
        connection.execute(text(wrong))
    assert any(told in said for said in differences(bench))


def _all_loaded(inbox: RunningInbox, count: int) -> Callable[[], bool]:
    return lambda: bool(inbox.ask("status")[0]["files"] == {"loaded": count})


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_100_000_rows_of_all_apis_pushed_in_random_order_end_as_the_contract_says(
    tmp_path: Path, database_url: str
) -> None:
    plan = Plan(files=500, rows_per_file=300, days=5, fulls=True)
    assert sum(export.count_rows() for export in simulate(plan)) > 100_000
    with RunningInbox(tmp_path, database_url) as inbox:
        run = over_ftp(Disturbed(plan, Mishaps()), inbox.server, 8, 1, on_reply=lambda _: None)
        assert (run.sent, run.refused) == (500, 0)
        until(_all_loaded(inbox, 500), "all are loaded", timeout_seconds=900, pause_seconds=0.5)
        assert inbox.ask("parked") == []
        assert inbox.ask("gaps") == []
        assert inbox.ask("exceptions") == []
        look = Bench.make(tmp_path / "look", inbox.url)
        assert broken_references(look) == []
        assert differences(look, Spool(inbox.spool)) == []
        assert all(look.rows(table.name) for api in look.catalog.values() for table in api.tables)
        look.database.close()
