"""What to simulate: one frozen value, from which everything else follows."""

from dataclasses import dataclass
from datetime import date

from server.names import FIRST_SEQUENCE


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate; the same plan and catalog always make the same bytes.

    Attributes:
        seed: another seed makes another company.
        source, integration: for the file names (contract N1).
        files: how many exports there are, FULLs included; the first of them are the initial loads, a NET with
            everything for each API of the catalog.
        days: over how many days the exports spread; dates in the rows follow.
        rows_per_file: rows of a NET. There are fewer of what a company has only a few of, such as currencies,
            and a few more where an order has to be whole. A FULL holds all rows that there are.
        fulls: whether every night all master data is exported as FULLs too (contract L6).
        first_sequence: number of the first export; after 9999999 comes 1 (contract S1).
        first_day: the date of the initial loads.
        end_of_line: `"\\n"` or `"\\r\\n"`.
        header: whether each file starts with the names of its fields (contract L2). Without, a few files have
            a column more than the catalog, or end with fewer (L3).
        date_format: for `strftime`; times are added as hours, minutes and seconds.
    """

    seed: int = 1
    source: str = "DT"
    integration: str = "KS"
    files: int = 120
    days: int = 3
    rows_per_file: int = 50
    fulls: bool = False
    first_sequence: int = FIRST_SEQUENCE
    first_day: date = date(2026, 1, 5)
    end_of_line: str = "\n"
    header: bool = False
    date_format: str = "%m-%d-%Y"
