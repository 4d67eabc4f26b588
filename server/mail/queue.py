"""The queue of letters, and what people have been told: all that mail keeps in the ledger.

Every function works in the caller's transaction. A letter is in the queue until it is sent or given up, and
remembered for a week after it was queued.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from loaders import records
from loaders.rejects import Reject
from server import schema
from server.mail.letter import Letter
from server.mail.plan import Sent, Told

# While a letter is being sent nobody else takes it; longer than any server takes to answer, since a letter
# that is taken up again is sent again.
CLAIM = timedelta(minutes=10)
RETRY_FIRST = timedelta(seconds=5)
RETRY_LAST = timedelta(minutes=15)
GIVE_UP_AFTER = timedelta(days=5)
_KEPT = timedelta(days=7)
_LONGEST_ERROR = 500
_LONGEST_SUBJECT = 255

_mail = schema.mail
_incident = schema.incident


@dataclass(frozen=True)
class Claimed:
    """A letter that is ours to send; `attempts` counts this one."""

    id: int
    message_id: str
    recipients: tuple[str, ...]
    message: bytes
    attempts: int
    queued_at: datetime


# --- what was told ---------------------------------------------------------------------------------------


def untold(connection: Connection) -> list[Told]:
    """The incidents of which there may be something to tell, oldest first."""
    table = _incident
    something = or_(table.c.open.is_(None), table.c.told == 0, table.c.count > table.c.told)
    query = select(table).where(table.c.told.is_not(None), something).order_by(table.c.first_seen, table.c.id)
    return [
        Told(
            id=row.id,
            kind=row.kind,
            subject=row.subject,
            source=row.source,
            file_id=row.file_id,
            happened=row.happened,
            kept=row.kept,
            todo=row.todo,
            first_seen=row.first_seen,
            last_seen=row.last_seen,
            count=row._mapping["count"],
            told=row.told,
            told_at=row.told_at,
            closed_at=row.closed_at,
        )
        for row in connection.execute(query)
    ]


def rejected(connection: Connection, file_id: int) -> tuple[Any, list[Reject]]:
    """A file and its refused rows, by line."""
    file = connection.execute(select(schema.file).where(schema.file.c.id == file_id)).one()
    table = records.rejected_row
    query = select(table.c.line, table.c.field, table.c.reason, table.c.raw).where(table.c.file_id == file_id)
    rows = connection.execute(query.order_by(table.c.line, table.c.id))
    return file, [Reject(*row) for row in rows]


# --- letters ---------------------------------------------------------------------------------------------


class ToldMeanwhile(Exception):
    """Another mailer has told it, so that this transaction must not be committed."""


def put(connection: Connection, letter: Letter, now: datetime) -> None:
    """Queue a letter and note what it tells.

    Raises:
        ToldMeanwhile: another mailer was quicker.
    """
    for incident in letter.planned.about:
        still = and_(_incident.c.id == incident.id, _incident.c.told == incident.told)
        told = None if incident.is_over else incident.count
        noted = connection.execute(update(_incident).where(still).values(told=told, told_at=now))
        if not noted.rowcount:
            raise ToldMeanwhile
    if connection.execute(select(_mail.c.id).filter_by(message_id=letter.message_id)).first() is not None:
        return
    recipients = "\n".join(letter.planned.recipients)
    connection.execute(
        insert(_mail).values(
            message_id=letter.message_id,
            purpose=letter.planned.purpose,
            subject=letter.subject[:_LONGEST_SUBJECT],
            recipients=recipients,
            remaining=recipients,
            message=letter.message.decode("ascii"),
            queued_at=now,
            attempts=0,
            retry_at=now,
        )
    )


def since(connection: Connection, moment: datetime) -> Iterator[Sent]:
    """The letters that were queued after a moment."""
    query = select(_mail.c.recipients, _mail.c.purpose, _mail.c.queued_at).where(_mail.c.queued_at > moment)
    for row in connection.execute(query):
        yield Sent(tuple(row.recipients.split("\n")), row.purpose, row.queued_at)


def is_due(connection: Connection, now: datetime) -> bool:
    """Whether there is a letter to send now."""
    query = select(_mail.c.id).where(_mail.c.retry_at <= now).limit(1)
    return connection.execute(query).first() is not None


def claim(connection: Connection, now: datetime) -> Claimed | None:
    """Take the next letter, for as long as `CLAIM`; None if there is none."""
    query = select(_mail).where(_mail.c.retry_at <= now).order_by(_mail.c.id).limit(1)
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        return None
    attempts = row.attempts + 1
    _change(connection, row.id, {"attempts": attempts, "retry_at": now + CLAIM})
    return Claimed(
        id=row.id,
        message_id=row.message_id,
        recipients=tuple(row.remaining.split("\n")),
        message=row.message.encode("ascii"),
        attempts=attempts,
        queued_at=row.queued_at,
    )


def record(
    connection: Connection,
    letter: Claimed,
    now: datetime,
    *,
    later: Mapping[str, str],
    never: Mapping[str, str],
) -> None:
    """Write down what became of a letter.

    Args:
        connection: in a write transaction.
        letter: as claimed.
        now: UTC.
        later: who is to be tried again, and why.
        never: who will not get it, and why; all others have got it. With such people, or when it has been
            tried for too long, it stays unsent in the listing, for an operator to see.
    """
    refusals = {**later, **never}
    error = "; ".join(f"{address}: {why}" for address, why in refusals.items()) or None
    values: dict[str, Any] = {"remaining": "\n".join(refusals), "error": error and error[:_LONGEST_ERROR]}
    if not refusals:
        values |= {"retry_at": None, "sent_at": now}
    elif later and now - letter.queued_at < GIVE_UP_AFTER:
        pause = min(RETRY_FIRST * 2 ** min(letter.attempts - 1, 10), RETRY_LAST)
        values |= {"remaining": "\n".join(later), "retry_at": now + pause}
    else:
        values["retry_at"] = None
    _change(connection, letter.id, values)


def forget_old(connection: Connection, now: datetime) -> None:
    """Drop what was queued more than a week ago."""
    connection.execute(delete(_mail).where(_mail.c.queued_at < now - _KEPT))


def listing(connection: Connection, *, everything: bool) -> list[dict[str, Any]]:
    """Letters in order: those that have not been sent, or all that are remembered."""
    columns = (
        "id",
        "subject",
        "recipients",
        "purpose",
        "queued_at",
        "attempts",
        "retry_at",
        "sent_at",
        "error",
    )
    query = select(*(_mail.c[name] for name in columns)).order_by(_mail.c.id)
    rows = connection.execute(query if everything else query.where(_mail.c.sent_at.is_(None)))
    return [{**row._mapping, "recipients": row.recipients.split("\n")} for row in rows]


def _change(connection: Connection, mail_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(update(_mail).where(_mail.c.id == mail_id).values(**values))
