"""What an inbox waits for at this moment, as its spool, its processes and its ledger tell.

Most of it is seen without the database, which is what an operator needs when the database is away.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from server import notices, roles, schema
from server.config import Inbox
from server.database import in_words, trouble
from server.spool import Spool, SpoolGone, utc_now
from server.states import Event, State
from server.wording import sentence

# Whose notices there are, and by which lock of the spool one sees that they are not of yesterday.
NOTICED = {"loader": "loader", **{notices.of_child(role): "serve" for role in notices.ROLES}}

# What becomes of files meanwhile, by kind of trouble: a full database may be on the spool's disk.
_KEPT = {
    **dict.fromkeys(("disk full", "disk read-only", "disk fault"), "What was accepted is kept."),
    "spool gone": "What it holds is loaded when it is back.",
    "database full": "Files are accepted as long as the spool's disk has room, and kept there.",
}
_KEPT_OTHERWISE = "Files are accepted all the same, and kept in the spool."

# How many of the files that wait for their next try are named.
_NAMED_FILES = 10


@dataclass(frozen=True)
class Wait:
    """One thing that is waited for; times are UTC without a zone.

    Attributes:
        happened: what is in the way, as a sentence; `kept` and `todo` too, where there is something to say.
        since: when it began, if that is known.
        again_at: when it is tried again, if that is known.
    """

    kind: str
    subject: str
    happened: str
    kept: str = ""
    todo: str = ""
    since: datetime | None = None
    again_at: datetime | None = None


def beside(spool: Spool, inbox: Inbox) -> Iterator[Wait]:
    """What can be seen without the database.

    Raises:
        OSError: the spool cannot be looked at.
    """
    if not roles.is_taken(spool.root, "serve"):
        yield Wait(
            kind="not running",
            subject="serve",
            happened="The inbox does not run, so nothing is received and nothing is loaded.",
            todo="Start it with `kore-inbox serve`.",
        )
    yield from _disk(spool, inbox)
    for role, lock in NOTICED.items():
        notice = notices.read(spool, role)
        if notice is not None and roles.is_taken(spool.root, lock):
            yield Wait(
                kind=notice.kind,
                subject=notice.subject,
                happened=notice.happened,
                kept=notice.kept,
                todo=notice.todo,
                since=notice.first_seen,
                again_at=_to_come(notice.again_at),
            )


def _to_come(moment: datetime | None) -> datetime | None:
    """A moment that is not over: of a child that runs again nobody waits for the start."""
    now = utc_now().replace(tzinfo=None)
    return None if moment is None or moment < now else moment


def line(wait: Mapping[str, Any]) -> str:
    """A record of one, for people."""
    since = "" if wait["since"] is None else f" since {wait['since']:%Y-%m-%d %H:%M:%S} UTC"
    again = "" if wait["again_at"] is None else f"Next try at {wait['again_at']:%Y-%m-%d %H:%M:%S} UTC."
    told = " ".join(part for part in (wait["happened"], wait["kept"], again, wait["todo"]) if part)
    return f"waits ({wait['kind']}){since}: {told}"


def no_answer(error: Exception, place: str) -> Wait:
    """What whoever asks the database, at `place`, has just met."""
    kind = trouble(error)
    happened = f"The database does not answer: {in_words(error)}."
    return Wait(kind=kind, subject=place, happened=happened, kept=kept(kind))


def no_spool(gone: SpoolGone, spool: Spool) -> Wait:
    """What whoever looks for the spool has just met."""
    subject, said = str(spool.root), kept(gone.kind)
    return Wait(kind=gone.kind, subject=subject, happened=gone.happened, kept=said, todo=gone.todo)


def kept(kind: str) -> str:
    """What becomes of files while a fault of that kind lasts, as a sentence."""
    return _KEPT.get(kind, _KEPT_OTHERWISE)


def _disk(spool: Spool, inbox: Inbox) -> Iterator[Wait]:
    facts = os.statvfs(spool.data)
    if facts.f_flag & os.ST_RDONLY:
        yield Wait(
            kind="disk read-only",
            subject=str(spool.root),
            happened="The spool's disk may only be read, so uploads are answered 451.",
            kept="What was accepted is kept.",
            todo="Mount it for writing.",
        )
    free = spool.free_bytes()
    no_more_files = facts.f_files > 0 and facts.f_favail == 0
    # Where nothing is to stay free, the last byte may still be used.
    if free < max(1, inbox.min_free_disk) or no_more_files:
        yield Wait(
            kind="disk full",
            subject=str(spool.root),
            happened=f"The spool's disk has room for {free:,} bytes"
            + (" but for no more files" if no_more_files else "")
            + f", {inbox.min_free_disk:,} are to stay free (min_free_disk): uploads are answered 452.",
            kept="What was accepted is kept.",
            todo="Make room.",
        )


def inside(connection: Connection, now: datetime) -> Iterator[Wait]:
    """What the ledger knows.

    Args:
        connection: to the database.
        now: UTC.
    """
    file, event = schema.file, schema.event
    begun = (
        select(func.max(event.c.at))
        .where(event.c.file_id == file.c.id, event.c.event == Event.STARTED)
        .scalar_subquery()
    )
    query = select(file.c.name, file.c.size_bytes, begun.label("at")).where(file.c.state == State.LOADING)
    for file_name, size_bytes, at in connection.execute(query.order_by(file.c.id)):
        happened = f"{file_name} is being loaded, {size_bytes:,} bytes."
        yield Wait(kind="loading", subject=file_name, happened=happened, since=at)
    again = (
        select(file.c.name, file.c.attempts, file.c.reason, file.c.retry_at)
        .where(file.c.state == State.READY, file.c.retry_at > now)
        .order_by(file.c.retry_at, file.c.id)
        .limit(_NAMED_FILES)
    )
    for row in connection.execute(again):
        yield Wait(
            kind="next try",
            subject=row.name,
            happened=f"{row.name} could not be loaded so far ({row.attempts}): {sentence(row.reason)}",
            kept="Nothing of it is in, and it is kept.",
            again_at=row.retry_at,
        )
