"""An inbox without processes: a spool, a ledger, and a loader that works when the test says so."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, make_url, select, text
from sqlalchemy.exc import DBAPIError

from loaders.records import metadata
from loaders.shapes import Catalog
from loaders.tables import target
from server import schema
from server.admin import Inbox
from server.config import Database as DatabaseSettings
from server.config import Dispatch, Settings
from server.database import Database
from server.dispatcher import Dispatcher
from server.receipt import Receipt
from server.spool import Spool, utc_now
from tests.support.prepared import CATALOG, make_tables

Change = Callable[[Settings], Settings]


@dataclass
class Bench:
    """Everything one inbox has, in this process."""

    settings: Settings
    spool: Spool
    database: Database
    catalog: Catalog

    @classmethod
    def make(cls, folder: Path, url: str, change: Change = lambda settings: settings) -> "Bench":
        settings = change(Settings(database=DatabaseSettings(url=url), dispatch=Dispatch(settle=0)))
        spool = Spool(folder / "spool")
        spool.create()
        database = Database(make_url(url))
        make_tables(database)
        return cls(settings, spool, database, CATALOG)

    def arrive(
        self,
        name: str,
        data: bytes,
        *,
        user: str = "erp",
        refusal: str | None = None,
        cause: str | None = None,
        source: str | None = None,
    ) -> Receipt:
        """What the receiver leaves behind when it has said 226."""
        receipt_id = self.spool.new_id()
        with self.spool.open_data(receipt_id) as handle:
            handle.write(data)
        now = utc_now().isoformat()
        receipt = Receipt(
            id=receipt_id,
            name=name,
            user=user,
            address="127.0.0.1",
            started_at=now,
            received_at=now,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            sha256_lf=hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest(),
            data=receipt_id,
            refusal=refusal,
            cause=cause,
            source=source,
        )
        self.spool.accept(receipt)
        return receipt

    def loader(self, **changes: Any) -> Dispatcher:
        """A loader with the lease, recovered as after a start."""
        settings = replace_settings(self.settings, **changes)
        loader = Dispatcher(settings, self.spool, self.database, self.catalog)
        assert loader.take_lease()
        loader.recover()
        return loader

    def work(self, **changes: Any) -> None:
        """Load until nothing is left to do."""
        loader = self.loader(**changes)
        while loader.work():
            pass

    @property
    def inbox(self) -> Inbox:
        """The operator's side."""
        return Inbox(self.settings, self.spool, self.database, self.catalog)

    def states(self) -> dict[str, str]:
        """The state of the latest file of each name."""
        query = select(schema.file.c.name, schema.file.c.state).order_by(schema.file.c.id)
        with self.database.read() as connection:
            return dict(connection.execute(query).all())

    def states_or_none(self) -> dict[str, str]:
        """The same, and nothing while the database does not answer."""
        try:
            return self.states()
        except DBAPIError:
            return {}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """A target table by key, without what differs from run to run."""
        found = target(self.catalog).tables[table]
        columns = [column for column in found.columns if column.name != "file_id"]
        with self.database.read() as connection:
            query = select(*columns).order_by(*found.primary_key.columns)
            return [dict(row._mapping) for row in connection.execute(query)]

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Every target table."""
        return {name: self.rows(name) for name in target(self.catalog).tables}


def lose_ledger(bench: Bench, *, tables_too: bool) -> None:
    """Leave an empty ledger, and empty target tables if they are lost as well."""
    lost = [*metadata.sorted_tables, *(target(bench.catalog).sorted_tables if tables_too else [])]
    with bench.database.write("losing the ledger") as connection:
        if not bench.database.is_sqlite:
            # It would delete parents row by row, of tables that refer to themselves.
            connection.execute(text("SET SESSION foreign_key_checks = 0"))
        for table in reversed(lost):
            connection.execute(delete(table))
        if not bench.database.is_sqlite:
            connection.execute(text("SET SESSION foreign_key_checks = 1"))


def replace_settings(settings: Settings, **sections: Any) -> Settings:
    """Settings with whole sections replaced."""
    return settings.model_copy(update=sections)
