"""Keys of rows: as texts, as the database gives them back, and in portions that a statement can hold."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import TypeVar

from sqlalchemy import ColumnElement, TableClause, tuple_

from loaders.fields import Value

Key = tuple[Value, ...]
Item = TypeVar("Item")

# Values bound in one statement: far below every database's limit, and the statement stays small.
BINDS = 500


def row_key(key: Sequence[Value]) -> str:
    """A key as parked rows and mentions are found by it."""
    return json.dumps(key, ensure_ascii=False)


def key_of(text: str) -> Key:
    """The key that `row_key` made a text of."""
    return tuple(json.loads(text))


def as_written(value: Value | Decimal | date) -> Value:
    """A key's part as we write it; drivers give days, times and decimals back as objects of their own."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):
        return str(value)
    return value


def chunks(items: Iterable[Item], size: int = BINDS) -> Iterator[list[Item]]:
    """Items in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def among(table: TableClause, columns: Sequence[str], keys: Iterable[Key]) -> Iterator[ColumnElement[bool]]:
    """Conditions, one for each portion of the keys: the table's columns are one of them."""
    compared = [table.c[name] for name in columns]
    for chunk in chunks(keys, BINDS // len(compared)):
        if len(compared) == 1:
            yield compared[0].in_([key[0] for key in chunk])
        else:
            yield tuple_(*compared).in_(chunk)
