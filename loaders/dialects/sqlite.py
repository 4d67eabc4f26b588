"""SQLite: a prepared `INSERT … ON CONFLICT DO UPDATE … WHERE` of several rows, run again and again.

Several rows at once spare the driver a third of its own work, and more than some twenty spare no more
(measured). SQLite takes the rows of a statement one after the other; each sees those before it.
"""

import sqlite3
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from loaders.dialects.upsert import Upsert, Winner

# The driver looks for an adapter of each None, and finding none takes it longer than all else it does with a
# value (measured: rows of 25 columns, 8 of them None, took 4.0 µs; with this one, which gives None, 2.7 µs).
_nothing: dict[None, None] = {}
sqlite3.register_adapter(type(None), _nothing.get)

# Values bound at once; older builds of SQLite allow 999.
_BINDS = 500


def run(connection: Connection, upsert: Upsert, rows: Sequence[tuple[Any, ...]]) -> None:
    """Join rows into their table, in their order."""
    quote = connection.dialect.identifier_preparer.quote
    at_once = max(1, _BINDS // len(upsert.columns))
    rest = len(rows) - len(rows) % at_once
    if rest:
        groups = [tuple(chain.from_iterable(rows[i : i + at_once])) for i in range(0, rest, at_once)]
        connection.exec_driver_sql(statement(upsert, quote, at_once), groups)
    if rest < len(rows):
        connection.exec_driver_sql(statement(upsert, quote, 1), list(rows[rest:]))


def statement(upsert: Upsert, quote: Callable[[str], str], rows: int) -> str:
    """The statement for so many rows, with a `?` for each of their columns."""
    table = quote(upsert.table)
    columns = ", ".join(quote(column) for column in upsert.columns)
    places = ", ".join("?" for _ in upsert.columns)
    values = ", ".join(f"({places})" for _ in range(rows))
    key = ", ".join(quote(column) for column in upsert.key)
    changed = ", ".join(
        f"{quote(column)} = excluded.{quote(column)}"
        for column in (*upsert.data, "line", "version", "stream")
    )
    gives_way = "<=" if upsert.winner is Winner.HIGHEST else ">="
    wins = (
        f"{table}.stream = excluded.stream"
        f" AND ({table}.version, {table}.line) {gives_way} (excluded.version, excluded.line)"
    )
    if upsert.beaten:
        wins = f"({wins}) OR {table}.stream IN ({', '.join(str(int(stream)) for stream in upsert.beaten)})"
    # Nothing in it comes from a file: names are the catalog's, quoted, and numbers are ours.
    return (
        f"INSERT INTO {table} ({columns}) VALUES {values}"  # noqa: S608 - see above
        f" ON CONFLICT ({key}) DO UPDATE SET {changed} WHERE {wins}"
    )
