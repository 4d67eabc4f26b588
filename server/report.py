"""The day's report: what came, what became of it, and what still waits (contract section 8, E1)."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from server import overview, schema, views
from server.states import State
from server.wording import counted, size

DAY = timedelta(days=1)

_WAITING = (State.HELD, State.DEFERRED, State.READY, State.LOADING)
_NOT_IN = (State.REFUSED, State.QUARANTINED)


def report(connection: Connection, since: datetime, now: datetime) -> views.Record:
    """What happened between two moments, UTC, and what is so at the second one.

    Whatever came since then is counted by the state that it has now; rows are those of files loaded since.
    """
    file, incident = schema.file.c, schema.incident.c
    came = connection.execute(
        select(file.state, func.count(), func.sum(file.size_bytes))
        .where(file.received_at >= since)
        .group_by(file.state)
    ).all()
    loaded = connection.execute(
        select(
            func.count().label("files_loaded"),
            *(
                func.coalesce(func.sum(file[name]), 0).label(name)
                for name in ("rows_loaded", "rows_rejected", "rows_parked")
            ),
        ).where(file.loaded_at >= since, file.holder == 1)
    ).one()
    at_a_glance = overview.status(connection)
    opened = select(func.count()).where(incident.first_seen >= since)
    closed = select(func.count()).where(incident.closed_at >= since)
    return {
        "since": since,
        "until": now,
        "came": {state: number for state, number, _ in came},
        "came_bytes": int(sum(sum_bytes for *_, sum_bytes in came)),
        **{name: int(value) for name, value in loaded._mapping.items()},
        "waiting": {state: number for state, number in at_a_glance["files"].items() if state in _WAITING},
        "not_in": {state: number for state, number in at_a_glance["files"].items() if state in _NOT_IN},
        "gaps": at_a_glance["gaps"],
        "exceptions_opened": connection.execute(opened).scalar_one(),
        "exceptions_closed": connection.execute(closed).scalar_one(),
        "exceptions": views.incidents(connection, closed=False),
    }


def lines(found: views.Record) -> Iterator[str]:
    """The same in sentences."""
    yield f"From {found['since']:%Y-%m-%d %H:%M} to {found['until']:%Y-%m-%d %H:%M} UTC"
    number = sum(found["came"].values())
    amount = f", {size(found['came_bytes'])}" if number else ""
    yield f"came: {counted(number, 'file')}{amount}{_by_state(found['came'])}"
    yield (
        f"loaded: {counted(found['files_loaded'], 'file')}; rows in: {found['rows_loaded']:,}, "
        f"rejected: {found['rows_rejected']:,}, parked: {found['rows_parked']:,}"
    )
    yield f"waiting now: {counted(sum(found['waiting'].values()), 'file')}{_by_state(found['waiting'])}"
    yield f"not in, and kept: {counted(sum(found['not_in'].values()), 'file')}{_by_state(found['not_in'])}"
    missing = sum(gap["numbers"] for gap in found["gaps"])
    yield f"missing: {counted(missing, 'number')}" + (" (`kore-inbox gaps`)" if missing else "")
    yield (
        f"exceptions: {found['exceptions_opened']:,} opened, {found['exceptions_closed']:,} closed, "
        f"{len(found['exceptions']):,} open"
    )
    for exception in found["exceptions"]:
        what = f"{exception['kind']}: {exception['subject']}"
        since = f"since {exception['first_seen']:%Y-%m-%d %H:%M} UTC"
        yield f"{what}, {since}. {exception['happened']} {exception['todo']}"


def _by_state(counts: dict[str, int]) -> str:
    said = ", ".join(f"{number:,} {state}" for state, number in sorted(counts.items()))
    return f" ({said})" if said else ""
