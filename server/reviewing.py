"""When the loader looks over the whole: incidents, refused rows, texts that have not joined (E1, L5).

The more there is the longer that takes, and no file is loaded meanwhile. So each part rests for many times
what it took, and what has not joined is counted only when the loader has nothing else to do, and only if
anything has happened.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

from sqlalchemy import Connection

from loaders.shapes import Catalog
from server import incidents, journal, refused_rows, unjoined
from server.conditions import Facts
from server.config import Settings
from server.database import Database
from server.pace import Pace
from server.spool import Spool

# Incidents are brought up to date so often while there is work, and while there is none; and when it ends.
BUSY_SECONDS = 5.0
IDLE_SECONDS = 60.0
# Of the loader's time, for each part.
SHARE = 0.05

Transaction = Callable[[str], AbstractContextManager[tuple[Connection, datetime]]]


class Reviewing:
    """Looks over one installation between loads.

    Args:
        settings: of the inbox.
        spool: whose disk is looked at.
        database: ledger and tables.
        catalog: the APIs.
        transaction: begins a write transaction of the lease's holder, for a purpose.
    """

    def __init__(
        self, settings: Settings, spool: Spool, database: Database, catalog: Catalog, transaction: Transaction
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._database = database
        self._catalog = catalog
        self._transaction = transaction
        self._refused_rows = refused_rows.Round()
        self._reviewed = Pace(SHARE)
        self._counted = Pace(SHARE)
        self._review_at = 0.0
        self._has_changed = True
        self._counted_event: int | None = None

    def go_on(self, *, worked: bool) -> None:
        """Do what is due.

        Args:
            worked: whether the loader had anything to do, and so may have again.
        """
        self._has_changed = self._has_changed or worked
        work_ended = self._has_changed and not worked and self._reviewed.is_due()
        if work_ended or time.monotonic() >= self._review_at:
            with self._reviewed.step():
                self.review()
            self._review_at = time.monotonic() + (BUSY_SECONDS if worked else IDLE_SECONDS)
            self._has_changed = worked
        if not worked and self._counted.is_due():
            with self._counted.step():
                self._count()

    def review(self) -> None:
        """Open and close incidents, with the next of the refused rows looked at."""
        with self._transaction("reviewing incidents") as (connection, now):
            self._refused_rows.go_on(connection, self._catalog)
            incidents.review(Facts(connection, self._settings, self._catalog, self._spool, now))

    def _count(self) -> None:
        with self._database.read() as connection:
            event = journal.last_event(connection)
            if event == self._counted_event:
                return
            found = unjoined.count(connection, self._catalog)
        with self._transaction("counting what has not joined") as (connection, now):
            unjoined.record(connection, found, now)
        self._counted_event = event
