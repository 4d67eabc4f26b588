"""A FULL: what it means for the rows that it does not hold, and when a person has to look (contract L6).

A FULL is the complete set of its API and stream. What it does not hold becomes inactive, is never deleted,
and comes back when the FULL is undone. An export that failed half-way looks just like many rows that are
gone, so a FULL that would make too much inactive waits for approval.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, update

from loaders.activity import Activity
from loaders.records import barrier
from loaders.shapes import Api

# So many rows may go whatever their share is: a small table is allowed to change.
_FEW_ROWS = 100


@dataclass(frozen=True, slots=True)
class Loss:
    """What a FULL does to one table: active rows of its stream before it, and how many it makes inactive."""

    table: str
    active_before: int
    made_inactive: int


class Full:
    """One FULL while it is loaded; made before its first row goes in."""

    def __init__(self, activity: Activity, api: Api, stream: int, version: int) -> None:
        self._activity = activity
        self._api = api
        self._stream = stream
        self._version = version
        self._before = {
            table.name: activity.count_active(table, stream) for table in api.tables if api.deactivates
        }

    def finish(self) -> list[Loss]:
        """Make inactive what it does not hold, once all its rows are in, parked or refused."""
        if not self._api.deactivates:
            return []
        self._activity.add_full(self._api, self._stream, self._version)
        if self._activity.floor(self._api, self._stream) != self._version:
            return []
        return [
            Loss(
                table.name,
                self._before[table.name],
                self._activity.deactivate(self._api, table, self._stream),
            )
            for table in self._api.tables
        ]


def objection(losses: list[Loss], *, good_rows: int, unreadable_keys: int, limit_percent: float) -> str:
    """Why a FULL needs approval, as a sentence; empty if it needs none.

    Args:
        losses: of `Full.finish`.
        good_rows: that were neither refused nor unreadable.
        unreadable_keys: rows of which not even the key could be read, so that any row might be theirs.
        limit_percent: the share of the active rows that may become inactive.
    """
    if not good_rows:
        return "It has no good row."
    for loss in losses:
        gone, before = loss.made_inactive, loss.active_before
        if not gone:
            continue
        said = f"It would make inactive {gone:,} of {before:,} active rows of {loss.table}"
        if gone == before:
            return f"{said}: all of them."
        if unreadable_keys:
            return f"{said}, while the keys of {unreadable_keys:,} of its rows cannot be read."
        if gone > _FEW_ROWS and gone * 100 > before * limit_percent:
            return f"{said}, more than full_shrink_limit ({limit_percent:g} %)."
    return ""


def undo(connection: Connection, api: Api, stream: int, version: int) -> int | None:
    """Lift a FULL: what it made inactive is active again, unless another FULL says otherwise.

    Returns:
        how many rows became active; None if there is no such FULL, or it is undone already.
    """
    lifted = connection.execute(
        update(barrier)
        .where(
            barrier.c.api == api.name,
            barrier.c.stream == stream,
            barrier.c.version == version,
            barrier.c.lifted == 0,
        )
        .values(lifted=1)
    )
    if not lifted.rowcount:
        return None
    activity = Activity(connection)
    return sum(activity.reactivate(api, table, stream) for table in api.tables)
