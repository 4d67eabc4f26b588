"""The look over the whole takes little of the loader's time, and none for nothing (contract E1, L5)."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import incidents, unjoined
from server.pace import Pace
from tests.support.inboxes import Bench

SHARE = 0.05


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    for module in ("server.pace.time", "server.reviewing.time"):
        monkeypatch.setattr(module, made)
    return made


@given(
    steps=st.lists(st.floats(0, 10), min_size=1, max_size=20),
    pauses=st.lists(st.floats(0, 300), min_size=20, max_size=20),
)
def test_what_is_paced_never_takes_more_than_its_share(steps: list[float], pauses: list[float]) -> None:
    clock = _Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.pace.time", clock)
        pace, taken, last = Pace(SHARE), 0.0, 0.0
        for seconds, pause in zip(steps, pauses, strict=False):
            if pace.is_due():
                with pace.step():
                    clock.now += seconds
                taken, last = taken + seconds, seconds
            clock.now += pause
        # The last one still has its rest to come.
        assert (taken - last) <= SHARE * (clock.now - 1000.0) + 1e-6


def test_what_is_paced_rests_after_a_failure_too(clock: _Clock) -> None:
    pace = Pace(SHARE, seconds=2.0)
    with pytest.raises(ZeroDivisionError), pace.step():
        raise ZeroDivisionError
    assert not pace.is_due()
    clock.now += 2.0
    assert pace.is_due()


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_files_that_come_one_by_one_are_not_each_followed_by_a_long_review(
    bench: Bench, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviews: list[float] = []
    monkeypatch.setattr(incidents, "review", _taking(0.2, clock, reviews))
    monkeypatch.setattr(unjoined, "count", _taking(1.0, clock, [], result=[]))
    loader = bench.loader()
    for number in range(1, 11):
        bench.arrive(f"DT_{number:07d}_KS_CATEGORY.NET", b"A\tone\n")
        while loader.work():
            pass
        clock.now += 0.5
    assert len(reviews) == 2, "the first, and one more after four seconds"
    clock.now += 4.0
    loader.work()
    assert len(reviews) == 3, "what came last is looked over soon"


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_what_has_not_joined_is_counted_again_only_if_anything_has_happened(
    bench: Bench, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[float] = []
    counted: list[unjoined.Unjoined] = []
    monkeypatch.setattr(unjoined, "count", _taking(0.5, clock, counts, result=counted))
    loader = bench.loader()
    for _ in range(3):
        loader.work()
        clock.now += 3600.0
    assert len(counts) == 1
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    while loader.work():
        pass
    assert len(counts) == 2


def _taking(
    seconds: float, clock: _Clock, calls: list[float], result: object = None
) -> Callable[..., object]:
    def step(*_arguments: object) -> object:
        calls.append(clock.now)
        clock.now += seconds
        return result

    return step
