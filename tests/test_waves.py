"""Waves: what is ready loads by level, stream and version (contract D1, D2)."""

from hypothesis import given
from hypothesis import strategies as st

from server.waves import Ready, wave

LEVELS = {"CATEGORY": 1, "CUSTOMERS": 2, "ORDERS": 5}
READY = st.builds(
    Ready,
    file_id=st.integers(1, 99),
    name=st.just(""),
    api=st.sampled_from(sorted(LEVELS)),
    stream_id=st.integers(1, 2),
    rank=st.integers(0, 1),
    version=st.integers(1, 50),
    size_bytes=st.just(1),
)


@given(st.lists(READY))
def test_parents_load_before_children_and_versions_in_order(ready: list[Ready]) -> None:
    order = wave(ready, LEVELS.__getitem__, {})
    assert sorted(order, key=repr) == sorted(ready, key=repr), "nothing is lost or doubled"
    marks = [(LEVELS[file.api], file.rank, file.version) for file in order]
    assert marks == sorted(marks)


@given(st.lists(READY), st.integers(1, 50))
def test_files_behind_a_stuck_one_of_their_api_and_stream_wait(ready: list[Ready], version: int) -> None:
    order = wave(ready, LEVELS.__getitem__, {(1, "ORDERS"): version})
    waiting = {f for f in ready if (f.stream_id, f.api) == (1, "ORDERS") and f.version > version}
    assert set(order) == set(ready) - waiting
