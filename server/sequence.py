"""Streams: which number is due, and what an arrival means.

A stream counts 1, 2, 3 … 9999999 and then begins again in a new epoch (contract S1). `Version` is the pair of
epoch and number, and as one integer it is what rows are compared by when they are loaded (contract L7).

A stream is described by one version alone, the one that is **expected**: every lower number has arrived or
been skipped, the expected one has not. What has arrived above it is held (contract S2). All functions are
pure; facts come in as arguments, a decision goes out, and `intake` performs it.
"""

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from server.names import FIRST_SEQUENCE, LAST_SEQUENCE, FileName, NameRefused, parse
from server.states import State

# Contract S1: only so near to the end of the numbers is a low number taken for the next epoch's.
ROLLOVER_FROM = 9_900_000
ROLLOVER_BELOW = 100_000

_EPOCH = LAST_SEQUENCE + 1


class Version(NamedTuple):
    """Epoch (0, 1, 2 …) and number (1 to 9999999) of a file in its stream; versions are ordered."""

    epoch: int
    sequence: int

    def __int__(self) -> int:
        return self.epoch * _EPOCH + self.sequence

    @classmethod
    def of(cls, number: int) -> "Version":
        """The version that `int` made `number` of."""
        return cls(*divmod(number, _EPOCH))

    def __str__(self) -> str:
        return f"{self.sequence:07d}" if not self.epoch else f"{self.sequence:07d} (epoch {self.epoch})"

    @property
    def next(self) -> "Version":
        """The version that follows."""
        if self.sequence == LAST_SEQUENCE:
            return Version(self.epoch + 1, FIRST_SEQUENCE)
        return Version(self.epoch, self.sequence + 1)

    @property
    def previous(self) -> "Version":
        """The version before; below 1 of epoch 0 lies its number 0, which no file has."""
        if self.sequence == FIRST_SEQUENCE and self.epoch:
            return Version(self.epoch - 1, LAST_SEQUENCE)
        return Version(self.epoch, self.sequence - 1)


class Range(NamedTuple):
    """Versions from `first` to `last`, both included."""

    first: Version
    last: Version

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"

    @property
    def size(self) -> int:
        """How many numbers the range holds."""
        epochs = self.last.epoch - self.first.epoch
        return epochs * LAST_SEQUENCE + self.last.sequence - self.first.sequence + 1


class Verdict(StrEnum):
    """What an arrival means (contract S5)."""

    IN_TURN = "in turn"
    TOO_EARLY = "too early"
    LATE = "late"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REPLACEMENT = "replacement"


@dataclass(frozen=True)
class Holder:
    """The file that has a number already, as far as an arrival under the same number needs to know it."""

    name: str
    state: State
    sha256_lf: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Arrival:
    """A file that asks for its number.

    Attributes:
        name: canonical name.
        sha256_lf: digest with CRLF counted as LF, by which two copies are the same (contract A6).
        begins_with_holder: whether its first bytes are all of the holder's, so that the holder was cut.
    """

    name: str
    sha256_lf: str
    begins_with_holder: bool


class Scope(StrEnum):
    """What counts together (contract S1): the `[sequence] scope` of the settings."""

    SOURCE = "source"
    INTEGRATION = "source+integration"
    API = "api"


_UNSEQUENCED = " UNSEQUENCED"
_EXAMPLES = {Scope.SOURCE: "DT", Scope.INTEGRATION: "DT_KS", Scope.API: "DT_KS_ORDERS"}


def stream_called(text: str, scope: Scope) -> str:
    """A stream as an operator writes it, in the ledger's spelling.

    Raises:
        ValueError: no file name could belong to it.
    """
    # What the scope leaves out of a stream's name may be anything.
    parts = [*text.split("_", 2), *_EXAMPLES[Scope.API].split("_")[text.count("_") + 1 :]]
    try:
        stream = stream_of(parse("{}_0000001_{}_{}.NET".format(*parts)), scope)
    except NameRefused:
        stream = ""
    if stream != text.upper():
        raise ValueError(
            f'`{text}` is no stream: where scope = "{scope}", they are named like {_EXAMPLES[scope]}.'
        )
    return stream


def is_unsequenced_stream(text: str) -> bool:
    """Whether an operator means the files of a source that the inbox counts itself (contract N7)."""
    return text.upper().endswith(_UNSEQUENCED)


def stream_of(name: FileName, scope: Scope) -> str:
    """The stream that a file belongs to, e.g. `DT`, `DT_KS` or `DT_KS_ORDERS`.

    Names without a sequence have one of their own by source, which the inbox counts (contract N7).
    """
    if name.is_unsequenced:
        return f"{name.source}{_UNSEQUENCED}"
    parts = {
        Scope.SOURCE: (name.source,),
        Scope.INTEGRATION: (name.source, name.integration),
        Scope.API: (name.source, name.integration, name.api),
    }
    return "_".join(parts[scope])


