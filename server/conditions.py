"""What is wrong now: one rule for each kind of incident (contract E1).

A rule reads the ledger, or the machine, and says what it finds; it changes and remembers nothing. What it
says must stay the same while nothing changes: another sentence counts as seen again, and is mailed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, func, select

from loaders import records
from loaders.cycles import find_cycles
from loaders.shapes import Catalog
from server import drop_troubles, fixes, gaps, ledger, notices, refused_rows, schema, streams
from server.certificate import WARNING, Pair
from server.config import Settings
from server.kinds import Kind
from server.sequence import Version
from server.spool import Spool
from server.states import Cause, State
from server.wording import after_refusal, age, counted, sentence, size, skip_command


@dataclass(frozen=True)
class Condition:
    """Something that is wrong at this moment; `kind` and `subject` tell one from another.

    Attributes:
        source: whose files it is about, if they are of one source.
        file_id: the file it is about, if its refused rows belong to what people should see.
    """

    kind: Kind
    subject: str
    happened: str
    kept: str
    todo: str
    source: str | None = None
    file_id: int | None = None


@dataclass(frozen=True)
class Facts:
    """What rules judge by: `now` is UTC, and `is_open` whether an incident is open already."""

    connection: Connection
    settings: Settings
    catalog: Catalog
    spool: Spool
    now: datetime
    is_open: Callable[[Kind, str], bool] = lambda _kind, _subject: False


# How many keys are named where there may be thousands.
_NAMED_KEYS = 10
# So many of the ready files that came first are looked at for one that has waited for too long.
_LOOKED_AT = 100
# What was too little disk is enough again with so much more, or an incident would open and close by turns.
_ENOUGH_AGAIN = 1.1
# So many failed tries on a file, or a mail, or at keeping a child alive, are worth a person's look.
_MANY_TRIES = 3

# By child: what becomes of what is under way while it ends again and again.
_WHILE_IT_ENDS = {
    "receiver": "What was accepted is kept; senders who do not get in try again.",
    "loader": "Files are accepted all the same, and kept in the spool.",
    "mailer": "Mail waits in the ledger.",
}

Rule = Callable[[Facts], Iterator[Condition]]


def _gaps(facts: Facts) -> Iterator[Condition]:
    for gap in gaps.find(facts.connection):
        if gap.age_seconds(facts.now) >= facts.settings.sequence.gap_alert_after:
            yield Condition(
                kind=Kind.GAP,
                # Of the numbers that are missing the last stays longest, since what is late comes in order.
                subject=f"{gap.stream} {gap.missing.last}",
                happened=f"{gap.missing} missing in {gap.stream}.",
                kept=f"It holds back {counted(gap.holds_back, 'file')}, safe in the spool.",
                todo="Have the sender send again what is missing, or give it up: "
                f"{skip_command(gap.stream, gap.missing)}.",
                source=_source_of(gap.stream),
            )


def _refused(facts: Facts) -> Iterator[Condition]:
    file = schema.file
    query = (
        select(
            file.c.name,
            file.c.cause,
            func.max(file.c.id).label("id"),
            func.max(file.c.reason).label("why"),
            func.max(file.c.source).label("source"),
            func.min(file.c.data).label("data"),
        )
        .where(file.c.state == State.REFUSED)
        .group_by(file.c.name, file.c.cause)
    )
    for row in facts.connection.execute(query):
        yield Condition(
            kind=Kind(row.cause),
            subject=row.name,
            happened=f"{row.name} was refused: {sentence(row.why)}",
            kept="Its bytes are kept." if row.data else "Its bytes are not kept: `refused_quota` is used up.",
            todo=after_refusal(row.cause, row.id),
            source=row.source,
        )


def _quarantined(facts: Facts) -> Iterator[Condition]:
    file = schema.file
    query = select(file.c.id, file.c.name, file.c.reason, file.c.cause, file.c.source).where(
        file.c.state == State.QUARANTINED
    )
    for row in facts.connection.execute(query):
        yield Condition(
            kind=Kind.QUARANTINED,
            subject=row.name,
            happened=f"{row.name} was not loaded: {sentence(row.reason)}",
            kept="No row of it went in; the file is kept in quarantine.",
            todo=_after_quarantine(row.cause, row.id),
            source=row.source,
            file_id=row.id,
        )


def _after_quarantine(cause: str, file_id: int) -> str:
    if cause == Cause.UNKNOWN_API:
        return (
            "Let the catalog or the settings know it, and restart: it is judged anew by itself. If the name "
            f"was wrong, have it sent under the right one, or run `kore-inbox withdraw {file_id}`."
        )
    return (
        "Send a corrected file under the same name, or run "
        f"`kore-inbox replay {file_id}` or `kore-inbox withdraw {file_id}`."
    )


def _deferred(facts: Facts) -> Iterator[Condition]:
    file = schema.file
    query = select(file.c.id, file.c.name, file.c.reason, file.c.source).where(
        file.c.state == State.DEFERRED, file.c.cause == Cause.NEEDS_APPROVAL
    )
    for row in facts.connection.execute(query):
        yield Condition(
            kind=Kind.NEEDS_APPROVAL,
            subject=row.name,
            happened=f"{row.name} waits for approval. {row.reason}",
            kept="No row of it went in; the file is kept.",
            todo=f"See `kore-inbox approve {row.id} --dry-run`. If the export is right, run "
            f"`kore-inbox approve {row.id}`; if not, `kore-inbox withdraw {row.id}`, and have the sender "
            "export it again.",
            source=row.source,
        )


def _rejected(facts: Facts) -> Iterator[Condition]:
    for row in refused_rows.open_files(facts.connection):
        yield Condition(
            kind=Kind.REJECTED_ROWS,
            subject=row.name,
            happened=f"{row.name} is loaded without {counted(row.rows_rejected, 'row')}, which had mistakes.",
            kept="The good rows are in; the rejected ones are kept with their reasons.",
            todo=f"See `kore-inbox rejects {row.id}`. Have them sent again, corrected, in a later file or as "
            f"{row.name.removesuffix('.FIX')}.fix; if they never will be, run `kore-inbox dismiss {row.id}`.",
            source=row.source,
            file_id=row.id,
        )


def _parked(facts: Facts) -> Iterator[Condition]:
    parked = records.parked_row
    before = facts.now - timedelta(seconds=facts.settings.load.park_alert_after)
    query = (
        select(
            parked.c.api,
            parked.c.waits_table,
            func.count().label("rows"),
            func.min(parked.c.stream).label("stream"),
            func.max(parked.c.stream).label("other_stream"),
        )
        .where(parked.c.parked_at <= before)
        .group_by(parked.c.api, parked.c.waits_table)
    )
    names = {stream.id: stream.name for stream in streams.by_rank(facts.connection)}
    for row in facts.connection.execute(query):
        yield Condition(
            kind=Kind.PARKED_ROWS,
            subject=f"{row.api} waits for {row.waits_table}",
            happened=f"{counted(row.rows, 'row')} of {row.api} parked for too long, "
            f"without their parents in {row.waits_table}.",
            kept="They stay parked, and go in by themselves when their parents come.",
            todo="See `kore-inbox parked`; have the sender export the parents.",
            source=_source_of(names[row.stream]) if row.stream == row.other_stream else None,
        )


def _retried(facts: Facts) -> Iterator[Condition]:
    file = schema.file
    query = select(file.c.id, file.c.name, file.c.attempts, file.c.reason, file.c.source).where(
        file.c.state == State.READY, file.c.attempts >= _MANY_TRIES
    )
    for row in facts.connection.execute(query):
        yield Condition(
            kind=Kind.RETRIED,
            subject=row.name,
            happened=f"{row.name} could not be loaded in {row.attempts} tries: {sentence(row.reason)}",
            kept="It is tried again by itself.",
            todo="Look after the cause: disk, locks, or the database. When it is tried next says "
            f"`kore-inbox why {row.id}`.",
            source=row.source,
        )


def _waiting_fixes(facts: Facts) -> Iterator[Condition]:
    """Where the file of a fix has come and not gone in, that is an exception by itself."""
    file = schema.file
    before = facts.now - timedelta(seconds=facts.settings.sequence.gap_alert_after)
    # All else that is held has a number of its own.
    query = select(file).where(
        file.c.state == State.HELD, file.c.holder.is_(None), file.c.registered_at <= before
    )
    for row in facts.connection.execute(query).all():
        name = fixes.name_of(row)
        if name is None:
            continue
        holding = ledger.holder(facts.connection, row.stream_id, Version.of(row.version))
        if holding is None or holding.name != str(name.mended):
            why, todo = "has not arrived", f"Have the sender send {name.mended}"
            if holding is not None:
                why = f"has not arrived: its number belongs to {holding.name}"
                todo = "Have its rows sent in a new file"
        elif holding.state == State.WITHDRAWN:
            why, todo = "was withdrawn", f"Let it in with `kore-inbox replay {holding.id}`"
        else:
            continue
        yield Condition(
            kind=Kind.WAITING_FIX,
            subject=row.name,
            happened=f"{row.name} holds corrected rows of {name.mended}, which {why}.",
            kept="It is kept, and goes in by itself with that file.",
            todo=f"{todo}, or set the fix aside with `kore-inbox withdraw {row.id}`.",
            source=row.source,
        )


def _cycles(facts: Facts) -> Iterator[Condition]:
    for api in facts.catalog.values():
        keys = sorted(find_cycles(facts.connection, api))
        if keys:
            named = ", ".join(keys[:_NAMED_KEYS]) + (" …" if len(keys) > _NAMED_KEYS else "")
            yield Condition(
                kind=Kind.CYCLE,
                subject=api.name,
                happened=f"Rows of {api.name} name each other as parents: {named}.",
                kept=f"{counted(len(keys), 'key')} of {api.name} stay parked.",
                todo="See `kore-inbox parked`; have the sender export one of them with another parent, or "
                "with none.",
            )


def _backlog(facts: Facts) -> Iterator[Condition]:
    file, event = schema.file, schema.event
    first = (
        select(file.c.id)
        .where(file.c.state == State.READY, file.c.attempts == 0)
        .order_by(file.c.id)
        .limit(_LOOKED_AT)
        .subquery()
    )
    # What was held for days and released a minute ago has waited for a minute.
    since = (
        select(func.max(event.c.at).label("at"))
        .join(first, first.c.id == event.c.file_id)
        .group_by(event.c.file_id)
        .subquery()
    )
    oldest = facts.connection.execute(select(func.min(since.c.at))).scalar_one()
    limit = facts.settings.dispatch.backlog_alert_after
    if oldest is not None and (facts.now - oldest).total_seconds() >= limit:
        yield Condition(
            kind=Kind.BACKLOG,
            subject="files to load",
            happened=f"Files that could be loaded have been waiting for more than {age(limit)}: they "
            "come faster than they are loaded, or one load takes very long.",
            kept="They are safe in the spool, and load in their order.",
            todo="See `kore-inbox status` and `kore-inbox files --state loading`; look after the database's "
            "disk and locks if it does not get less.",
        )


def _silence(facts: Facts) -> Iterator[Condition]:
    limits = {
        (name, api): seconds
        for name, source in facts.settings.sources.items()
        for api, seconds in source.silence_limits().items()
    }
    if not limits:
        return
    file = schema.file
    query = (
        select(file.c.source, file.c.api, func.max(file.c.received_at))
        .where(file.c.source.in_(sorted({source for source, _ in limits})))
        .group_by(file.c.source, file.c.api)
    )
    last: dict[tuple[str, str | None], datetime] = {}
    for source, api, at in facts.connection.execute(query):
        last[source, api] = at
        last[source, None] = max(at, last.get((source, None), at))
    # Who has never sent is silent since the inbox received its first file.
    first = facts.connection.execute(select(file.c.received_at).order_by(file.c.id).limit(1)).scalar()
    for (source, api), seconds in limits.items():
        at = last.get((source, api))
        since = at or first
        if since is None or (facts.now - since).total_seconds() < seconds:
            continue
        what = source if api is None else f"{source} {api}"
        file_of = f"No file of {source}" if api is None else f"No {api} file of {source}"
        yield Condition(
            kind=Kind.SILENCE,
            subject=what,
            happened=f"{file_of} has come since {at:%Y-%m-%d %H:%M} UTC."
            if at
            else f"{file_of} has ever come.",
            kept=f"Nothing is lost here; at the latest every {age(seconds)} one was expected.",
            todo="Look after the export job, and whether it can log in here: "
            f"`kore-inbox files --source {source} --limit 5` shows what came last.",
            source=source,
        )


def _drop_folders(facts: Facts) -> Iterator[Condition]:
    settings = facts.settings.drop_folder
    for said in drop_troubles.lasting(facts.spool, settings, facts.now):
        sources = settings.folders[Path(said.folder)]
        yield Condition(
            kind=Kind.DROP_FOLDER,
            subject=said.folder,
            happened=f"Since {said.since:%Y-%m-%d %H:%M} UTC something is wrong with the drop folder "
            f"{said.folder}: {sentence(said.trouble)}",
            kept="What was accepted from it is safe in the spool; all else stays where it is.",
            todo="See `kore-inbox status`. Mount the share again, or give the inbox the right to read and "
            "write there; it goes on by itself.",
            source=sources[0] if len(sources) == 1 else None,
        )


def _disk(facts: Facts) -> Iterator[Condition]:
    wanted = facts.settings.inbox.disk_alert_below
    enough = wanted * (_ENOUGH_AGAIN if facts.is_open(Kind.DISK_LOW, "spool") else 1)
    if facts.spool.free_bytes() < enough:
        least = facts.settings.inbox.min_free_disk
        yield Condition(
            kind=Kind.DISK_LOW,
            subject="spool",
            happened=f"The spool's disk has less than {size(wanted)} free.",
            kept=f"All that was accepted is safe. With less than {size(least)} uploads are refused (452).",
            todo=f"Make room: `df -h {facts.spool.root}` shows how much there is.",
        )


def _certificate(facts: Facts) -> Iterator[Condition]:
    pair = Pair.of(facts.settings.ftp)
    if pair is None:
        return
    now = facts.now.replace(tzinfo=UTC)
    try:
        expires = pair.expires()
    except (OSError, ValueError) as error:
        told = f"cannot be read ({error})"
    else:
        # Without the days that are left, which would make it another sentence each day.
        told = f"{'expired' if expires < now else 'expires'} on {expires:%Y-%m-%d}"
        if expires - now >= WARNING:
            return
    yield Condition(
        kind=Kind.CERTIFICATE,
        subject=str(pair.certificate),
        happened=f"The certificate {pair.certificate} {told}.",
        kept="Connections are secured with it as long as clients take it.",
        todo="Put the renewed certificate in its place; the next session has it, without a restart.",
    )


def crash_loops(spool: Spool) -> Iterator[Condition]:
    """The children that end again and again, as the supervisor notes them in the spool.

    Not for rules alone: it may be the loader, which goes by them.
    """
    for role in notices.ROLES:
        notice = notices.read(spool, notices.of_child(role))
        if notice is not None and notice.count >= _MANY_TRIES:
            yield Condition(
                kind=Kind.CRASH_LOOP,
                subject=role,
                happened=f"The {role} ends again and again, and has not lived for a minute in between.",
                kept=_WHILE_IT_ENDS[role],
                todo=f'The log says why, each time above "the {role} ended". Mend that; the next start, of '
                "which `kore-inbox status` tells, comes by itself.",
            )


def _crash_loops(facts: Facts) -> Iterator[Condition]:
    return crash_loops(facts.spool)


def _mail(facts: Facts) -> Iterator[Condition]:
    mail = schema.mail
    query = select(func.count(), func.max(mail.c.error)).where(
        mail.c.sent_at.is_(None), (mail.c.attempts >= _MANY_TRIES) | mail.c.retry_at.is_(None)
    )
    mails, error = facts.connection.execute(query).one()
    if mails:
        yield Condition(
            kind=Kind.MAIL,
            subject="queue",
            happened=f"{counted(mails, 'mail')} could not be sent: {sentence(error)}",
            kept="They stay in the queue and are tried again, for some days.",
            todo="See `kore-inbox mail queue`; `kore-inbox mail test` tries the settings of [mail].",
        )


def _source_of(stream: str) -> str:
    return stream.partition("_")[0]


RULES: tuple[Rule, ...] = (
    _gaps,
    _refused,
    _quarantined,
    _deferred,
    _rejected,
    _parked,
    _waiting_fixes,
    _cycles,
    _retried,
    _backlog,
    _silence,
    _drop_folders,
    _disk,
    _certificate,
    _crash_loops,
    _mail,
)
