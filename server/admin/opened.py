"""An inbox that was opened for an operator, and the transaction in which he changes something in it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import DBAPIError

from loaders.shapes import Catalog
from server import home, incidents, journal, ledger, schema, views
from server.apis import load_catalog
from server.conditions import Facts
from server.config import Settings, load_settings
from server.database import Database, in_words
from server.decisions import Decision, Touched
from server.errors import InboxError, UsageError
from server.intake import Intake
from server.journal import Journal, JournalBehind, must_have_file, must_have_ledger
from server.migrate import is_prepared, prepare
from server.nudges import nudge
from server.receipt import DROP_FOLDER
from server.spool import Spool
from server.users import User, list_users


class _DryRun(Exception):
    """Ends a transaction that was only tried."""


@dataclass(frozen=True)
class Opened:
    """An inbox as its operator sees it, whether the server runs or not.

    Attributes:
        waiting: told what is ahead when a command has to wait for its turn to write.
        conf: the settings folder, where its users are; without one it has none.
    """

    settings: Settings
    spool: Spool
    database: Database
    catalog: Catalog
    waiting: Callable[[str], None] | None = None
    conf: Path | None = None

    @classmethod
    def open(
        cls,
        conf: Path,
        waiting: Callable[[str], None] | None = None,
        *,
        may_be_lost: bool = False,
        any_spool: bool = False,
    ) -> Self:
        """The inbox of a settings folder; its schema is made when missing, and so is its spool.

        Where it may be `any_spool`, none is made: `adopt` does it.

        Raises:
            SettingsError: the settings cannot be used.
            LedgerLost: the ledger knows nothing of what is in the spool, unless it `may_be_lost`.
            AnotherSpool: the ledger belongs to another spool, unless it may be `any_spool`.
            SpoolGone: the ledger's spool is not in its place.
        """
        inbox = cls.beside(conf, waiting)
        if not any_spool:
            home.settle(inbox.database, inbox.spool)
        elif inbox.spool.is_made:
            inbox.spool.enter()
        inbox._prepare(may_be_lost=may_be_lost, any_spool=any_spool)
        return inbox

    @classmethod
    def beside(
        cls, conf: Path, waiting: Callable[[str], None] | None = None, timeout_seconds: float = 30
    ) -> Self:
        """The same without asking the database anything; the spool may be away.

        Args:
            conf: the settings folder.
            waiting: see above.
            timeout_seconds: see `Database`.

        Raises:
            SettingsError: the settings cannot be used.
        """
        settings = load_settings(conf)
        spool = Spool(settings.inbox.spool)
        database = Database(settings.database_url, timeout_seconds=timeout_seconds)
        return cls(settings, spool, database, load_catalog(settings), waiting, conf)

    def _prepare(self, *, may_be_lost: bool = False, any_spool: bool = False) -> None:
        if not may_be_lost:
            must_have_file(self.database, self.spool)
        if not is_prepared(self.database):
            prepare(self.database, self.catalog)
        if not may_be_lost:
            with self.database.read() as connection:
                must_have_ledger(connection, self.spool)
        if not any_spool:
            home.claim(self.database, self.spool)

    @property
    def intake(self) -> Intake:
        """Judges files as the loader does."""
        return Intake(self.settings, lambda: frozenset(self.catalog), self.spool, self._may_push)

    def _may_push(self, user: str, address: str, source: str) -> bool:
        if user == DROP_FOLDER:
            return self.settings.drop_folder.may_hold(address, source)
        return any(source in found.sources for found in self._users() if found.name == user)

    def _users(self) -> list[User]:
        return [] if self.conf is None else list_users(self.conf)

    def _sources(self) -> set[str]:
        """The sources whose files somebody may send today, by FTP or in a drop folder."""
        of_users = (found.sources for found in self._users())
        return set(chain(*of_users, *self.settings.drop_folder.folders.values()))

    def find(self, connection: Connection, text: str) -> Row[Any]:
        """A file by id or name; see `views.find_file`."""
        return views.find_file(connection, text, self.settings.sequence.scope)

    def _must_know(self, connection: Connection, sources: Sequence[str]) -> None:
        """UsageError for a source that nobody may send, and of which nothing has come: it is mistyped."""
        known = {*self._sources(), *self.settings.sources} if sources else set()
        for source in {source.upper() for source in sources} - known:
            has_come = select(schema.file.c.id).where(schema.file.c.source == source).limit(1)
            if connection.execute(has_come).first() is None:
                raise UsageError(
                    f"Nothing has come from a source {source}, and no user or drop folder may have its "
                    "files.",
                    todo="`kore-inbox user list` has the sources of users, `[drop_folder] folders` those of "
                    "folders.",
                )

    @contextmanager
    def _deciding(self, purpose: str, decision: Decision) -> Iterator[tuple[Connection, datetime]]:
        """A write transaction that is undone if it was only tried; the loader hears of it if not."""
        try:
            with self.database.write(purpose, self.waiting) as connection:
                now, since = ledger.now_utc(), journal.last_event(connection)
                yield connection, now
                if decision.dry_run:
                    raise _DryRun
                incidents.review(Facts(connection, self.settings, self.catalog, self.spool, now))
        except _DryRun:
            return
        try:
            Journal(self.spool).catch_up(self.database, since)
        except (JournalBehind, OSError, DBAPIError) as error:
            raise InboxError(
                f"It is done, but the spool's journal cannot be written: {in_words(error)}.",
                todo="Look after the spool's disk and the database. The inbox notes it with what happens "
                "next; if the ledger is lost before, it is forgotten.",
            ) from error
        finally:
            nudge(self.spool.root)


def touched(connection: Connection, rows: Sequence[Row[Any]]) -> list[Touched]:
    """What became of files in this transaction, by their rows as they were before."""
    now = [ledger.file_by_id(connection, row.id) for row in rows]
    return [
        Touched(row.id, row.name, row.state, then.state, then.reason)
        for row, then in zip(rows, now, strict=True)
    ]
