"""What the ledger says of files becomes answers to their senders (contract E3).

Every change of a file marks it in the ledger; here the marked ones are answered and the marks taken away, in
one transaction. A crash in between leaves the marks, and the answers are written once more.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from loaders import corrections
from loaders.rejects import Reject
from server import ledger, streams, views
from server.acks import ACK, REJECTS, Acks, Answer
from server.config import Settings
from server.names import parse_shown
from server.process import escaped

AT_ONCE = 100

_FIRST_ERRORS = 5

# In the order of an answer's lines; each is a column of `inbox_file`.
_COLUMNS = (
    *("state", "cause", "reason", "size_bytes", "sha256", "received_at", "loaded_at"),
    *("rows_read", "rows_loaded", "rows_rejected", "rows_parked"),
)


class Acknowledging:
    """Answers the senders of one inbox.

    Args:
        settings: how each source writes.
        acks: where answers go.
    """

    def __init__(self, settings: Settings, acks: Acks) -> None:
        self._settings = settings
        self._acks = acks

    def answer(self, connection: Connection, now: datetime) -> None:
        """Write answers that are due, not more than `AT_ONCE`.

        Raises:
            OSError: as the file system does; the marks have to stay then.
        """
        due = ledger.acks_due(connection, AT_ONCE)
        names = {row.name for row in due if row.api is not None and row.stream_id is not None}
        next_of = {stream.id: stream.expected.sequence for stream in streams.by_rank(connection)}
        for row in ledger.spoken_of(connection, sorted(names)).values():
            self._write(connection, row, next_of, now)
        ledger.acked(connection, [row.id for row in due])

    def _write(
        self, connection: Connection, row: Row[Any], next_of: Mapping[int, int], now: datetime
    ) -> None:
        name = parse_shown(row.name)
        rejects = [Reject(**record) for record in views.rejects(connection, row)] if row.rows_rejected else []
        # The rows first: who reads that some were rejected finds them.
        if rejects:
            codec = self._settings.reading(row.source).codec
            self._acks.write(Answer(name, REJECTS), corrections.as_bytes(rejects, codec))
        expected = f"{next_of[row.stream_id]:07d}" if name.has_own_number else ""
        lines = _lines(row, rejects, expected, now)
        self._acks.write(Answer(name, ACK), "".join(f"{line}\n" for line in lines).encode())
        if not rejects:
            self._acks.remove(Answer(name, REJECTS))


def _lines(row: Row[Any], rejects: list[Reject], expected: str, now: datetime) -> Iterator[str]:
    """The lines of an answer: a key, a tab, a value in which nothing can be taken for another line."""
    yield f"file\t{row.name}"
    for column in _COLUMNS:
        yield f"{column}\t{_shown(getattr(row, column))}"
    yield f"next_expected\t{expected}"
    yield f"written_at\t{_shown(now)}"
    for reject in rejects[:_FIRST_ERRORS]:
        yield f"error\t{escaped(str(reject))}"


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.isoformat(timespec='seconds')}Z"
    return "" if value is None else escaped(str(value))
