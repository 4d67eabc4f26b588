"""Missing numbers: by stream, with their age and what they hold back (contract S3)."""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from sqlalchemy import Connection, select

from server import ledger, schema
from server.sequence import Range, Version, gaps
from server.states import State


@dataclass(frozen=True)
class Gap:
    """Numbers that files wait for.

    Attributes:
        stream: its name.
        missing: the numbers.
        since: UTC; when the first file came that has a higher number, so that the gap could be seen.
        holds_back: how many files are held that come after it.
    """

    stream: str
    missing: Range
    since: datetime
    holds_back: int

    def age_seconds(self, now: datetime) -> float:
        """How long the gap has been there; nothing, if the clock was set back meanwhile."""
        return max(0.0, (now - self.since).total_seconds())


def find(connection: Connection, stream_name: str | None = None) -> list[Gap]:
    """All gaps, of one stream or of all, in order."""
    found: list[Gap] = []
    for stream in ledger.streams(connection):
        if stream_name in (None, stream.name):
            found += _find_in(connection, stream)
    return found


def _find_in(connection: Connection, stream: ledger.Stream) -> list[Gap]:
    file = schema.file
    query = (
        select(file.c.version, file.c.received_at, file.c.state)
        .where(file.c.stream_id == stream.id, file.c.holder == 1, file.c.version >= int(stream.expected))
        .order_by(file.c.version)
    )
    rows = connection.execute(query).all()
    if not rows:
        return []
    versions = [row.version for row in rows]
    # Seen from the end: the earliest arrival, and the number of held files, from each position on.
    earliest = list(accumulate((row.received_at for row in reversed(rows)), min))[::-1]
    held = list(accumulate(int(row.state == State.HELD) for row in reversed(rows)))[::-1]
    return [
        Gap(stream.name, missing, earliest[place], held[place])
        for missing in gaps(
            stream.expected,
            map(Version.of, versions),
            ledger.skips(connection, stream.id, stream.expected),
        )
        for place in [bisect_right(versions, int(missing.last))]
    ]
