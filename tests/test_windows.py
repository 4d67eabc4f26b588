"""The hours of FULL files, also on the days on which clocks change (contract D5)."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.windows import Window, parse

HOUR = timedelta(hours=1)


def _window(text: str) -> Window:
    window = parse(text)
    assert window is not None
    return window


def _wall(window: Window, moment: datetime) -> str:
    return f"{moment.astimezone(window.zone):%a %H:%M %Z}"


# 2026-03-08 has no 02:xx in New York, 2026-11-01 has 01:xx twice.
@pytest.mark.parametrize(
    ("text", "day", "opens", "closes", "length"),
    [
        ("22:00-05:00", date(2026, 3, 7), "Sat 22:00 EST", "Sun 05:00 EDT", 6 * HOUR),
        ("22:00-05:00", date(2026, 10, 31), "Sat 22:00 EDT", "Sun 05:00 EST", 8 * HOUR),
        ("02:15-02:45", date(2026, 3, 8), "Sun 03:00 EDT", "Sun 03:30 EDT", HOUR / 2),
        ("02:30-03:00", date(2026, 3, 8), "Sun 03:00 EDT", "Sun 03:30 EDT", HOUR / 2),
        ("01:30-02:30", date(2026, 3, 8), "Sun 01:30 EST", "Sun 03:00 EDT", HOUR / 2),
        ("02:30-04:00", date(2026, 3, 8), "Sun 03:00 EDT", "Sun 04:00 EDT", HOUR),
        ("01:15-01:45", date(2026, 11, 1), "Sun 01:15 EDT", "Sun 01:45 EST", 1.5 * HOUR),
        ("01:30-04:00", date(2026, 11, 1), "Sun 01:30 EDT", "Sun 04:00 EST", 3.5 * HOUR),
        ("sun 00:00-24:00", date(2026, 11, 1), "Sun 00:00 EDT", "Mon 00:00 EST", 25 * HOUR),
    ],
)
def test_a_window_goes_by_the_clock_on_the_wall(
    text: str, day: date, opens: str, closes: str, length: timedelta
) -> None:
    window = _window(f"{text} America/New_York")
    start, end = window.on(day)
    assert (_wall(window, start), _wall(window, end), end - start) == (opens, closes, length)
    assert not window.is_open(start - timedelta(seconds=1))
    assert window.is_open(start)
    assert window.is_open(end - timedelta(seconds=1))
    assert window.opens_next(start - timedelta(seconds=1)) == start


def test_a_window_opens_on_its_days_and_lasts_into_the_next() -> None:
    window = _window("fri-sat,mon 22:00-05:00 UTC")
    assert window.days == {0, 4, 5}
    assert window.is_open(datetime(2026, 11, 29, 4, 59, tzinfo=UTC)), "Sunday morning belongs to Saturday"
    assert not window.is_open(datetime(2026, 11, 29, 22, 0, tzinfo=UTC))
    assert window.opens_next(datetime(2026, 11, 29, 22, 0, tzinfo=UTC)) == datetime(
        2026, 11, 30, 22, tzinfo=UTC
    )


ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Africa/Cairo",
    ]
)
MINUTES = st.integers(0, 24 * 60 - 1)


@st.composite
def _windows(draw: st.DrawFn) -> Window:
    opens, closes = draw(st.tuples(MINUTES, MINUTES).filter(lambda both: both[0] != both[1]))
    days = draw(st.frozensets(st.integers(0, 6), min_size=1))
    return Window("", days, opens, closes, ZoneInfo(draw(ZONES)))


@st.composite
def _moments(draw: st.DrawFn) -> datetime:
    """Any, and often one about a change of some clock (the last is the day that Samoa left out)."""
    change = st.sampled_from(
        [
            (2026, 3, 8, 7),
            (2026, 11, 1, 6),
            (2026, 3, 29, 1),
            (2026, 10, 25, 1),
            (2026, 4, 4, 15),
            (2011, 12, 30, 10),
        ]
    )
    near = st.tuples(change, st.integers(-3000, 3000)).map(
        lambda both: datetime(*both[0], tzinfo=UTC) + timedelta(minutes=both[1])
    )
    whenever = st.integers(0, 25 * 365 * 24 * 60).map(
        lambda minutes: datetime(2010, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    )
    return draw(near | whenever)


@given(_windows(), _moments())
def test_where_the_clock_shows_a_time_of_the_window_it_is_open(window: Window, now: datetime) -> None:
    wall = now.astimezone(window.zone)
    minute = wall.hour * 60 + wall.minute
    today, yesterday = wall.weekday() in window.days, (wall - timedelta(days=1)).weekday() in window.days
    if window.opens < window.closes:
        shown = today and window.opens <= minute < window.closes
    else:
        shown = (today and minute >= window.opens) or (yesterday and minute < window.closes)
    if shown and window.zone.key != "Pacific/Apia":
        assert window.is_open(now)
    if not shown and window.is_open(now):
        offsets = {(now + more * HOUR).astimezone(window.zone).utcoffset() for more in range(-26, 27)}
        assert len(offsets) > 1, "only where the clock changes it is open beyond its hours"


@given(_windows(), _moments())
def test_it_opens_when_it_says_and_not_before(window: Window, now: datetime) -> None:
    opening = window.opens_next(now)
    assert opening > now
    assert window.is_open(opening)
    assert opening - now < timedelta(days=9)
    if not window.is_open(now):
        between = (now + (opening - now) * part / 50 for part in range(50))
        assert not any(map(window.is_open, between))


@given(_windows(), st.dates(date(2010, 1, 1), date(2035, 1, 1)))
def test_there_is_no_day_on_which_it_does_not_open(window: Window, day: date) -> None:
    start, end = window.on(day)
    assert start < end


@pytest.mark.parametrize(
    "text",
    [
        "22:00-05:00",
        "22:00-05:00 Europe/Nowhere",
        "22:00-05:00 ../etc/passwd",
        "25:00-05:00 UTC",
        "22:60-05:00 UTC",
        "22:00-24:01 UTC",
        "24:00-05:00 UTC",
        "05:00-05:00 UTC",
        "foo 22:00-05:00 UTC",
        "mon- 22:00-05:00 UTC",
        "",
    ],
)
def test_what_is_no_window_is_a_mistake(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse(text)


def test_always_is_no_window() -> None:
    assert parse("always") is None
