"""Records to a terminal, to a pipe, or as JSON; whatever came from outside is escaped (contract X4).

A terminal gets a table that fits it. Anything else gets every value whole, one line a record, nothing
wrapped or cut (contract section 8).
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.process import escaped
from server.wording import for_people

Record = Mapping[str, Any]


def show(records: Sequence[Record], columns: Sequence[str], *, json_wanted: bool, empty: str) -> None:
    """Print records: all keys as JSON, the chosen columns, in people's words, otherwise.

    Args:
        records: any number of them, with equal keys.
        columns: the keys that a person wants to see, in order.
        json_wanted: `--json` was given.
        empty: what to say if there are none.
    """
    said = map(for_people, records)
    if json_wanted:
        say_json(list(records))
    elif not records:
        say(empty)
    elif sys.stdout.isatty():
        table = Table(box=None, pad_edge=False)
        for column in columns:
            table.add_column(_heading(column), overflow="fold")
        for record in said:
            table.add_row(*(Text(_cell(record[column])) for column in columns))
        Console().print(table)
    else:
        _aligned([[_heading(column) for column in columns]] + [[_cell(r[c]) for c in columns] for r in said])


def say(text: str) -> None:
    """Print a sentence of a result."""
    print(escaped(text))  # noqa: T201 - results go to standard output


def say_json(value: Any) -> None:
    """Print JSON with times in ISO 8601, UTC; in ASCII, which holds nothing that steers a terminal (X4)."""
    print(json.dumps(value, default=_plain, indent=2))  # noqa: T201 - results go to standard output


def complain(text: str) -> None:
    """Print a message to the person at the terminal, apart from results."""
    lines = text.splitlines() or [""]
    print("\n".join(escaped(line) for line in lines), file=sys.stderr)  # noqa: T201 - a message


def _aligned(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())  # noqa: T201 - results go to standard output


def _heading(column: str) -> str:
    return column.replace("_", " ")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return escaped(str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
