"""Changes go round: every record has its turn.

How often a record has changed follows from where the round is, so nothing needs to be kept of any of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

# Odd, so that records of all shapes are in one step.
_STEPS = 15


@dataclass(frozen=True, slots=True)
class Round:
    """Where the changes of an API are: in which round, and at which record of it.

    A round goes in steps: records 0, 15, 30 …, then 1, 16, 31 … and so on.
    """

    number: int = 0
    step: int = 0
    place: int = 0

    def state_of(self, index: int) -> int:
        """How often a record has changed, had it been there from the beginning."""
        place, step = divmod(index, _STEPS)
        return self.number + ((step, place) < (self.step, self.place))

    def walk(self, records: int, of: int) -> Iterator[int]:
        """The next records of so many."""
        at = self
        for _ in range(records):
            at = at._settled(of)
            yield at.place * _STEPS + at.step
            at = replace(at, place=at.place + 1)

    def after(self, records: int, of: int) -> "Round":
        """Where the changes are after so many."""
        at = self
        while records:
            at = at._settled(of)
            left = (of - at.step + _STEPS - 1) // _STEPS - at.place
            going = min(left, records)
            at = replace(at, place=at.place + going)
            records -= going
        return at

    def _settled(self, of: int) -> "Round":
        """The same place, but one that a record has."""
        at = self
        while at.place * _STEPS + at.step >= of:
            at = Round(at.number, at.step + 1)
            if at.step == _STEPS:
                at = Round(at.number + 1)
        return at
