"""One category, customer, item, price, stock figure or order, as the rows that an ERP exports for it.

The values are those that break loaders: inch marks, accents, empty cells, a blank at the end of an address,
negative quantities on credit lines, prices with two to four decimals, order lines that move to another date.

Fields go by their names in the catalog, which puts them in order (`exports.py`): a field that the catalog
gains is an empty cell until it gets a value here. A test loads every row against the catalog.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from server.simulator.plan import Plan

# Values by field name; an empty cell need not be named.
Row = dict[str, str]

# An item is priced and stocked in three ways, so these APIs can only grow with the items.
PER_ITEM = 3


# How many schedules the lines of an order have; order number N has the shape N modulo 8.
_ORDER_SHAPES = ((1,), (1, 1), (2,), (1,), (1, 2, 1), (1,), (1, 1, 1), (3, 1))


@dataclass(frozen=True, slots=True)
class Known:
    """How much had been exported when a file was made: what its rows may refer to."""

    categories: int
    customers: int
    items: int
    day: date


@dataclass(frozen=True, slots=True)
class Entity:
    """What a row is made from.

    Attributes:
        index: which entity of its API.
        known: what it may refer to.
        change: number of the file that changes it, 0 when it is new.
        plan: for the spelling of dates.
        stable: draws the same values at every change.
        fresh: draws other values at each change.
    """

    index: int
    known: Known
    change: int
    plan: Plan
    stable: Random
    fresh: Random

    def date(self, day: date, at: str = "") -> str:
        """A date as the plan spells it, with a time of day if given."""
        return f"{day.strftime(self.plan.date_format)} {at}".rstrip()


def order_rows(index: int) -> int:
    return sum(_ORDER_SHAPES[index % len(_ORDER_SHAPES)])


def _category(it: Entity) -> Iterator[Row]:
    name = it.stable.choice(_GOODS)
    yield {
        "Category ID": _category_id(it.index),
        "Category Name": f"{name[:20]} {it.index}" + (" (new)" if it.change % 2 else ""),
        "Parent Category": _category_id((it.index - 1) // 4) if it.index else "",
        "Category Group Code": it.fresh.choice(("", "HDW", "MRO", "ELEC")),
        "Price Adj Basis Code": it.fresh.choice(("", "", "LIST")),
        "Override Basis Code": "",
        "Zero Cost Basis Code": it.fresh.choice(("", "COST")),
    }


def _customer(it: Entity) -> Iterator[Row]:
    city, state, postcode, country = it.stable.choice(_PLACES)
    terms, kind, days = it.fresh.choice(_TERMS)
    site = it.stable.choice(tuple(_SITES))
    yield {
        "Customer Number": _customer_number(it.index),
        # Customers born in the web shop come back with the number that the shop gave them.
        "KommerceServer ID": str(5000 + it.index) if it.stable.random() < 0.1 else "",
        "Business Type": "C",
        "Customer Name": f"{it.stable.choice(_COMPANIES)} No. {it.index}",
        "Address Line 1": f"{it.stable.randint(1, 9999)} {it.stable.choice(_STREETS)}",
        # Once in a while with a blank at its end, which is part of the value (contract L3).
        "Address Line 2": it.fresh.choice(("", "", "", "Dock 4", "Suite 12 ")),
        "City": city,
        "State": state,
        "Zip Code": postcode,
        "Country": country,
        "Phone": it.fresh.choice(("", f"+1 555 {it.fresh.randint(0, 9999):04d}")),
        "Site ID": site,
        "Site Name": _site_name(site, it.fresh),
        "Website": it.stable.choice(("", f"https://customer{it.index}.example/")),
        "Credit Limit": it.fresh.choice(("", "0", "5000.00", "12500.5", "250000.0000")),
        "Terms Type XREF": terms,
        "KS Term Type": kind,
        "Discount Days": days,
    }


def _item(it: Entity) -> Iterator[Row]:
    size = it.stable.choice(_SIZES)
    uom, per_package = it.stable.choice((("EA", "1"), ("BX", "50"), ("FT", "100"), ("EA", "12")))
    yield {
        "Item ID": _item_id(it.index),
        "Short Description": f"{size} {it.stable.choice(_GOODS).lower()}, {it.stable.choice(_FINISHES)}",
        "Brand": it.stable.choice(("", "Würth", "Béton & Cie", "ACME", "Żółw")),
        "Lead Time": it.fresh.choice(("", "0", "5", "45")),
        "Lead Time Units": "D",
        "Unit Weight": it.stable.choice(("", "0.25", "1.5", "12", "0.0035")),
        "Unit of Measure": uom,
        "Model Flag": "N",
        "Serial Control Flag": it.stable.choice(("N", "N", "N", "Y")),
        "Unit Cost": _money(it.fresh, 0.01, 400),
        "Units per Package": per_package,
        "Packaging Text": it.stable.choice(("", f'Box of {per_package}, 8" x 4"')),
        "UPC": it.stable.choice(("", f"{it.index:012d}")),
        "Category": _category_id(it.fresh.randrange(it.known.categories)) if it.known.categories else "",
        "Tax Group Code": it.stable.choice(("", "TAXABLE")),
        "Charge Amount": it.fresh.choice(("", "2.50")),
    }


def _base_price(it: Entity) -> Iterator[Row]:
    sheet, basis = (("", "LIST"), ("USA", "LIST"), ("USA", "COST"))[it.index % PER_ITEM]
    start = "" if it.stable.random() < 0.3 else it.date(it.plan.first_day)
    if it.change and it.fresh.random() < 0.5:
        # The next price is announced beside the present one: another start date is another row.
        start = it.date(it.known.day + timedelta(days=it.fresh.randint(1, 30)))
    yield {
        "Item ID": _item_id(it.index // PER_ITEM),
        "Price Sheet Code": sheet,
        "Base Price": _money(it.fresh, 0.02, 900),
        "Price Basis Code": basis,
        "Start Date": start,
        "Price Per Qty": it.stable.choice(("1", "1", "100")),
        "Price Per UOM": it.stable.choice(("EA", "BX", "FT")),
    }


def _stock(it: Entity) -> Iterator[Row]:
    item, place = divmod(it.index, PER_ITEM)
    site = tuple(_SITES)[(item + place) % len(_SITES)]
    location = it.stable.choice(_LOCATIONS)
    yield {
        "Part Number": _item_id(item),
        "Site ID": site,
        "Site Name": _site_name(site, it.fresh),
        "Inventory Location": location,
        "Location Name": it.fresh.choice(("", f"Bin {location}")),
        # Below zero: more was promised than the shelf holds.
        "Quantity On Hand": it.fresh.choice(("0", "-3", "12.5000", "0.125", str(it.fresh.randint(1, 9999)))),
    }


def _order(it: Entity) -> Iterator[Row]:
    placed = f"{it.stable.randint(6, 19):02d}:{it.stable.randint(0, 59):02d}:00"
    city, state, postcode, country = it.stable.choice(_PLACES)
    header = {
        "SO Number": f"SO{it.index + 1:07d}",
        "KommerceServer ID": str(90000 + it.index) if it.stable.random() < 0.2 else "",
        "Customer Number": _customer_number(it.stable.randrange(it.known.customers)),
        "Order Date": it.date(it.known.day, placed),
        "Purchase Order": it.stable.choice(("", f"PO-{it.stable.randint(1, 99999)}", 'verbal, "Jürgen"')),
        "Status": it.fresh.choice("OOCX") if it.change else "O",
        "Ship To Name": it.stable.choice(("", f"{it.stable.choice(_COMPANIES)}, goods inwards")),
        "Address Line 1": f"{it.stable.randint(1, 9999)} {it.stable.choice(_STREETS)}",
        "City": city,
        "State": state,
        "Zip": postcode,
        "Country": country,
        "Ship Via": it.fresh.choice(("UPS GROUND", "OUR TRUCK", "")),
    }
    for line, schedules in enumerate(_ORDER_SHAPES[it.index % len(_ORDER_SHAPES)], start=1):
        size = it.stable.choice(_SIZES)
        credit = it.stable.random() < 0.05
        item = {
            "SO Item Number": str(line),
            "Part Number": _item_id(it.stable.randrange(it.known.items)),
            "SO Item Desc": it.stable.choice(("", f"{size} {it.stable.choice(_GOODS).lower()}")),
            "Unit Price": _money(it.fresh, 0.02, 900),
        }
        # A line that moves takes all its schedules with it, so they stay apart (they are two weeks apart).
        moved_days = it.fresh.randint(1, 9) if it.change and it.fresh.random() < 0.3 else 0
        for schedule in range(schedules):
            due = it.known.day + timedelta(days=7 + 14 * schedule + moved_days)
            quantity = it.fresh.randint(1, 500)
            yield (
                header
                | item
                | {
                    "Schedule Date": it.date(due),
                    "Schedule Qty": str(-quantity if credit else quantity),
                }
            )


MAKERS: dict[str, Callable[[Entity], Iterator[Row]]] = {
    "CATEGORY": _category,
    "CUSTOMERS": _customer,
    "MFG_ITEMS": _item,
    "BASE_PRICES": _base_price,
    "INVENTORY": _stock,
    "ORDERS": _order,
}


def _category_id(index: int) -> str:
    return f"CAT-{index:05d}"


def _customer_number(index: int) -> str:
    return str(100001 + index)


def _item_id(index: int) -> str:
    # Inch marks in keys too, where a reader that knows quoting would swallow the rows that follow.
    family = ("HB-", 'FW3/4"-', "HN.", "PV 2-")[index % 4]
    return f"{family}{index:07d}"


def _site_name(site: str, random: Random) -> str:
    """The site's name as some clerk types it: only the one who names it first counts (contract L7.3)."""
    return random.choice((_SITES[site], _SITES[site], _SITES[site].upper(), ""))


