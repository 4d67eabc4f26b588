"""Keys of rows: as texts, as the database gives them back, and in portions that a statement can hold."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import TypeVar

from sqlalchemy import ColumnElement, TableClause, and_, tuple_

from loaders.fields import Value

Key = tuple[Value, ...]
Item = TypeVar("Item")

# Values bound in one statement: far below every database's limit, and the statement stays small.
BINDS = 500
# So many values of a column may be combined with all those of the next one.
_FEW = 4


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
    """Conditions, one for each portion of the keys: the table's columns are one of them.

    SQLite finds no index for several columns at once and would read the whole table for each portion, so the
    first columns are named by themselves too, up to one that tells most of the keys apart.
    """
    compared = [table.c[name] for name in columns]
    for chunk in chunks(keys, BINDS // (len(compared) + 1)):
        named: list[ColumnElement[bool]] = []
        for place, compared_column in enumerate(compared):
            values = {key[place] for key in chunk}
            named.append(compared_column.in_(values))
            if len(values) > _FEW:
                break
        yield named[0] if len(compared) == 1 else and_(*named, tuple_(*compared).in_(chunk))
