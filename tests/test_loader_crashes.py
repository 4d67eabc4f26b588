"""A loader that is killed before any of its steps goes on where it was (contract L1, L9).

Every step by which it touches the world is numbered by itself (`tests/support/steps.py`); for each of them
it is killed there with SIGKILL, started anew, and what is there at the end is compared, cell by cell, with
what a loader leaves whom nobody disturbs.
"""

from collections import Counter
from pathlib import Path

import pytest

from loaders.shapes import Catalog
from server import dispatcher, waves
from server.leftovers import Leftovers
from tests.support.facts import Facts, compare, facts, unaccounted
from tests.support.prepared import CATALOG
from tests.support.steps import deaths
from tests.support.worlds import Arrival, World, some_or_all_steps

# What is loaded here, and what it refers to: looking after the rest would only take time.
SOME = Catalog(
    {
        api: CATALOG[api]
        for api in (
            *("CATEGORY", "CLASSIFICATIONS", "CONTACTS", "CUSTOMERS", "DEPARTMENTS", "ENDUSERS", "FREIGHT"),
            *("MFG_ITEMS", "ORDERS", "SALES_TAX", "SHIP_ADDRS", "SPECIAL_CHARGES"),
        )
    },
    CATALOG.created,
)


def row(api: str, **fields: str) -> bytes:
    """One line, its fields given by column."""
    cells = [fields.pop(field.column, "") for field in CATALOG[api].fields]
    assert not fields
    return ("\t".join(cells) + "\n").encode()


def order(number: str, *lines: tuple[str, str]) -> bytes:
    return b"".join(
        row(
            "ORDERS", so_number=number, customer_number="C1", status="O", so_item_number=line,
            part_number="P1", schedule_date=day, schedule_qty="3", unit_price="1.50",
        )
        for line, day in lines
    )  # fmt: skip


ORDERS = order("O1", ("1", "2026-01-05"), ("1", "2026-01-12"), ("2", "2026-01-05"))
CUSTOMER = row("CUSTOMERS", customer_number="C1", business_type="C", customer_name="Ada", site_id="W1")
BAD = b"X\t" + b"x" * 31 + b"\n"

FIRST = [
    # A row that is refused, and one that waits for its parent.
    Arrival("DT_0000001_KS_CATEGORY.NET", b"A\tone\nB\ttwo\tP\n" + BAD),
    # Header and lines that wait for their customer.
    Arrival("DT_0000002_KS_ORDERS.NET", ORDERS),
    # Behind a gap.
    Arrival("DT_0000004_KS_CATEGORY.NET", b"P\tparent\nD\tfour\n"),
    Arrival("nonsense.txt", b"what?\n", "it is no name"),
    # Unsequenced.
    Arrival("CATEGORY.net", b"U\tunnumbered\n", None, "XX"),
]
THEN = [
    Arrival("DT_0000001_KS_CATEGORY.NET.fix", b"3\t\t\tX\tmended\n"),
    # Closes the gap, makes a warehouse, lets the order in.
    Arrival("DT_0000003_KS_CUSTOMERS.NET", CUSTOMER),
    # The same bytes, the same number with others, an API that nobody knows.
    Arrival("DT_0000002_KS_ORDERS.NET", ORDERS.replace(b"\n", b"\r\n")),
    Arrival("DT_0000003_KS_CUSTOMERS.NET", CUSTOMER.replace(b"Ada", b"Bob")),
    Arrival("DT_0000005_KS_UNKNOWN.NET", b"what?\n"),
    # Makes B, D and X inactive.
    Arrival("DT_0000006_KS_CATEGORY.FULL", b"A\tone\nP\tparent\n"),
    # The schedule moves.
    Arrival("DT_0000007_KS_ORDERS.NET", order("O1", ("1", "2026-02-01"))),
]
STATES = {
    "DT_0000001_KS_CATEGORY.NET": "loaded",
    "DT_0000001_KS_CATEGORY.NET.FIX": "loaded",
    "DT_0000002_KS_ORDERS.NET": "duplicate",
    "DT_0000003_KS_CUSTOMERS.NET": "refused",
    "DT_0000004_KS_CATEGORY.NET": "loaded",
    "DT_0000005_KS_UNKNOWN.NET": "quarantined",
    "DT_0000006_KS_CATEGORY.FULL": "loaded",
    "DT_0000007_KS_ORDERS.NET": "loaded",
    "XX_U0000001_CATEGORY.NET": "loaded",
    "nonsense.txt": "refused",
}


@some_or_all_steps
@pytest.mark.timeout(7200)
def test_a_loader_killed_at_any_step_loads_every_file_once(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    # The first file of orders is large, the others share transactions.
    for module in (dispatcher, waves):
        monkeypatch.setattr(module, "SMALL_BYTES", 200)
    world = World.make(tmp_path, database_url, SOME, FIRST, THEN)
    world.anew()
    world.load()
    assert world.bench.states() == STATES
    wanted = _what_is_there(world)
    world.anew()
    for death in deaths(world.load, every=world.stride(thorough)):
        world.load()
        assert compare(_what_is_there(world), wanted) == [], str(death)
        world.anew()


def _what_is_there(world: World) -> Facts:
    """All that is known at the end, when nobody is left but the sweep of what died."""
    bench = world.bench
    Leftovers(bench.spool).sweep(0)
    found = facts(bench) | {"left over": Counter(unaccounted(bench))}
    assert bench.spool.node(), "a name for the lease"
    bench.database.close()
    return found
