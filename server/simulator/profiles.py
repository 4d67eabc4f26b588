"""What is particular to the single APIs: how many, how often, and how they number what they have.

An API that is not here is simulated too, from what the catalog says of it. All the rest (fields, types,
codes, keys, references) is the catalog's; how a field is filled is told by its name or type in `values`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Profile:
    """How an ERP treats one kind of record.

    Attributes:
        often: its share of the net changes; orders and stock move all day, categories hardly ever.
        number: the format of its own numbers.
        known: numbers that such records really have; the format serves when they are used up.
        most: how many of them a company has at most.
        per: how many of them belong to each parent, where a part of the key is the parent's; None where they
            are spread over the parents by chance.
        through: fields that say what a parent says, by the field that names the parent and the parent's own.
        is_traded: whether sales, credits and returns take turns, so that what belongs together is alike.
    """

    often: int = 2
    number: str = ""
    known: tuple[str, ...] = ()
    most: int | None = None
    per: int | None = None
    through: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    is_traded: bool = False


_DELIVERED = {
    "Order Item Number": ("Order Number", "SO Item Number"),
    "Part Number": ("Order Number", "Part Number"),
}

PROFILES = {
    "CATEGORY": Profile(often=1, number="CAT-{:05}"),
    "CLASSIFICATIONS": Profile(often=1, known=("RETAIL", "GOV", "OEM", "BUYER", "A/P", "Élève"), most=40),
    "COMPETITORS": Profile(often=1, number="COMP{:03}", most=25),
    "CURRENCY": Profile(often=1, known=("USD", "CAD", "EUR", "GBP", "MXN", "PLN", "JPY", "CHF"), most=8),
    "DEPARTMENTS": Profile(often=1, number="BU{:03}", most=60),
    "FAILURE_CODES": Profile(often=1, known=("DOA", "BROKEN", "NOISE", "LEAK"), most=30),
    "FREIGHT": Profile(
        often=1, known=("UPS GROUND", "UPS 2DAY", "OUR TRUCK", "WILL CALL", "FEDEX", "DHL"), most=20
    ),
    "REGIONS": Profile(often=1, number="R-{:03}", most=200),
    "RMA_TYPES": Profile(often=1, known=("REPAIR", "CREDIT", "REPLACE", "EVAL"), most=10),
    "SALES_TAX": Profile(often=1, number="TX{:03}", most=60),
    "SERVICE_TYPES": Profile(often=1, known=("BENCH", "FIELD", "DEPOT"), most=10),
    "SPECIAL_CHARGES": Profile(often=1, known=("CORE", "HAZMAT", "CUT", "PALLET"), most=20),
    "WARRANTY_CODES": Profile(often=1, known=("90D", "1Y", "2Y", "LIFE"), most=12),
    "CUSTOMERS": Profile(often=3, number="{:06}"),
    "ENDUSERS": Profile(number="EU{:05}"),
    "MFG_ITEMS": Profile(often=4, number='FW3/4"-{:07}'),
    "BASE_PRICES": Profile(often=5, per=3),
    "INVENTORY": Profile(often=8, per=3),
    "WAREHOUSE_ITEMS": Profile(often=3, per=2),
    "SHIP_ADDRS": Profile(per=2),
    "CUST_PARTS": Profile(number="YOUR#{:05}"),
    "COMPETITOR_XREFS": Profile(number="X/{:05}"),
    "GEO_RESTRICTIONS": Profile(number="GR{:05}"),
    "PRICE_ADJS": Profile(often=3, number="PA{:06}"),
    "CONTACTS": Profile(often=3, number="CT{:06}"),
    "ORDERS": Profile(often=10, number="SO{:07}", is_traded=True),
    "RMAS": Profile(often=4, number="RMA{:06}"),
    "SHIPMENTS": Profile(often=7, number="SH{:07}", is_traded=True, through=_DELIVERED),
    "RMA_RECEIPTS": Profile(often=3, number="RR{:06}", through=_DELIVERED),
    "INVOICES": Profile(
        often=6,
        number="IN{:07}",
        is_traded=True,
        through={
            "Order Number": ("Delivery Number", "Order Number"),
            "Customer Number": ("Order Number", "Customer Number"),
        },
    ),
    "SERIALHIST": Profile(
        often=3,
        number="SN\\{:06}",
        is_traded=True,
        through={
            "Order Number": ("Source Record", "Order Number"),
            "Business No": ("Order Number", "Customer Number"),
        },
    ),
    "COMMISSIONS": Profile(often=3, per=2),
}
