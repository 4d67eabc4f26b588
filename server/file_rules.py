"""Rules about files and their rows, read from the ledger (contract E1).

What a rule is: `conditions`.
"""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import func, select

from loaders import records
from loaders.cycles import find_cycles
from server import fixes, gaps, ledger, refused_rows, schema, streams
from server.conditions import MANY_TRIES, Condition, Facts, Rule
from server.kinds import Kind
from server.sequence import Version
from server.states import Cause, State
from server.wording import after_refusal, age, counted, sentence, skip_command

# How many keys are named where there may be thousands.
_NAMED_KEYS = 10
# So many of the ready files that came first are looked at for one that has waited for too long.
_LOOKED_AT = 100


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


def _were(files: int) -> str:
    return "was one" if files == 1 else f"were {files:,}"


def _refused(facts: Facts) -> Iterator[Condition]:
    file = schema.file
    # Of one name they may come from several senders; the newest is spoken of.
    newest = (
        select(func.max(file.c.id).label("id"), func.count().label("files"))
        .where(file.c.state == State.REFUSED)
        .group_by(file.c.name, file.c.cause)
        .subquery()
    )
    query = select(file, newest.c.files).join(newest, file.c.id == newest.c.id)
    for row in facts.connection.execute(query):
        others = f" So {_were(row.files - 1)} before it." if row.files > 1 else ""
        yield Condition(
            kind=Kind(row.cause),
            subject=row.name,
            happened=f"{row.name} was refused: {sentence(row.reason)}{others}",
            kept="Its bytes are kept." if row.data else "Its bytes are not kept: `refused_quota` is used up.",
            todo=after_refusal(row.cause, row.id, row.sender),
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
        file.c.state == State.READY, file.c.attempts >= MANY_TRIES
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
)
