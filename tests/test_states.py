"""The table of states: legal moves only, and none that leads nowhere by mistake."""

import pytest

from server.states import MOVES, Event, IllegalMove, State, after, leaving_by


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    assert set(MOVES) == set(State)
    reached = {state for moves in MOVES.values() for state in moves.values()}
    assert reached == set(State), "a file begins as received, and a replay makes it so again"


def test_every_event_happens_somewhere() -> None:
    assert all(leaving_by(event) for event in Event)


def test_only_a_duplicate_is_at_its_end_and_a_replaced_file_but_for_one_that_was_loaded() -> None:
    assert {state for state, moves in MOVES.items() if not moves} == {State.DUPLICATE}
    assert set(MOVES[State.REPLACED]) == {Event.REINSTATED}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_a_move_that_is_not_in_the_table_raises(state: State, event: Event) -> None:
    if event in MOVES[state]:
        assert after(state, event) is MOVES[state][event]
    else:
        with pytest.raises(IllegalMove, match=str(state)):
            after(state, event)


def test_a_loading_file_cannot_be_withdrawn_or_replaced() -> None:
    assert State.LOADING not in (*leaving_by(Event.WITHDRAWN), *leaving_by(Event.REPLACED))
