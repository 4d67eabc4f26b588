"""Incidents: what an operator has to know of, opened and closed by rule (contract E1).

Each rule reads the ledger and says what is wrong now. `review` compares that with the open incidents: what is
new is opened, what goes on is counted, what is gone is closed. So nothing has to remember to close one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, insert, select, update

from loaders import records
from loaders.cycles import find_cycles
from loaders.shapes import Catalog
from server import fixes, gaps, ledger, schema
from server.config import Settings
from server.sequence import Version
from server.states import Cause, State
from server.wording import counted, sentence, skip_command


@dataclass(frozen=True)
class Condition:
    """Something that is wrong at this moment; `kind` and `subject` tell one from another."""

    kind: str
    subject: str
    happened: str
    kept: str
    todo: str


@dataclass(frozen=True)
class Facts:
    """What rules judge by: `now` is UTC."""

    connection: Connection
    settings: Settings
    catalog: Catalog
    now: datetime


# How many keys are named where there may be thousands.
_NAMED_KEYS = 10

Rule = Callable[[Facts], Iterator[Condition]]


def _gaps(facts: Facts) -> Iterator[Condition]:
    for gap in gaps.find(facts.connection):
        age = gap.age_seconds(facts.now)
        if age >= facts.settings.sequence.gap_alert_after:
            yield Condition(
                kind="gap",
                subject=f"{gap.stream} {gap.missing}",
                happened=f"{gap.missing} missing in {gap.stream}.",
                kept=f"It holds back {counted(gap.holds_back, 'file')}, safe in the spool.",
                todo="Have the sender send again what is missing, or give it up: "
                f"{skip_command(gap.stream, gap.missing)}.",
            )


def _refused(facts: Facts) -> Iterator[Condition]:
    file = schema.file
    query = (
        select(
            file.c.name, file.c.cause, func.max(file.c.id).label("id"), func.max(file.c.reason).label("why")
        )
        .where(file.c.state == State.REFUSED)
        .group_by(file.c.name, file.c.cause)
    )
    for row in facts.connection.execute(query):
        yield Condition(
            kind=row.cause,
            subject=row.name,
            happened=f"{row.name} was refused: {sentence(row.why)}",
            kept="Its bytes are kept.",
            todo=f"See `kore-inbox show {row.id}`; `replay` judges it anew, `withdraw` sets it aside.",
        )


def _quarantined(facts: Facts) -> Iterator[Condition]:
    file = schema.file
    query = select(file.c.id, file.c.name, file.c.reason).where(file.c.state == State.QUARANTINED)
    for row in facts.connection.execute(query):
        yield Condition(
            kind="quarantined",
            subject=row.name,
            happened=f"{row.name} was not loaded: {sentence(row.reason)}",
            kept="No row of it went in; the file is kept in quarantine.",
            todo="Send a corrected file under the same name, or run "
            f"`kore-inbox replay {row.id}` or `kore-inbox withdraw {row.id}`.",
        )


def _deferred(facts: Facts) -> Iterator[Condition]:
    file = schema.file
    query = select(file.c.id, file.c.name, file.c.reason).where(
        file.c.state == State.DEFERRED, file.c.cause == Cause.NEEDS_APPROVAL
    )
    for row in facts.connection.execute(query):
        yield Condition(
            kind=Cause.NEEDS_APPROVAL,
            subject=row.name,
            happened=f"{row.name} waits for approval. {row.reason}",
            kept="No row of it went in; the file is kept.",
            todo=f"If the export is right, run `kore-inbox approve {row.id}`; if not, "
            f"`kore-inbox withdraw {row.id}`, and have the sender export it again.",
        )


def _rejected(facts: Facts) -> Iterator[Condition]:
    file = schema.file
    found = select(records.rejected_row.c.file_id).distinct().subquery()
    query = select(file.c.id, file.c.name, file.c.state, file.c.rows_rejected).join(
        found, found.c.file_id == file.c.id
    )
    # The state is looked at here, or SQLite would walk through all loaded files instead of these few.
    for row in (row for row in facts.connection.execute(query) if row.state == State.LOADED):
        yield Condition(
            kind="rejected rows",
            subject=row.name,
            happened=f"{row.name} is loaded without {counted(row.rows_rejected, 'row')}, which had mistakes.",
            kept="The good rows are in; the rejected ones are kept with their reasons.",
            todo=f"See `kore-inbox rejects {row.id}`.",
        )


def _parked(facts: Facts) -> Iterator[Condition]:
    parked = records.parked_row
    before = facts.now - timedelta(seconds=facts.settings.load.park_alert_after)
    query = (
        select(parked.c.api, parked.c.waits_table, func.count().label("rows"))
        .where(parked.c.parked_at <= before)
        .group_by(parked.c.api, parked.c.waits_table)
    )
    for row in facts.connection.execute(query):
        yield Condition(
            kind="parked rows",
            subject=f"{row.api} waits for {row.waits_table}",
            happened=f"{counted(row.rows, 'row')} of {row.api} parked for too long, "
            f"without their parents in {row.waits_table}.",
            kept="They stay parked, and go in by themselves when their parents come.",
            todo="See `kore-inbox parked`; have the sender export the parents.",
        )


def _retried(facts: Facts) -> Iterator[Condition]:
    file = schema.file
    query = select(file.c.name, file.c.attempts, file.c.reason).where(
        file.c.state == State.READY, file.c.attempts >= 3
    )
    for row in facts.connection.execute(query):
        yield Condition(
            kind="retried",
            subject=row.name,
            happened=f"{row.name} could not be loaded in {row.attempts} tries: {sentence(row.reason)}",
            kept="It is tried again by itself.",
            todo="Look after the cause: disk, locks, or the database.",
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
        elif holding.state == State.WITHDRAWN:
            why, todo = "was withdrawn", f"Let it in with `kore-inbox replay {holding.id}`"
        else:
            continue
        yield Condition(
            kind="waiting fix",
            subject=row.name,
            happened=f"{row.name} holds corrected rows of {name.mended}, which {why}.",
            kept="It is kept, and goes in by itself with that file.",
            todo=f"{todo}, or set the fix aside with `kore-inbox withdraw {row.id}`.",
        )


def _cycles(facts: Facts) -> Iterator[Condition]:
    for api in facts.catalog.values():
        keys = sorted(find_cycles(facts.connection, api))
        if keys:
            named = ", ".join(keys[:_NAMED_KEYS]) + (" …" if len(keys) > _NAMED_KEYS else "")
            yield Condition(
                kind="cycle",
                subject=api.name,
                happened=f"Rows of {api.name} name each other as parents: {named}.",
                kept=f"{counted(len(keys), 'key')} of {api.name} stay parked.",
                todo="Have the sender export one of them with another parent, or with none.",
            )


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
)


def review(facts: Facts) -> None:
    """Bring the incidents up to date with the ledger, in the caller's write transaction."""
    connection, now, table = facts.connection, facts.now, schema.incident
    wrong = {(found.kind, found.subject[:255]): found for rule in RULES for found in rule(facts)}
    known = {
        (row.kind, row.subject): row for row in connection.execute(select(table).where(table.c.open == 1))
    }
    for key, found in wrong.items():
        texts = {"happened": found.happened, "kept": found.kept, "todo": found.todo}
        row = known.get(key)
        if row is None:
            connection.execute(
                insert(table).values(
                    kind=key[0], subject=key[1], open=1, first_seen=now, last_seen=now, count=1, **texts
                )
            )
        elif any(getattr(row, name) != text for name, text in texts.items()):
            again = {"last_seen": now, "count": table.c.count + 1, **texts}
            connection.execute(update(table).where(table.c.id == row.id).values(again))
    for key, row in known.items():
        if key not in wrong:
            connection.execute(update(table).where(table.c.id == row.id).values(open=None, closed_at=now))
