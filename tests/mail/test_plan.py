"""Who is told of what, and when: at once, in a digest, or not again (contract E2)."""

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from server.kinds import Kind
from server.mail.plan import AT_ONCE, Planned, Purpose, Sent, Told, plan
from server.settings.mail import Mail, Route

NOW = datetime.fromisoformat("2026-03-01T12:00")
HOUR = timedelta(hours=1)
OPS = ("ops@example.com",)


def _incident(number: int = 1, **changes: object) -> Told:
    made = Told("gap", f"DT {number:07d}", "missing.", "kept.", "wait.", NOW - HOUR, NOW, id=number)
    return replace(made, **changes)  # type: ignore[arg-type] # fields by name


def _plan(*incidents: Told, lately: tuple[Sent, ...] = ()) -> list[Planned]:
    return plan(incidents, lambda _kind, _source: OPS, lately, NOW, HOUR.total_seconds())


def test_what_is_new_is_told_at_once_in_a_letter_of_its_own() -> None:
    one, two = _incident(1), _incident(2)
    assert _plan(one, two) == [Planned(Purpose.OPENED, OPS, (one,)), Planned(Purpose.OPENED, OPS, (two,))]


def test_what_is_over_is_told_at_once() -> None:
    over = _incident(told=1, closed_at=NOW)
    assert _plan(over) == [Planned(Purpose.OVER, OPS, (over,))]


def test_what_goes_on_waits_for_the_digest_and_brings_all_that_goes_on_with_it() -> None:
    early = _incident(1, told=1, count=3, told_at=NOW - HOUR)
    late = _incident(2, told=1, count=2, told_at=NOW)
    assert _plan(late) == []
    assert _plan(early, late) == [Planned(Purpose.DIGEST, OPS, (early, late))]
    assert _plan(early, lately=(Sent(OPS, Purpose.DIGEST, NOW - HOUR / 2),)) == []


def test_a_bad_night_is_some_letters_and_a_digest() -> None:
    incidents = [_incident(number) for number in range(300)]
    letters = _plan(*incidents)
    assert [letter.purpose for letter in letters] == [Purpose.OPENED] * AT_ONCE + [Purpose.DIGEST]
    assert letters[-1].about == tuple(incidents[AT_ONCE:])
    sent = tuple(Sent(OPS, letter.purpose, NOW) for letter in letters)
    assert _plan(_incident(1000), lately=sent) == [], "the next digest brings it"


def test_people_get_what_their_routes_say_and_the_rest_goes_to_the_recipients() -> None:
    mail = Mail(
        host="localhost",
        sender="inbox@example.com",
        recipients=OPS,
        route=(
            Route(sources=("dt",), kinds=(Kind.REJECTED_ROWS,), to=("erp@example.com",)),
            Route(sources=("DT",), to=("dt@example.com", "erp@example.com")),
            Route(kinds=(Kind.DISK_LOW,), to=("disks@example.com",)),
        ),
    )
    assert mail.to("rejected rows", "DT") == ("erp@example.com", "dt@example.com"), "each once"
    assert mail.to("gap", "DT") == ("dt@example.com", "erp@example.com")
    assert mail.to("rejected rows", "XX") == OPS
    assert mail.to("disk low", None) == ("disks@example.com",)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.integers(0, 90)), max_size=30),
    st.lists(st.tuples(st.sampled_from(Purpose), st.integers(0, 90)), max_size=30),
)
def test_nothing_is_told_twice_or_at_once_in_more_letters_than_ten(
    kinds: list[tuple[int, int, bool, int]], before: list[tuple[Purpose, int]]
) -> None:
    incidents = [
        _incident(
            number,
            told=told,
            count=max(1, told + more),
            told_at=NOW - timedelta(minutes=minutes) if told else None,
            closed_at=NOW if over and told else None,
        )
        for number, (told, more, over, minutes) in enumerate(kinds, 1)
    ]
    lately = tuple(Sent(OPS, purpose, NOW - timedelta(minutes=minutes)) for purpose, minutes in before)
    letters = _plan(*incidents, lately=lately)
    about = [incident.id for letter in letters for incident in letter.about]
    assert len(about) == len(set(about))
    recent = [sent for sent in lately if sent.queued_at > NOW - HOUR]
    singles = [letter for letter in letters if letter.purpose is not Purpose.DIGEST]
    assert len(singles) <= max(0, AT_ONCE - len(recent))
    assert all(letter.about for letter in letters)
    if not any(sent.purpose == Purpose.DIGEST for sent in recent):
        assert {i.id for i in incidents if i.is_over or not i.told} <= set(about), "nobody waits for nothing"
