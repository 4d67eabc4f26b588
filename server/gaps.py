"""Missing numbers: by stream, with their age and what they hold back (contract S3)."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection, Row, case, func, select

from server import schema, streams
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
    for stream in streams.by_rank(connection):
        if stream_name in (None, stream.name):
            found += _find_in(connection, stream)
    return found


def _find_in(connection: Connection, stream: streams.Stream) -> list[Gap]:
    rows = _runs(connection, stream)
    runs = [Range(Version.of(row.first), Version.of(row.last)) for row in rows]
    # Seen from the end: the earliest arrival, and the number of held files, from each run on.
    earliest = list(accumulate((row.earliest for row in reversed(rows)), min))[::-1]
    held = list(accumulate(int(row.held) for row in reversed(rows)))[::-1]
    skips = streams.skips(connection, stream.id, stream.expected)
    return [
        Gap(stream.name, missing, earliest[place], held[place])
        for missing in gaps(stream.expected, runs, skips)
        for place in [bisect_right(runs, missing.last, key=lambda run: run.first)]
    ]


def _runs(connection: Connection, stream: streams.Stream) -> Sequence[Row[*tuple[Any, ...]]]:
    """The versions ahead that have arrived, in runs without a gap: first, last, earliest arrival, files held.

    The database finds them, as a hundred thousand files may wait behind one gap.
    """
    file = schema.file
    # Along a run a version and its place in the row grow alike.
    run = file.c.version - func.row_number().over(order_by=file.c.version)
    ahead = (
        select(file.c.version, file.c.received_at, file.c.state, run.label("run"))
        .where(file.c.stream_id == stream.id, file.c.holder == 1, file.c.version >= int(stream.expected))
        .subquery()
    )
    query = (
        select(
            func.min(ahead.c.version).label("first"),
            func.max(ahead.c.version).label("last"),
            func.min(ahead.c.received_at).label("earliest"),
            func.sum(case((ahead.c.state == State.HELD, 1), else_=0)).label("held"),
        )
        .group_by(ahead.c.run)
        .order_by("first")
    )
    return connection.execute(query).all()
