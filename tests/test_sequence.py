"""Streams: expected numbers, gaps, epochs, and what an arrival means (contract S1 to S5, A6, A7)."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.names import LAST_SEQUENCE, parse
from server.sequence import (
    ROLLOVER_BELOW,
    ROLLOVER_FROM,
    Arrival,
    Holder,
    Range,
    Scope,
    Verdict,
    Version,
    advance,
    gaps,
    judge,
    parse_range,
    stream_of,
    version_of,
)
from server.states import State

VERSIONS = st.builds(Version, st.integers(0, 3), st.integers(1, LAST_SEQUENCE))
NAME = "DT_0000005_KS_ORDERS.NET"


@given(VERSIONS, VERSIONS)
def test_versions_are_ordered_as_their_integers(one: Version, other: Version) -> None:
    assert (one < other) == (int(one) < int(other))
    assert Version.of(int(one)) == one


@given(VERSIONS)
def test_previous_undoes_next(version: Version) -> None:
    assert version.next.previous == version
    assert version < version.next


def test_after_the_last_number_comes_1_of_a_new_epoch() -> None:
    assert Version(0, LAST_SEQUENCE).next == Version(1, 1)


@given(st.integers(0, 5), st.integers(1, LAST_SEQUENCE), st.integers(1, LAST_SEQUENCE))
def test_a_number_is_of_the_next_epoch_only_near_the_end_of_this_one(
    epoch: int, expected: int, number: int
) -> None:
    version = version_of(number, Version(epoch, expected))
    assert version.sequence == number
    next_one = expected >= ROLLOVER_FROM and number < ROLLOVER_BELOW
    assert (version.epoch == epoch + 1) == next_one


def test_a_repeated_last_number_is_of_the_epoch_that_just_ended() -> None:
    assert version_of(LAST_SEQUENCE, Version(1, 1)) == Version(0, LAST_SEQUENCE)
    assert version_of(LAST_SEQUENCE, Version(0, 1)) == Version(0, LAST_SEQUENCE)


SMALL = st.integers(1, 40)
RANGES = st.lists(st.tuples(SMALL, st.integers(0, 5)), max_size=4)


def _ranges(drawn: list[tuple[int, int]]) -> list[Range]:
    """Ascending ranges that do not overlap."""
    made: list[Range] = []
    for first, more in sorted(drawn):
        if not made or first > made[-1].last.sequence:
            made.append(Range(Version(0, first), Version(0, first + more)))
    return made


def _numbers(ranges: list[Range]) -> set[int]:
    return {number for part in ranges for number in range(part.first.sequence, part.last.sequence + 1)}


@given(SMALL, st.sets(SMALL), RANGES)
def test_the_expected_number_is_the_first_that_neither_arrived_nor_was_skipped(
    expected: int, arrived: set[int], drawn: list[tuple[int, int]]
) -> None:
    skipped = _ranges(drawn)
    there = arrived | _numbers(skipped)
    found = advance(
        Version(0, expected), (Version(0, n) for n in sorted(arrived) if n >= expected), skipped
    ).sequence
    assert found == next(n for n in range(expected, 100) if n not in there)


@given(SMALL, st.sets(SMALL), RANGES)
def test_gaps_are_the_missing_numbers_below_the_highest_arrival(
    expected: int, arrived: set[int], drawn: list[tuple[int, int]]
) -> None:
    skipped = _ranges(drawn)
    ahead = {n for n in arrived if n >= expected}
    ranges = [Range(Version(0, n), Version(0, n)) for n in sorted(ahead)]
    found = list(gaps(Version(0, expected), ranges, skipped))
    there = ahead | _numbers(skipped)
    top = max(ahead, default=expected)
    assert _numbers(found) == {n for n in range(expected, top) if n not in there}
    assert all(one.last.next < other.first for one, other in pairwise(found)), "joined up"


def test_advance_reads_no_further_than_the_first_gap() -> None:
    def endless() -> None:
        raise AssertionError("read beyond the gap")

    def arrived() -> Iterator[Version]:
        yield Version(0, 1)
        yield Version(0, 3)
        yield Version(0, 4)
        endless()

    assert advance(Version(0, 1), arrived(), []) == Version(0, 2)


@given(order=st.permutations(range(1, 9)), skipped=st.sets(st.integers(1, 8), max_size=3))
def test_in_any_order_no_file_is_released_before_its_predecessors(
    order: list[int], skipped: set[int]
) -> None:
    """Arrivals and skips in any order: what is below the expected number has come, or was given up."""
    expected = Version(0, 1)
    arrived: set[int] = set()
    for number in order:
        if number not in skipped:
            arrived.add(number)
        here = skipped & set(order[: order.index(number) + 1])
        expected = advance(
            expected,
            (Version(0, n) for n in sorted(arrived)),
            [Range(Version(0, n), Version(0, n)) for n in sorted(here)],
        )
        assert all(n in arrived | here for n in range(1, expected.sequence))
    assert expected == Version(0, 9), "when all have come, nothing is held"


def _holder(state: State, digest: str = "aa", name: str = NAME) -> Holder:
    return Holder(name, state, sha256_lf=digest, size_bytes=10, sha256=digest)


@pytest.mark.parametrize(
    ("number", "verdict"), [(5, Verdict.IN_TURN), (6, Verdict.TOO_EARLY), (4, Verdict.LATE)]
)
def test_without_a_holder_the_number_decides(number: int, verdict: Verdict) -> None:
    arrival = Arrival(NAME, "aa", begins_with_holder=False)
    assert judge(Version(0, number), arrival, Version(0, 5), None) is verdict


@given(st.sampled_from(State))
def test_the_same_bytes_under_the_same_name_are_a_duplicate_whatever_became_of_the_first(
    state: State,
) -> None:
    arrival = Arrival(NAME, "aa", begins_with_holder=False)
    assert judge(Version(0, 5), arrival, Version(0, 9), _holder(state)) is Verdict.DUPLICATE


@given(st.sampled_from(State), st.booleans())
def test_other_bytes_replace_only_what_is_not_in_or_was_cut(state: State, begins: bool) -> None:
    arrival = Arrival(NAME, "bb", begins_with_holder=begins)
    verdict = judge(Version(0, 5), arrival, Version(0, 9), _holder(state))
    may = begins or state in (State.QUARANTINED, State.REFUSED, State.WITHDRAWN)
    assert verdict is (Verdict.REPLACEMENT if may else Verdict.CONFLICT)


def test_the_same_bytes_under_another_api_are_a_conflict() -> None:
    arrival = Arrival("DT_0000005_KS_CUSTOMERS.NET", "aa", begins_with_holder=True)
    assert judge(Version(0, 5), arrival, Version(0, 9), _holder(State.LOADED)) is Verdict.CONFLICT


@pytest.mark.parametrize(
    ("scope", "stream"), [(Scope.SOURCE, "DT"), (Scope.INTEGRATION, "DT_KS"), (Scope.API, "DT_KS_ORDERS")]
)
def test_the_scope_says_what_counts_together(scope: Scope, stream: str) -> None:
    assert stream_of(parse(NAME), scope) == stream


def test_ranges_are_read_as_operators_write_them() -> None:
    assert parse_range("17") == (17, 17)
    assert parse_range("0000017-20") == (17, 20)
    assert parse_range("9999998-0000002") == (9_999_998, 2)
    for wrong in ("", "a", "20-17", "1-2-3", "-5"):
        with pytest.raises(ValueError, match=r"range|begins"):
            parse_range(wrong)
