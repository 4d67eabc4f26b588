"""What an operator sees of an inbox as a whole, and what a file of it waits for; nothing is changed."""

from dataclasses import asdict

from sqlalchemy.exc import DBAPIError

from server import explanation, home, hours, ledger, overview, roles, streams, views, waits
from server.admin.opened import Opened
from server.database import passes_by_itself, trouble
from server.journal import LedgerLost
from server.kinds import Kind
from server.names import FIRST_SEQUENCE
from server.sequence import Scope
from server.spool import SpoolGone


class Looking(Opened):
    """Status, the number that comes next, and why a file waits."""

    def status(self) -> views.Record:
        """The whole inbox at a glance; while database or spool is away, what can be seen without it.

        Raises:
            SpoolGone: the spool is not there, and never was as far as the ledger can tell.
        """
        gone = self.spool.gone()
        if gone is not None:
            return self._without_spool(gone)
        waiting = list(waits.beside(self.spool, self.settings.inbox))
        try:
            self._prepare()
            with self.database.read() as connection:
                found = overview.status(connection)
                waiting += waits.inside(connection, ledger.now_utc())
        except DBAPIError as error:
            if not passes_by_itself(error):
                raise
            # What the loader has noted says more: since when, and when it tries again.
            if all(wait.kind != trouble(error) for wait in waiting):
                waiting.append(waits.no_answer(error, self.database.place))
            found = overview.UNKNOWN | {"exceptions": 1}
        except LedgerLost:
            # Unless the inbox runs, there is nothing else to say.
            if all(wait.kind != Kind.DATABASE_AWAY for wait in waiting):
                raise
            found = overview.UNKNOWN | {"exceptions": 1}
        return {
            "waits": [asdict(wait) for wait in waiting],
            "loader": "running" if roles.is_taken(self.spool.root, "loader") else "not running",
            "unregistered": len(self.spool.pending_ids()),
            "unfinished": [
                {
                    "name": note.name,
                    "user": note.user,
                    "size_bytes": note.size_bytes,
                    "since": note.received_at,
                    "cut": note.cut,
                }
                for note in self.spool.staged_receipts()
            ],
            **found,
        }

    def _without_spool(self, gone: SpoolGone) -> views.Record:
        if not home.is_known(self.database):
            raise SpoolGone(f"{gone.happened} A new inbox makes it when it is started.", todo=gone.todo)
        with self.database.read() as connection:
            waiting = [waits.no_spool(gone, self.spool), *waits.inside(connection, ledger.now_utc())]
            found = overview.status(connection)
        return {
            "waits": [asdict(wait) for wait in waiting],
            "loader": "unknown",
            "unregistered": None,
            "unfinished": [],
            **found,
        }

    def next_number(self, source: str, integration: str) -> int:
        """What a source would number its next file with: behind all that has come, whatever is missing.

        Where each API counts by itself, the highest of their numbers.
        """
        parts = (source, integration)[: 1 if self.settings.sequence.scope is Scope.SOURCE else 2]
        with self.database.read() as connection:
            numbers = [
                max(stream.expected, highest.next if highest else stream.expected).sequence
                for stream in streams.by_rank(connection)
                if tuple(stream.name.split("_")[: len(parts)]) == parts
                for highest in [streams.highest(connection, stream.id)]
            ]
        return max(numbers, default=FIRST_SEQUENCE)

    def why(self, text: str) -> list[str]:
        """What a file waits for."""
        with self.database.read() as connection:
            waits = self.settings.dispatch.on_quarantine == "wait"
            row = self.find(connection, text)
            opens = hours.opens(self.settings.window(row.source), ledger.now_utc())
            return explanation.why(connection, row, waits_on_quarantine=waits, opens=opens)
