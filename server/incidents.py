"""Incidents: what an operator has to know of, opened and closed by rule (contract E1).

`review` compares what is wrong now with the open incidents: what is new is opened, what goes on is counted,
what is gone is closed. So nothing has to remember to close one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, insert, null, select, update

from server import file_rules, machine_rules, schema
from server.conditions import Condition, Facts
from server.kinds import Kind

_LONGEST_SUBJECT = 255
_RULES = (*file_rules.RULES, *machine_rules.RULES)

_incident = schema.incident


def review(facts: Facts) -> None:
    """Bring the incidents up to date with what is wrong, in the caller's write transaction."""
    connection, now = facts.connection, facts.now
    known = {(row.kind, row.subject): row for row in connection.execute(_open())}
    facts = replace(facts, is_open=lambda kind, subject: (kind, subject) in known)
    wrong = {_key(found): found for rule in _RULES for found in rule(facts)}
    for key, found in wrong.items():
        row = known.get(key)
        if row is None:
            connection.execute(insert(_incident).values(**_columns(found, now)))
            continue
        said = {"happened": found.happened, "kept": found.kept, "todo": found.todo, "file_id": found.file_id}
        if any(getattr(row, name) != value for name, value in said.items()):
            again = {"last_seen": now, "count": _incident.c.count + 1, **said}
            connection.execute(update(_incident).where(_incident.c.id == row.id).values(again))
    _close(connection, [row.id for key, row in known.items() if key not in wrong], now)


def _key(found: Condition) -> tuple[Kind, str]:
    """What tells an incident from another, as the ledger has it."""
    return found.kind, found.subject[:_LONGEST_SUBJECT]


def not_open(connection: Connection, found: Iterable[Condition]) -> list[Condition]:
    """Those of which there is no open incident."""
    known = {(row.kind, row.subject) for row in connection.execute(_open())}
    return [each for each in found if _key(each) not in known]


def add(connection: Connection, found: Iterable[Condition], now: datetime) -> None:
    """Open what is not open yet, and close nothing: for what cannot wait until a loader reviews.

    Args:
        connection: in a write transaction, in which no loader reviews.
        found: what is wrong.
        now: UTC.
    """
    for each in not_open(connection, found):
        connection.execute(insert(_incident).values(**_columns(each, now)))


def record_past(
    connection: Connection, found: Condition, since: datetime, now: datetime, *, is_told: bool
) -> None:
    """Write down, once, what is over and could not be written down while it lasted.

    Args:
        connection: in a write transaction.
        found: what it was.
        since: when it began, UTC.
        now: when it ended, UTC.
        is_told: whether people were told of it, so that they will be told of its end.
    """
    columns = _columns(found, since)
    before = select(_incident.c.id).filter_by(kind=found.kind, subject=columns["subject"], first_seen=since)
    if connection.execute(before).first() is None:
        over = {"last_seen": now, "told": 1 if is_told else None, "open": None, "closed_at": now}
        connection.execute(insert(_incident).values(columns | over))


def _open() -> Any:
    return select(_incident).where(_incident.c.open == 1)


def _columns(found: Condition, now: datetime) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "subject": found.subject[:_LONGEST_SUBJECT],
        "source": found.source,
        "file_id": found.file_id,
        "open": 1,
        "happened": found.happened,
        "kept": found.kept,
        "todo": found.todo,
        "first_seen": now,
        "last_seen": now,
        "count": 1,
        # That mail cannot be sent is nothing to send a mail about.
        "told": None if found.kind is Kind.MAIL else 0,
    }


def _close(connection: Connection, ids: Sequence[int], now: datetime) -> None:
    for incident_id in ids:
        # Of what nobody was told nobody needs to know that it is over.
        told = case((_incident.c.told > 0, _incident.c.told), else_=null())
        closed = {"open": None, "closed_at": now, "told": told}
        connection.execute(update(_incident).where(_incident.c.id == incident_id).values(closed))
