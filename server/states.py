"""States of a received file, and the only moves between them, as one table.

Whatever changes a state asks `after`; a move that is not in the table raises and changes nothing. A test
holds the table of the README against this one, so that the two cannot differ.
"""

from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a file is in its life (contract section 8)."""

    RECEIVED = "received"
    HELD = "held"
    DEFERRED = "deferred"
    READY = "ready"
    LOADING = "loading"
    LOADED = "loaded"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    DUPLICATE = "duplicate"
    REPLACED = "replaced"
    WITHDRAWN = "withdrawn"


class Event(StrEnum):
    """What can happen to a file."""

    IN_TURN = "in turn"
    TOO_EARLY = "too early"
    SAME_AGAIN = "same again"
    REFUSED = "refused"
    UNKNOWN_API = "unknown API"
    GAP_CLOSED = "gap closed"
    WENT_IN = "went in"
    DEFERRED = "deferred"
    RELEASED = "released"
    STARTED = "started"
    COMMITTED = "committed"
    POSTPONED = "postponed"
    KEPT = "kept as it was"
    BAD_CONTENT = "bad content"
    REPLAYED = "replayed"
    REPLACED = "replaced"
    REINSTATED = "reinstated"
    WITHDRAWN = "withdrawn"


class Cause(StrEnum):
    """Why a file is refused, quarantined or deferred, as `inbox_file.cause` has it: for rules, not people."""

    BAD_NAME = "bad name"
    NOT_ALLOWED = "not allowed"
    CONFLICT = "conflict"
    UNKNOWN_API = "unknown API"
    REJECTED_ROWS = "rejected rows"
    NEEDS_APPROVAL = "needs approval"
    AFTER_HOURS = "after hours"
    BYTES_MISSING = "bytes missing"
    INTERNAL = "internal error"


class IllegalMove(ValueError):
    """The event cannot happen to a file in that state."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a {state} file cannot be {event}")
        self.state = state
        self.event = event


_MOVES: dict[State, dict[Event, State]] = {
    State.RECEIVED: {
        Event.IN_TURN: State.READY,
        Event.TOO_EARLY: State.HELD,
        Event.SAME_AGAIN: State.DUPLICATE,
        Event.REFUSED: State.REFUSED,
        Event.UNKNOWN_API: State.QUARANTINED,
        # Nobody foresaw what is wrong with it.
        Event.BAD_CONTENT: State.QUARANTINED,
    },
    State.HELD: {
        Event.GAP_CLOSED: State.READY,
        # A fix, with the file that it belongs to; or that cannot load with it.
        Event.WENT_IN: State.LOADED,
        Event.BAD_CONTENT: State.QUARANTINED,
        Event.REPLACED: State.REPLACED,
        Event.WITHDRAWN: State.WITHDRAWN,
    },
    State.DEFERRED: {
        Event.RELEASED: State.READY,
        Event.REPLACED: State.REPLACED,
        Event.WITHDRAWN: State.WITHDRAWN,
    },
    State.READY: {
        Event.STARTED: State.LOADING,
        Event.DEFERRED: State.DEFERRED,
        Event.REPLACED: State.REPLACED,
        Event.WITHDRAWN: State.WITHDRAWN,
    },
    State.LOADING: {
        Event.COMMITTED: State.LOADED,
        Event.POSTPONED: State.READY,
        Event.DEFERRED: State.DEFERRED,
        Event.BAD_CONTENT: State.QUARANTINED,
        # It was loaded before, and could not be again.
        Event.KEPT: State.LOADED,
    },
    State.QUARANTINED: {
        Event.REPLAYED: State.RECEIVED,
        Event.REPLACED: State.REPLACED,
        Event.WITHDRAWN: State.WITHDRAWN,
    },
    State.LOADED: {
        Event.REPLAYED: State.READY,
        Event.REPLACED: State.REPLACED,
    },
    State.REFUSED: {
        Event.REPLAYED: State.RECEIVED,
        Event.REPLACED: State.REPLACED,
        # How an operator says that he has seen it, so that its incident closes.
        Event.WITHDRAWN: State.WITHDRAWN,
    },
    State.WITHDRAWN: {
        Event.REPLAYED: State.RECEIVED,
        Event.REPLACED: State.REPLACED,
    },
    State.DUPLICATE: {},
    State.REPLACED: {
        # It was loaded, and the file that took its place was not.
        Event.REINSTATED: State.LOADED,
    },
}

MOVES = MappingProxyType({state: MappingProxyType(moves) for state, moves in _MOVES.items()})


def after(state: State, event: Event) -> State:
    """The state that follows.

    Raises:
        IllegalMove: the table has no such move.
    """
    try:
        return MOVES[state][event]
    except KeyError:
        raise IllegalMove(state, event) from None


def leaving_by(event: Event) -> tuple[State, ...]:
    """The states in which an event can happen, in the table's order."""
    return tuple(state for state, moves in MOVES.items() if event in moves)