def source_of(stream: str) -> str:
    """The source of a stream, by its name."""
    return re.split("[_ ]", stream)[0]


def version_of(sequence: int, expected: Version) -> Version:
    """The version that a number stands for while `expected` is due (contract S1).

    Near the end of an epoch a low number belongs to the next one. Just after it a very high number belongs
    to the one before: a sender that repeats 9999999 because its reply was lost must hear that it has arrived.
    """
    if expected.sequence >= ROLLOVER_FROM and sequence < ROLLOVER_BELOW:
        return Version(expected.epoch + 1, sequence)
    if expected.epoch and expected.sequence < ROLLOVER_BELOW and sequence >= ROLLOVER_FROM:
        return Version(expected.epoch - 1, sequence)
    return Version(expected.epoch, sequence)


# A number whose file is one of these is given to a corrected file without a question (contract A7).
REPLACEABLE = frozenset({State.QUARANTINED, State.REFUSED, State.WITHDRAWN})


def is_taken(holder: Holder | None, name: str) -> bool:
    """Whether a number belongs to another file than `name` for good, so that `name` can never have it."""
    return holder is not None and holder.name != name and holder.state not in REPLACEABLE


def judge(version: Version, arrival: Arrival, expected: Version, holder: Holder | None) -> Verdict:
    """What an arrival means, given who holds its number (contract A6, A7, S2, S4).

    With no holder, a number below the expected one can only be one that was skipped: it comes late.
    """
    if holder is not None:
        if arrival.name == holder.name and arrival.sha256_lf == holder.sha256_lf:
            return Verdict.DUPLICATE
        same_kind = arrival.name == holder.name
        if holder.state in REPLACEABLE or (same_kind and arrival.begins_with_holder):
            return Verdict.REPLACEMENT
        return Verdict.CONFLICT
    if version == expected:
        return Verdict.IN_TURN
    return Verdict.TOO_EARLY if version > expected else Verdict.LATE


def advance(expected: Version, arrived: Iterable[Version], skipped: Iterable[Range]) -> Version:
    """The version that is due when everything from `expected` on that is there has been counted.

    Args:
        expected: where to begin.
        arrived: versions that have arrived, in ascending order; read only as far as they go on without a gap.
        skipped: ranges that were given up, in ascending order, not overlapping; read likewise.
    """
    for part in _merged((Range(version, version) for version in arrived), skipped):
        if part.first > expected:
            break
        if part.last >= expected:
            expected = part.last.next
    return expected


def gaps(expected: Version, arrived: Iterable[Range], skipped: Iterable[Range]) -> Iterator[Range]:
    """The missing numbers between `expected` and the highest that has arrived, as ranges in order.

    Arguments as for `advance`, but that arrivals come in ranges, too, and all of them. Skipped numbers beyond
    the last arrival are no gap: nothing waits for them.
    """
    missing: list[Range] = []
    for part in _merged(arrived, skipped):
        if part.first > expected:
            missing.append(Range(expected, part.first.previous))
        if part.last >= expected:
            expected = part.last.next
        if not isinstance(part, _Skip):
            yield from missing
            missing.clear()


class _Skip(Range):
    """A range of skipped numbers, told apart from arrivals while both are merged."""


def _merged(arrived: Iterable[Range], skipped: Iterable[Range]) -> Iterator[Range]:
    """Arrivals and skips in one ascending row, without reading further ahead than one of each."""
    return heapq.merge(arrived, (_Skip(*skip) for skip in skipped), key=lambda part: part.first)


def parse_range(text: str) -> tuple[int, int]:
    """`17` or `17-20`, as an operator writes the numbers he gives up.

    Where the numbers begin again the last may be lower: `9999998-0000002` (contract S1).

    Raises:
        ValueError: it is neither, or the first number is higher than the last.
    """
    match = re.fullmatch(r"([0-9]{1,7})(?:-([0-9]{1,7}))?", text, re.ASCII)
    first, last = (0, 0) if match is None else (int(match[1]), int(match[2] or match[1]))
    if not (first and last):
        raise ValueError(
            f"`{text}` is neither a number from 0000001 to 9999999 nor a range of them, e.g. 17 or 17-20."
        )
    if first > last and not (first >= ROLLOVER_FROM and last < ROLLOVER_BELOW):
        raise ValueError(f"`{text}` ends before it begins; the lower number comes first.")
    return first, last