def _money(random: Random, least: float, most: float) -> str:
    return f"{random.uniform(least, most):.{random.randint(2, 4)}f}"


_GOODS = ("Hex bolt", "Flat washer", "Ball valve", "Hand tool", "Conduit", "Écrou", "Dübel")
_SIZES = ('3/4" x 10"', '1/2"', "M8 × 40", '2-1/2" NPT', "12 AWG", "6' x 4'")
_FINISHES = ("zinc plated", 'grade 8, "hot dip"', "316 stainless", "brass; tapped")
_COMPANIES = (
    "Müller & Söhne",
    "Café Brûlé",
    "Ångström Valves",
    'O\'Neil "The Bolt" Supply',
    "Żywiec Fasteners",
    "Smith, Jones & Co",
    "100% Steel",
)
_STREETS = ("Main St", "Rue de l'Église", "Hauptstraße", "Industrial Pkwy #7", "5th Ave")
_PLACES = (
    ("San José", "CA", "95112", "US"),
    ("Montréal", "QC", "H2Y 1C6", "CA"),
    ("Köln", "", "50667", "DE"),
    ("Boise", "ID", "83702-1234", "US"),
    ("Łódź", "", "90-001", "PL"),
)
_SITES = {
    "01": "Main warehouse",
    "02": "Northern depot",
    "STO3": "Store № 3",
    "HUB": "Hub, dock 1",
    "RET": "Returns",
}
_LOCATIONS = ("A-01-1", "A-01-2", "B-17", "YARD", "RECV")
_TERMS = (
    ("2/5/30", "STD", "5"),
    ("NET 30", "STDX", ""),
    ("COD", "COD", ""),
    ("PREPAID", "PREPAID", ""),
    ("1% 10TH PROX", "PROX", ""),
)
