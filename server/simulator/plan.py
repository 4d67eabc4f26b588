"""What to simulate: one frozen value, from which everything else follows."""

from dataclasses import dataclass
from datetime import date

from server.names import FIRST_SEQUENCE, Mode

APIS = ("CATEGORY", "CUSTOMERS", "MFG_ITEMS", "BASE_PRICES", "INVENTORY", "ORDERS")
"""What is exported, parents first; the initial loads come in this order."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate; the same plan always makes the same bytes.

    Attributes:
        seed: another seed makes another company.
        source, integration: for the file names (contract N1).
        files: how many exports there are; the first six are the initial loads.
        days: over how many days the exports spread; dates in the rows follow.
        rows_per_file: rows of each export. Orders are exported whole, so ORDERS may hold up to three more.
        first_sequence: number of the first export; after 9999999 comes 1 (contract S1).
        initial_mode: whether the initial loads are FULL files or large NET ones.
        first_day: the date of the initial loads.
        end_of_line: `"\\n"` or `"\\r\\n"`.
        header: whether each file starts with the names of its fields (contract L2).
        date_format: for `strftime`; times are added as hours, minutes and seconds.
    """

    seed: int = 1
    source: str = "DT"
    integration: str = "KS"
    files: int = 60
    days: int = 3
    rows_per_file: int = 50
    first_sequence: int = FIRST_SEQUENCE
    initial_mode: Mode = Mode.FULL
    first_day: date = date(2026, 1, 5)
    end_of_line: str = "\n"
    header: bool = False
    date_format: str = "%m-%d-%Y"
