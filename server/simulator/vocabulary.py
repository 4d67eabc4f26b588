"""What fields hold by their names: the first pattern that fits the whole name says how a cell is filled.

Which names there are, and of what type, is the catalog's affair; a name that fits nothing here is filled by
its type alone (`values`).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from random import Random
from typing import TypeVar

from server.simulator import words
from server.simulator.dice import mixed, pick

_Found = TypeVar("_Found")

# A price list ends when an ERP's calendar does; contracts are open-ended so.
FAR_FUTURE = date(3000, 1, 1)


@dataclass(slots=True)
class Row:
    """One row while it is made.

    Attributes:
        index: which record of its API.
        state: how often it has changed; another state is another look of the same record.
        stable: draws the same in every state.
        fresh: draws anew in each state.
        day: when the record came to be.
        date_format: for `strftime`.
        is_credit: whether its quantities and amounts are negative.
        cells: what has been made already, by field name.
    """

    index: int
    state: int
    stable: Random
    fresh: Random
    day: date
    date_format: str
    is_credit: bool
    cells: dict[str, str] = field(default_factory=dict)

    def spelled(self, day: date, at: time | None = None) -> str:
        """A day as this ERP writes it, with the time of day if given."""
        text = day.strftime(self.date_format)
        return text if at is None else f"{text} {at:%H:%M:%S}"


Maker = Callable[[Row], str]


def first(table: Sequence[tuple[str, _Found]], name: str) -> _Found | None:
    """What the first pattern says that fits the whole name."""
    return next((found for pattern, found in table if re.fullmatch(pattern, name, re.IGNORECASE)), None)


# --- texts -------------------------------------------------------------------------------------------------


def _one_of(texts: Sequence[str], *, changes: bool = False) -> Maker:
    if changes:
        return lambda row: pick(texts, row.fresh.getrandbits(16))
    return lambda row: pick(texts, row.stable.getrandbits(16))


def _place(part: int) -> Maker:
    """A part of an address. Whoever moves does so as a whole, in every second state."""
    return lambda row: pick(words.PLACES, mixed(row.index, row.state // 2))[part]


def _street(row: Row) -> str:
    house = mixed(row.index, row.state // 2)
    return f"{house % 9999 + 1} {pick(words.STREETS, house)}"


def _company(row: Row) -> str:
    return f"{pick(words.COMPANIES, row.stable.getrandbits(16))} No. {row.index + 1}"


def _site_name(row: Row) -> str:
    """The site's name as some clerk types it: only the one who names it first counts (contract L7.3)."""
    site = row.cells.get("Site ID") or row.cells.get("Warehouse ID") or ""
    name = words.SITES.get(site, "")
    return pick((name, name, name.upper(), ""), row.fresh.getrandbits(16))


def _goods(row: Row) -> str:
    size, goods = (pick(some, row.stable.getrandbits(16)) for some in (words.SIZES, words.GOODS))
    return f"{size} {goods}, {pick(words.FINISHES, mixed(row.index, row.state // 2))}"


def _title(row: Row) -> str:
    """The name of a group or a code, which somebody improves once in a while."""
    name = f"{pick(words.GOODS, row.stable.getrandbits(16))[:18]} {row.index + 1}"
    return f"{name} (new)" if row.state % 2 else name


def _status(row: Row) -> str:
    """Open, then closed or cancelled, and then that for good."""
    fate = mixed(row.index) % 8
    if fate % 4 >= row.state:
        return "O"
    return "X" if fate == 0 else "C"


def _phone(row: Row) -> str:
    return f"+1 555 {row.fresh.randrange(10000):04}"


