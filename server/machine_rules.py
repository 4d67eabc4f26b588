"""Rules about what is around files: senders, drop folders, disk, certificate, processes, mail (contract E1).

What a rule is: `conditions`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select

from server import drop_troubles, notices, schema
from server.certificate import WARNING, Pair
from server.conditions import MANY_TRIES, Condition, Facts, Rule
from server.kinds import Kind
from server.spool import Spool
from server.wording import age, counted, sentence, size

# What was too little disk is enough again with so much more, or an incident would open and close by turns.
_ENOUGH_AGAIN = 1.1

# So many receipts are looked at; those that can be read do not wait for long.
_LOOKED_AT = 100

# By child: what becomes of what is under way while it ends again and again.
_WHILE_IT_ENDS = {
    "receiver": "What was accepted is kept; senders who do not get in try again.",
    "loader": "Files are accepted all the same, and kept in the spool.",
    "mailer": "Mail waits in the ledger.",
}


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


def _damaged_receipts(facts: Facts) -> Iterator[Condition]:
    for path in facts.spool.damaged(_LOOKED_AT):
        yield Condition(
            kind=Kind.DAMAGED_RECEIPT,
            subject=path.name,
            happened=f"The receipt {path} cannot be read: the disk, or somebody, has damaged it. The file "
            "that it is about was accepted, and is not loaded.",
            kept=f"Its bytes are kept in {facts.spool.data}, under a name that ends alike.",
            todo="Have the sender send again what is missing: `kore-inbox gaps` may show its number. Then "
            f"remove the receipt, `rm {path}`, and look after the disk.",
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
        if notice is not None and notice.count >= MANY_TRIES:
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
        mail.c.sent_at.is_(None), (mail.c.attempts >= MANY_TRIES) | mail.c.retry_at.is_(None)
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


RULES: tuple[Rule, ...] = (
    _silence,
    _drop_folders,
    _disk,
    _damaged_receipts,
    _certificate,
    _crash_loops,
    _mail,
)
