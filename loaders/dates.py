"""Days and times: texts in the formats allowed for a source become ISO texts (contract L3).

A format is a pattern of YYYY, MM, DD (two digits), M, D (one or two) and whatever stands between. A text is
tried against all of them; if two read it as different days it is refused, since a guess would be wrong
half the time.
"""

import re
from collections.abc import Sequence
from datetime import date, time

from loaders.rejects import Refused, shown

_PARTS = {
    "YYYY": "(?P<year>[0-9]{4})",
    "MM": "(?P<month>[0-9]{2})",
    "DD": "(?P<day>[0-9]{2})",
    "M": "(?P<month>[0-9]{1,2})",
    "D": "(?P<day>[0-9]{1,2})",
}
_PART = re.compile("YYYY|MM|DD|M|D")
# Fractions of a second are no loss while they are zero; several databases export them.
_TIME = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.0+)?)?")


class DateFormatRefused(ValueError):
    """A date format that does not name year, month and day once each, or leaves open where one ends."""


class DateReader:
    """Reads days in any of the given formats; DateFormatRefused if one of them is no format."""

    def __init__(self, formats: Sequence[str]) -> None:
        self._formats = [_compiled(pattern) for pattern in formats]
        self._allowed = ", ".join(formats)

    def day(self, text: str) -> str:
        """The day as `YYYY-MM-DD`; Refused if the text is none, or could be two."""
        days = self._days(text)
        if not days:
            raise Refused(f"{shown(text)} is not a date ({self._allowed})")
        return _only(days, text)

    def moment(self, text: str) -> str:
        """The time as `YYYY-MM-DD HH:MM:SS`; a day alone is its midnight. Refused if the text is neither."""
        # A format may hold a blank itself, so it is the last one that parts the day from the time.
        for mark in " T":
            head, found, tail = text.rpartition(mark)
            if found and (clock := _clock(tail)) is not None and (days := self._days(head)):
                return f"{_only(days, head)} {clock}"
        if days := self._days(text):
            return f"{_only(days, text)} 00:00:00"
        raise Refused(f"{shown(text)} is not a date ({self._allowed}), alone or with HH:MM:SS")

    def _days(self, text: str) -> set[str]:
        return {day for pattern in self._formats if (day := _day(pattern, text)) is not None}


def _only(days: set[str], text: str) -> str:
    if len(days) > 1:
        raise Refused(f"{shown(text)} could be {' or '.join(sorted(days))}")
    return days.pop()


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = _PART.findall(pattern)
    first, *between = _PART.split(pattern)
    if sorted(part[0] for part in parts) != ["D", "M", "Y"]:
        raise DateFormatRefused(
            f"`{pattern}` does not name year (YYYY), month (MM or M) and day (DD or D) once"
        )
    if strange := re.search("[A-Za-z0-9]", "".join((first, *between))):
        raise DateFormatRefused(f"`{pattern}`: there is no meaning to {strange[0]} here")
    touching = [one + other for one, other, mark in zip(parts, parts[1:], between, strict=False) if not mark]
    if "MD" in touching or "DM" in touching:
        # 1112024 would be the first of November and the eleventh of January.
        raise DateFormatRefused(f"`{pattern}` leaves open where the month ends and the day begins")
    regex = re.escape(first)
    for part, literal in zip(parts, between, strict=True):
        regex += _PARTS[part] + re.escape(literal)
    return re.compile(regex)


def _day(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.fullmatch(text)
    if match is None:
        return None
    try:
        return date(int(match["year"]), int(match["month"]), int(match["day"])).isoformat()
    except ValueError:
        return None


def _clock(text: str) -> str | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    try:
        return time(int(match[1]), int(match[2]), int(match[3] or 0)).isoformat()
    except ValueError:
        return None