def _terms(part: int) -> Maker:
    return lambda row: pick(words.TERMS, mixed(row.index, row.state // 3))[part]


def _purchase_order(row: Row) -> str:
    return pick(
        (f"PO-{row.stable.randrange(10**5)}", 'verbal, "Jürgen"', "№ 7\\N"), row.stable.getrandbits(9)
    )


def _person(row: Row) -> str:
    first, last = (pick(some, row.stable.getrandbits(9)) for some in (words.FIRST_NAMES, words.LAST_NAMES))
    return f"{first} {last} {row.index + 1}"


def _salesreps(row: Row) -> str:
    first = row.fresh.getrandbits(16)
    return f"{pick(words.SALESREPS, first)},{pick(words.SALESREPS, first // 7)}"


POOLS = (
    ("(site|warehouse) id", tuple(words.SITES)),
    ("inventory location", words.LOCATIONS),
    ("group code", words.GROUPS),
    (".*price sheet.*", words.SHEETS),
    (".*basis.*", words.BASES),
    ("sales ?rep", words.SALESREPS),
)
TEXTS = (
    *((pattern, _one_of(pool, changes=True)) for pattern, pool in POOLS),
    ("(site|warehouse) name", _site_name),
    ("location name", lambda row: f"Bin {row.cells.get('Inventory Location', '')}"),
    (r".*address( line)? 1", _street),
    (r".*address( line)? 2", _one_of(words.SECOND_LINES, changes=True)),
    (r".*address( line)? 3", _one_of(("", "", "", "Attn: Zoë"))),
    (".*city", _place(0)),
    (".*state.*", _place(1)),
    (".*zip.*", _place(2)),
    (".*country.*", _place(3)),
    (".*(phone|fax|mobile).*", _phone),
    (".*e-?mail.*", lambda row: f"who{row.index + 1}@example.com"),
    ("website", lambda row: f"https://customer{row.index + 1}.example/?a=1&b=%20"),
    ("terms type xref", _terms(0)),
    ("ks term type", _terms(1)),
    ("display name", _person),
    ("first name", _one_of(words.FIRST_NAMES)),
    ("last name", _one_of(words.LAST_NAMES)),
    ("position", _one_of(words.POSITIONS)),
    ("(category|region|business unit|competitor) name", _title),
    (".*name", _company),
    ("((invoice|order) )?status", _status),
    ("invoice type", lambda row: "C" if row.is_credit else "S"),
    ("business unit class", _one_of(("DEPT", "DIV"))),
    ("(model flag|restricted range flag|.*freight taxable)", _one_of(("N", "Y"))),
    ("serial control flag", _one_of(("N", "N", "N", "Y"))),
    ("lead time units", _one_of(("D",))),
    (".*(uom|unit of measure)", _one_of(words.UNITS)),
    ("purchase order", _purchase_order),
    (".*(tracking|waybill).*", lambda row: f"1Z{mixed(row.index) % 10**12:012}"),
    ("upc", lambda row: f"{row.index + 1:012}"),
    ("brand", _one_of(words.BRANDS)),
    ("symbol", _one_of(("$", "€", "zł", "¥"))),
    ("salesreps", _salesreps),
    (".*(desc|description|text|class)", _goods),
)


# --- days --------------------------------------------------------------------------------------------------


DAYS: Sequence[tuple[str, Callable[[Row], date]]] = (
    ("expiration date", lambda row: FAR_FUTURE if row.stable.random() < 0.5 else row.day + timedelta(365)),
    ("install date", lambda row: row.day + timedelta(row.stable.randrange(30))),
)


# --- numbers -----------------------------------------------------------------------------------------------


def _money(row: Row) -> str:
    amount = f"{row.fresh.uniform(0.02, 900):.{row.fresh.randint(2, 4)}f}"
    return f"-{amount}" if row.is_credit else amount


def _limit(row: Row) -> str:
    return pick(("0", "5000.00", "12500.5", "250000.0000", ".5"), row.fresh.getrandbits(9))


def _quantity(row: Row) -> str:
    amount = row.fresh.randint(1, 500)
    return str(-amount if row.is_credit else amount)


def _stock(row: Row) -> str:
    # Below zero: more was promised than the shelf holds.
    some = ("0", "-3", "12.5000", "0.125", "+7", str(row.fresh.randint(1, 9999)))
    return pick(some, row.fresh.getrandbits(9))


NUMBERS = (
    # Only what was born in the web shop comes back with the number that the shop gave it.
    (".*kommerceserver.*", lambda row: str(5000 + row.index) if row.stable.randrange(8) == 0 else ""),
    ("discount days", _terms(2)),
    ("discount percent", _terms(3)),
    (".*percent", _one_of(("0", "2.5", "7.25", "100", "1e-3", "33.333"), changes=True)),
    (".*term", _one_of(("90", "365", "730"))),
    ("lead time", _one_of(("0", "5", "45"), changes=True)),
    (".*(factor|per qty|per package)", _one_of(("1", "1", "12", "100"))),
    (".*postal range", lambda row: str(501 + mixed(row.index) % 90000)),
    ("precedence", _one_of(("1", "2", "3", "10"), changes=True)),
    (".*rate", lambda row: f"{row.fresh.uniform(0.01, 20):.8f}"),
    ("unit weight", _one_of(("0.25", "1.5", "12", "0.0035", "-0"))),
    ("credit limit", _limit),
    ("quantity on hand", _stock),
    (".*(qty|quantity).*", _quantity),
    (".*(amount|price|cost).*", _money),
)
