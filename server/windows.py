"""Hours in which FULL files load, by the clock on a site's wall (contract D5). Pure.

A clock that changes makes an hour that is missing and one that comes twice. Of a doubled hour a window has
both, from its first opening to its last closing. What is to begin or to end within a missing hour does so at
the moment in which the clock jumps; a window that lies wholly in it is open from then on for its usual
length. So there is no day on which a window does not open.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

ALWAYS = "always"

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_LAST_MINUTE = 24 * 60

_FORM = re.compile(r"(?:([a-z,-]+) )?([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2}) ([A-Za-z0-9_+/-]+)")
_HOW = "write e.g. 22:00-05:00 Europe/Berlin, or mon-fri 22:00-05:00 Europe/Berlin"


@dataclass(frozen=True)
class Window:
    """The hours of some days of the week.

    Attributes:
        text: as it was set.
        days: on which it opens, Monday being 0.
        opens, closes: minutes after midnight; one that closes before it opens does so on the next day.
        zone: whose clock it goes by.
    """

    text: str
    days: frozenset[int]
    opens: int
    closes: int
    zone: ZoneInfo

    def is_open(self, now: datetime) -> bool:
        """Whether files may load at a time, which has a zone."""
        return any(start <= now < end for start, end in self._around(now, 2))

    def opens_next(self, now: datetime) -> datetime:
        """The first opening after a time, in UTC."""
        return min(start for start, _ in self._around(now, 9) if start > now)

    def _around(self, now: datetime, days_ahead: int) -> Iterator[tuple[datetime, datetime]]:
        """When it opens and closes, in UTC, from two days before a time on: zones have skipped whole days."""
        today = now.astimezone(self.zone).date()
        for ahead in range(-2, days_ahead):
            day = today + ahead * _DAY
            if day.weekday() in self.days:
                yield self.on(day)

    def on(self, day: date) -> tuple[datetime, datetime]:
        """When the window of a day opens and closes, in UTC."""
        minutes = (self.closes - self.opens) % _LAST_MINUTE or _LAST_MINUTE
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - of the wall's clock
        opening = midnight + self.opens * _MINUTE
        start = _moment(opening, self.zone, fold=0)
        end = _moment(opening + minutes * _MINUTE, self.zone, fold=1)
        return start, end if end > start else start + minutes * _MINUTE


@cache
def parse(text: str) -> Window | None:
    """`22:00-05:00 Europe/Berlin`, with days in front if not all: `mon-fri`, `sat,sun`. None for `always`.

    Raises:
        ValueError: it is neither.
    """
    if text == ALWAYS:
        return None
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"`{text}` is no window: {_HOW}")
    days, *clock, zone = match.groups()
    opens, closes = (int(hours) * 60 + int(minutes) for hours, minutes in (clock[:2], clock[2:]))
    if clock[1][0] >= "6" or clock[3][0] >= "6" or opens >= _LAST_MINUTE or closes > _LAST_MINUTE:
        raise ValueError(f"`{text}` has times that no clock shows: {_HOW}")
    if opens == closes:
        raise ValueError(f"`{text}` opens when it closes: for whole days write 00:00-24:00")
    try:
        found = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {zone}: write e.g. Europe/Berlin or UTC") from None
    return Window(text, _days(days) if days else frozenset(range(7)), opens, closes, found)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if first not in _DAYS or last not in _DAYS:
            raise ValueError(f"`{part}` are no days: write e.g. mon-fri or sat,sun")
        begin = _DAYS.index(first)
        found.update((begin + more) % 7 for more in range((_DAYS.index(last) - begin) % 7 + 1))
    return frozenset(found)


def _moment(wall: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    """When a wall's clock shows a time, in UTC; of two moments the first, or with fold 1 the second."""
    moment = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
        return moment
    # The clock never shows it. Read by the clock before the jump it lies behind it, by the other before it.
    behind = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    offset = behind.astimezone(zone).utcoffset()
    seconds = range(int((behind - before).total_seconds()) + 1)
    jump = bisect_left(
        seconds, 1, key=lambda s: (before + timedelta(seconds=s)).astimezone(zone).utcoffset() == offset
    )
    return before + timedelta(seconds=jump)
