"""Who is told of what now, and in how many letters. Pure decisions.

What is new, and what is over, is told at once, each in a letter of its own; what goes on is gathered into a
digest. When much happens at once, all but the first few letters become a digest too, so that a bad night does
not bring a thousand mails.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# So many letters go to the same people between two digests; what more there is waits for the next digest.
AT_ONCE = 10


class Purpose(StrEnum):
    """What a letter is for."""

    OPENED = "opened"
    OVER = "over"
    DIGEST = "digest"


@dataclass(frozen=True)
class Told:
    """An incident, and what people know of it.

    Attributes:
        id: in the ledger; 0 if it is kept elsewhere.
        told: how often it had been seen when people were last told; 0 for never.
        closed_at: when it was over, or None.
    """

    kind: str
    subject: str
    happened: str
    kept: str
    todo: str
    first_seen: datetime
    last_seen: datetime
    id: int = 0
    source: str | None = None
    file_id: int | None = None
    count: int = 1
    told: int = 0
    told_at: datetime | None = None
    closed_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Whether its cause has gone."""
        return self.closed_at is not None


@dataclass(frozen=True)
class Sent:
    """A letter that was queued before; `recipients` are addresses."""

    recipients: tuple[str, ...]
    purpose: str
    queued_at: datetime


@dataclass(frozen=True)
class Planned:
    """A letter to write: for whom, and about what."""

    purpose: Purpose
    recipients: tuple[str, ...]
    about: tuple[Told, ...]


def plan(
    incidents: Iterable[Told],
    audience: Callable[[str, str | None], tuple[str, ...]],
    lately: Iterable[Sent],
    now: datetime,
    interval_seconds: float,
) -> list[Planned]:
    """The letters that are due.

    Args:
        incidents: of which there may be something to tell.
        audience: who is told, by kind and source.
        lately: the letters that were queued within the last interval.
        now: UTC.
        interval_seconds: between two digests for the same people.
    """
    before = now - timedelta(seconds=interval_seconds)
    groups: dict[tuple[str, ...], list[Told]] = defaultdict(list)
    for incident in incidents:
        groups[audience(incident.kind, incident.source)].append(incident)
    letters = [letter for letter in lately if letter.queued_at > before]
    return [
        letter
        for recipients, about in groups.items()
        for letter in _for(
            recipients, about, [sent for sent in letters if sent.recipients == recipients], before
        )
    ]


def _for(
    recipients: tuple[str, ...], about: Sequence[Told], lately: Sequence[Sent], before: datetime
) -> Iterable[Planned]:
    changed = [incident for incident in about if incident.is_over or not incident.told]
    room = max(0, AT_ONCE - len(lately))
    for incident in changed[:room]:
        yield Planned(Purpose.OVER if incident.is_over else Purpose.OPENED, recipients, (incident,))
    if any(sent.purpose == Purpose.DIGEST for sent in lately):
        return
    again = [incident for incident in about if incident not in changed and incident.count > incident.told]
    ripe = any(incident.told_at is None or incident.told_at <= before for incident in again)
    if changed[room:] or ripe:
        yield Planned(Purpose.DIGEST, recipients, (*changed[room:], *again))
