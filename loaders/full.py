"""A FULL: what it means for the rows that it does not hold, and when a person has to look (contract L6).

A FULL is the complete set of its API and stream. What it does not hold becomes inactive, is never deleted,
and comes back when the FULL is undone. An export that failed half-way looks just like many rows that are
gone, so a FULL that would make too much inactive waits for approval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, update

from loaders.activity import Activity
from loaders.keys import Key
from loaders.records import barrier
from loaders.shapes import Api

# So many rows may go whatever their share is: a small table is allowed to change.
_FEW_ROWS = 100


@dataclass(frozen=True, slots=True)
class Loss:
    """What a FULL does to one table: active rows of its stream before it, and how many it makes inactive.

    `keys` are the first of these by key, as many as were asked for; `key` has the names of the key's columns.
    """

    table: str
    active_before: int
    made_inactive: int
    key: tuple[str, ...] = ()
    keys: tuple[Key, ...] = ()


class Full:
    """One FULL while it is loaded; made before its first row goes in.

    `named_keys` is how many keys of the rows that it makes inactive are to be told, by table.
    """

    def __init__(
        self, activity: Activity, api: Api, stream: int, version: int, *, named_keys: int = 0
    ) -> None:
        self._activity = activity
        self._api = api
        self._stream = stream
        self._version = version
        self._named_keys = named_keys
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
        return self._deactivate()

    def reinstate(self) -> list[Loss] | None:
        """Take its undoing back: what it does not hold is inactive again; None if it is not undone."""
        if not _lift(self._activity.connection, self._api, self._stream, self._version, lifted=0):
            return None
        return self._deactivate()

    def _deactivate(self) -> list[Loss]:
        losses = []
        for table in self._api.tables:
            keys = (
                self._activity.about_to_go(self._api, table, self._stream, self._named_keys)
                if self._named_keys
                else []
            )
            gone = self._activity.deactivate(self._api, table, self._stream)
            losses.append(Loss(table.name, self._before[table.name], gone, table.key, tuple(keys)))
        return losses


def objection(losses: Sequence[Loss], *, good_rows: int, unreadable_keys: int, limit_percent: float) -> str:
    """Why a FULL needs approval, in sentences with all the counts; empty if it needs none.

    Args:
        losses: of `Full.finish`.
        good_rows: that were neither refused nor unreadable.
        unreadable_keys: rows of which not even the key could be read, so that any row might be theirs.
        limit_percent: the share of the active rows that may become inactive.
    """
    said = [] if good_rows else ["It has no good row."]
    is_objectionable = not good_rows
    for loss in losses:
        gone, before = loss.made_inactive, loss.active_before
        if not gone:
            continue
        if gone == before:
            ground = ": all of them"
        elif unreadable_keys:
            ground = f", while the keys of {unreadable_keys:,} of its rows cannot be read"
        elif gone > _FEW_ROWS and gone * 100 > before * limit_percent:
            ground = f", more than full_shrink_limit ({limit_percent:g} %)"
        else:
            ground = ""
        is_objectionable = is_objectionable or bool(ground)
        said.append(
            f"It would make inactive {gone:,} of the {before:,} active rows that its stream has in "
            f"{loss.table}{ground}."
        )
    if losses and not any(loss.made_inactive for loss in losses):
        said.append("It would make nothing inactive.")
    return " ".join(said) if is_objectionable else ""


def undo(connection: Connection, api: Api, stream: int, version: int) -> int | None:
    """Lift a FULL: what it made inactive is active again, unless another FULL says otherwise.

    Returns:
        how many rows became active; None if there is no such FULL, or it is undone already.
    """
    if not _lift(connection, api, stream, version, lifted=1):
        return None
    activity = Activity(connection)
    return sum(activity.reactivate(api, table, stream) for table in api.tables)


def _lift(connection: Connection, api: Api, stream: int, version: int, *, lifted: int) -> bool:
    """Put a FULL out of force, or in force again; whether it was otherwise before."""
    changed = connection.execute(
        update(barrier)
        .where(
            barrier.c.api == api.name,
            barrier.c.stream == stream,
            barrier.c.version == version,
            barrier.c.lifted != lifted,
        )
        .values(lifted=lifted)
    )
    return bool(changed.rowcount)
