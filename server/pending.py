"""Receipts that the ledger does not know yet, kept in memory by stream and number, or else by name.

The receiver judges an arrival by the ledger and by these (contract A3). Most live for milliseconds; while
the database is away they pile up, so what is asked of them must stay cheap with hundreds of thousands: the
runs of numbers are found by bisection, not by counting, and of each file only its receipt's id is kept
(some 300 bytes), since what the receipt says is seldom asked for.
"""

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice

from server.names import LAST_SEQUENCE, FileName, NameRefused
from server.pace import Pace
from server.receipt import Receipt
from server.sequence import (
    ROLLOVER_BELOW,
    ROLLOVER_FROM,
    Range,
    Scope,
    Version,
    stream_of,
)
from server.spool import Spool

# Behind so many gaps nobody asks which number is due.
_RUNS_AT_MOST = 1000
# To look which are registered costs a listing of `new/`: at most once in so long, and at most this part of
# the time.
_PRUNE_SECONDS = 1.0
_PRUNE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Entry:
    """What an accepted file is judged by."""

    name: FileName
    data: str
    size_bytes: int
    sha256: str
    sha256_lf: str

    @classmethod
    def of(cls, name: FileName, receipt: Receipt) -> "Entry":
        """What a receipt says of it."""
        return cls(name, receipt.data, receipt.size_bytes, receipt.sha256, receipt.sha256_lf)


class _Stream:
    """The receipts of one stream by number, and their numbers in ascending order."""

    def __init__(self) -> None:
        self.ids: dict[int, tuple[str, ...]] = {}
        self.numbers: list[int] = []

    def add(self, number: int, receipt_id: str) -> None:
        if number not in self.ids:
            insort(self.numbers, number)
        self.ids[number] = (*self.ids.get(number, ()), receipt_id)

    def runs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Numbers from `first` to `last` that follow on one another, as first and last of each run."""
        numbers = self.numbers
        at = bisect_left(numbers, first)
        while at < len(numbers) and numbers[at] <= last:
            # Within a run a number and its place grow alike, beyond it the number has grown more.
            step = numbers[at] - at
            end = bisect_right(range(len(numbers)), step, lo=at, key=lambda place: numbers[place] - place)
            yield numbers[at], min(numbers[end - 1], last)
            at = end


class Pending:
    """What was accepted and is not registered; safe in any thread.

    Args:
        spool: exists already.
        scope: of its streams.
        name_of: reads a receipt's name; raises NameRefused.
    """

    def __init__(self, spool: Spool, scope: Scope, name_of: Callable[[Receipt], FileName]) -> None:
        self._spool = spool
        self._scope = scope
        self._name_of = name_of
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._named: dict[tuple[str, str], list[str]] = {}
        self._prunes = Pace(_PRUNE_SHARE, _PRUNE_SECONDS)

    def load(self) -> None:
        """Read what waits in the spool."""
        for receipt_id in self._spool.pending_ids():
            receipt = self._spool.read(receipt_id)
            if receipt is None or receipt.refusal is not None:
                continue
            with suppress(NameRefused):
                self.add(self._name_of(receipt), receipt.id)

    def add(self, name: FileName, receipt_id: str) -> None:
        """Note an accepted file whose receipt is in place."""
        with self._lock:
            self._prune()
            if name.has_own_number:
                stream = self._streams.setdefault(stream_of(name, self._scope), _Stream())
                stream.add(name.sequence, receipt_id)
            else:
                self._named.setdefault((name.source, str(name)), []).append(receipt_id)

    def of(self, name: FileName) -> list[Entry]:
        """The files that wait under the number of `name`, or the name if it has none, in order of acceptance.

        Ask before the ledger is asked: what is registered in between is then seen at least once.
        """
        with self._lock:
            if name.has_own_number:
                stream = self._streams.get(stream_of(name, self._scope))
                ids = () if stream is None else stream.ids.get(name.sequence, ())
            else:
                waiting = self._named.get((name.source, str(name)), [])
                # Of unsequenced ones there may be thousands, and only the last is ever asked for.
                ids = tuple(waiting[-1:] if name.is_unsequenced and not name.is_fix else waiting)
        receipts = map(self._spool.read_pending, ids)
        return [Entry.of(self._name_of(receipt), receipt) for receipt in receipts if receipt is not None]

    def runs(self, name: FileName, since: Version) -> list[Range]:
        """What waits in a file's stream from a version on, as runs without a gap, ascending; some at most."""
        with self._lock:
            stream = self._streams.get(stream_of(name, self._scope))
            return [] if stream is None else list(islice(_versions(stream, since), _RUNS_AT_MOST))

    def __len__(self) -> int:
        with self._lock:
            numbered = (ids for stream in self._streams.values() for ids in stream.ids.values())
            return sum(map(len, chain(self._named.values(), numbered)))

    def _prune(self) -> None:
        """Forget what is registered. Under the lock, so nothing is listed before and added after."""
        if not (self._streams or self._named) or not self._prunes.is_due():
            return
        with self._prunes.step():
            self._forget_registered()

    def _forget_registered(self) -> None:
        waiting = set(self._spool.pending_ids())
        streams: dict[str, _Stream] = {}
        for key, stream in self._streams.items():
            for number, ids in stream.ids.items():
                for receipt_id in ids:
                    if receipt_id in waiting:
                        streams.setdefault(key, _Stream()).add(number, receipt_id)
        self._streams = streams
        named = {key: [one for one in ids if one in waiting] for key, ids in self._named.items()}
        self._named = {key: ids for key, ids in named.items() if ids}


def _versions(stream: _Stream, expected: Version) -> Iterator[Range]:
    """The runs of a stream from the expected version on, into the next epoch near the end of one (S1)."""
    epoch, number = expected
    last = ROLLOVER_FROM - 1 if epoch and number < ROLLOVER_BELOW else LAST_SEQUENCE
    for run in stream.runs(number, last):
        yield Range(Version(epoch, run[0]), Version(epoch, run[1]))
    if number >= ROLLOVER_FROM:
        for run in stream.runs(1, ROLLOVER_BELOW - 1):
            yield Range(Version(epoch + 1, run[0]), Version(epoch + 1, run[1]))
