"""A store for tests: a database with all tables, into which texts are loaded as files."""

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, make_url, text

from loaders import growth
from loaders.catalog import read_catalog
from loaders.load import Delivery, Outcome, SourceOptions, load
from loaders.records import metadata
from loaders.shapes import Catalog
from server.database import Database

CATALOG = read_catalog()
# Stream 2 has the lower rank: the order of ids must not matter.
RANKS = {1: 20, 2: 10}


@dataclass
class Store:
    """One database; `catalog` says which tables it has."""

    database: Database
    catalog: Catalog = CATALOG
    files: Iterator[int] = field(default_factory=lambda: iter(range(1001, 10**9)))

    @classmethod
    def at(cls, url: str, catalog: Catalog = CATALOG) -> "Store":
        store = cls(Database(make_url(url)), catalog)
        with store.database.write("making the tables") as connection:
            metadata.create_all(connection)
            growth.grow(connection, catalog)
        return store

    @contextmanager
    def undone(self) -> Iterator[Connection]:
        """A transaction that leaves nothing behind."""
        with self.database.engine.connect() as connection:
            transaction = connection.begin()
            yield connection
            transaction.rollback()

    def load(
        self,
        api: str,
        content: str | bytes | Sequence[Sequence[str]],
        *,
        connection: Connection | None = None,
        file_id: int | None = None,
        stream: int = 1,
        version: int | None = None,
        ranks: Mapping[int, int] = RANKS,
        max_rejected: int = 1000,
        mode: str = "NET",
        shrink_limit_percent: float = 20,
        is_approved: bool = False,
        corrections: Sequence[Mapping[int, str]] = (),
        named_keys: int = 0,
        lines: Collection[int] | None = None,
        **options: Any,
    ) -> Outcome:
        """Load one file; a text, bytes, or rows of cells. The version is the file's number unless given."""
        if not isinstance(content, str | bytes):
            content = "".join("\t".join(row) + "\n" for row in content)
        data = content.encode() if isinstance(content, str) else content
        number = next(self.files) if file_id is None else file_id
        delivery = Delivery(
            number,
            api,
            mode,
            stream,
            number if version is None else version,
            ranks,
            SourceOptions(**options),
            max_rejected,
            shrink_limit_percent,
            is_approved,
            corrections,
            named_keys,
            lines,
        )
        if connection is not None:
            return load(connection, self.catalog, delivery, io.BytesIO(data))
        with self.database.write("loading") as own:
            return load(own, self.catalog, delivery, io.BytesIO(data))

    def rows(
        self, table: str, *columns: str, connection: Connection | None = None
    ) -> list[tuple[object, ...]]:
        """A table's rows in an order of their own, with days, times and decimals as texts."""
        query = text(f"SELECT {', '.join(columns) or '*'} FROM {table}")
        if connection is not None:
            found = connection.execute(query).all()
        else:
            with self.database.read() as own:
                found = own.execute(query).all()
        return sorted((tuple(map(plain, row)) for row in found), key=repr)


def plain(value: object) -> object:
    """A value as both databases would give it."""
    if isinstance(value, Decimal | date):
        return str(value)
    return value


def customer(number: str, *, name: str = "", site: str = "", site_name: str = "", **more: str) -> list[str]:
    """A row of CUSTOMERS."""
    row = [""] * 19
    row[0], row[3], row[12], row[13] = number, name, site, site_name
    row[16], row[17], row[18] = more.get("terms", ""), more.get("term_type", ""), more.get("days", "")
    return row


def item(item_id: str, *, description: str = "", category: str = "") -> list[str]:
    """A row of MFG_ITEMS."""
    row = [""] * 17
    row[0], row[1], row[7], row[8], row[10], row[13] = item_id, description, "N", "N", "1", category
    return row


def price(item_id: str, *, sheet: str = "", amount: str = "1", start: str = "") -> list[str]:
    """A row of BASE_PRICES."""
    return [item_id, sheet, amount, "LIST", start, "1", "EA"]


def order(
    number: str,
    line: str,
    *,
    customer_number: str = "C1",
    date: str = "2024-01-31",
    qty: str = "1",
    status: str = "O",
) -> list[str]:
    """A row of ORDERS."""
    row = [""] * 23
    row[0], row[2], row[6], row[7], row[8] = number, customer_number, status, line, "I1"
    row[11], row[12] = date, qty
    return row
