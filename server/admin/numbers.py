"""What an operator decides about the numbers of a stream (contract S1, S4)."""

from datetime import datetime

from sqlalchemy import Connection

from server import numbering, streams
from server.admin.opened import Opened
from server.decisions import Decision
from server.sequence import Range


class Numbers(Opened):
    """Give up missing numbers, and say which one is due."""

    def skip(self, stream_name: str, first: int, last: int, decision: Decision) -> list[Range]:
        """Give up missing numbers, also ahead of time (contract S4); returns those that were missing.

        Numbers that have arrived or were skipped already are passed over.

        Raises:
            UsageError: there can be no such stream, or the numbers are far ahead of all that has come or
                end before they begin.
        """
        with self._deciding(f"skipping in {stream_name}", decision) as (connection, now):
            stream = self._stream(connection, stream_name, now)
            return numbering.skip(
                connection, stream, first, last, now, by=decision.by, reason=decision.reason
            )

    def set_sequence(self, stream_name: str, number: int, decision: Decision) -> numbering.Setting:
        """Say which number is due (contract S1); see `numbering.set_due`.

        Raises:
            UsageError: the number is none, or there can be no such stream.
        """
        with self._deciding(f"setting {stream_name}", decision) as (connection, now):
            stream = self._stream(connection, stream_name, now)
            return numbering.set_due(connection, stream, number, now, by=decision.by, reason=decision.reason)

    def _stream(self, connection: Connection, name: str, now: datetime) -> streams.Stream:
        return numbering.open_stream(
            connection, name, self.settings, sources=self._sources(), apis=self.catalog.keys(), now=now
        )
