"""The whole inbox at a glance (contract section 8, `status`)."""

from datetime import datetime

from sqlalchemy import Connection, func, select

from loaders import records
from loaders.rejects import shown
from server import schema, streams, views, waits
from server.states import Event, State
from server.wording import counted, for_people, size

# So many lines are told of uploads that nobody has finished.
_MOST_UNFINISHED = 20


def status(connection: Connection) -> views.Record:
    """The whole inbox at a glance."""
    by_state = select(schema.file.c.state, func.count()).group_by(schema.file.c.state)
    counts: dict[str, int] = dict(connection.execute(by_state).all())
    by_cause = (
        select(schema.file.c.cause, func.count())
        .where(schema.file.c.state == State.DEFERRED)
        .group_by(schema.file.c.cause)
    )
    oldest = connection.execute(
        select(func.min(schema.file.c.received_at)).where(schema.file.c.state == State.READY)
    ).scalar_one()
    # From the end of the history, where it is near, instead of the highest of a million files.
    loaded = select(schema.event.c.at).where(schema.event.c.event == Event.COMMITTED)
    last = connection.execute(loaded.order_by(schema.event.c.id.desc()).limit(1)).scalar_one_or_none()
    still_open = select(func.count()).select_from(schema.incident).where(schema.incident.c.open == 1)
    exceptions = connection.execute(still_open).scalar_one()
    return {
        "database": "answers",
        "streams": [
            {"stream": stream.name, "next": stream.expected.sequence, "epoch": stream.expected.epoch}
            for stream in streams.by_rank(connection)
        ],
        "gaps": views.missing(connection),
        "files": {str(state): counts.get(str(state), 0) for state in State if counts.get(str(state))},
        "deferred": {str(cause): number for cause, number in connection.execute(by_cause)},
        "oldest_ready_at": oldest,
        "last_loaded_at": last,
        "exceptions": exceptions,
        "rows_parked": connection.execute(select(func.count()).select_from(records.parked_row)).scalar_one(),
        "unjoined": views.unjoined(connection),
    }


# The same where the database does not answer: as many keys, and nothing that could pass for a count.
UNKNOWN: views.Record = {
    "database": "away",
    "streams": None,
    "gaps": None,
    "files": None,
    "deferred": None,
    "oldest_ready_at": None,
    "last_loaded_at": None,
    "exceptions": None,
    "rows_parked": None,
    "unjoined": None,
}


def lines(found: views.Record) -> list[str]:
    """The same in sentences, beginning with what is waited for."""
    said = [f"loader: {found['loader']}", *map(waits.line, found["waits"])]
    if found["unregistered"]:
        said.append(f"accepted, and not in the ledger yet: {counted(found['unregistered'], 'file')}")
    said += [
        f"unfinished: {shown(part['name'])} of {part['user']}, {size(part['size_bytes'])} kept since "
        f"{datetime.fromisoformat(part['since']):%Y-%m-%d %H:%M:%S} UTC; "
        + (f"cut: {part['cut']}" if part["cut"] else "whole, and waits to be renamed")
        for part in found["unfinished"][:_MOST_UNFINISHED]
    ]
    if (more := len(found["unfinished"]) - _MOST_UNFINISHED) > 0:
        said.append(f"unfinished: {counted(more, 'more upload')} (--json has all)")
    if found["streams"] is None:
        return [*said, "streams, gaps, files and exceptions can be seen when the database is back"]
    said += [
        f"stream {stream['stream']}: next is {stream['next']:07d}"
        + (f" (epoch {stream['epoch']})" if stream["epoch"] else "")
        for stream in found["streams"]
    ]
    said += [
        f"gap in {gap['stream']}: {gap['first']}"
        + (f" to {gap['last']}" if gap["numbers"] > 1 else "")
        + f" missing for {gap['age']}, {counted(gap['holds_back'], 'file')} held back"
        for gap in map(for_people, found["gaps"])
    ]
    said += [f"{state}: {counted(number, 'file')}" for state, number in found["files"].items()]
    said += [
        f"  deferred ({cause}): {counted(number, 'file')}" for cause, number in found["deferred"].items()
    ]
    for key, label in (("oldest_ready_at", "oldest ready file"), ("last_loaded_at", "last load")):
        if found[key] is not None:
            said.append(f"{label}: {found[key]:%Y-%m-%d %H:%M:%S} UTC")
    said += [
        f"not joined: {counted(part['rows_unjoined'], 'row')} of {part['table_name']}, "
        f"whose {part['column_name']} is not in {part['parent_table']}"
        for part in found["unjoined"]
    ]
    said += [
        f"drop folder {part['folder']}: {part['trouble']}, since {part['since']:%Y-%m-%d %H:%M:%S} UTC"
        for part in found.get("drop_folders", ())
    ]
    said.append(f"rows parked: {found['rows_parked']:,}")
    said.append(
        f"exceptions: {found['exceptions']}" + (" (kore-inbox exceptions)" if found["exceptions"] else "")
    )
    return said
