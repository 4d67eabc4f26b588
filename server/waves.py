"""Which ready file loads next: a snapshot of what is ready, in order of precedence (contract D1, D2, D5).

Whatever becomes ready while a wave is loading waits for the next one. So parents go before children, and no
steady flow of low levels can starve the others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from server.names import Mode
from server.windows import Window

# Files up to this size are grouped until a group has this many bytes.
SMALL_BYTES = 256 * 1024
GROUP_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Ready:
    """A file that may load.

    Attributes:
        rank: of its stream.
        version: as an integer, see `sequence.Version`.
        is_full: whether it may have to wait for its hours.
    """

    file_id: int
    name: str
    api: str
    stream_id: int
    rank: int
    version: int
    size_bytes: int
    is_full: bool = False


def wave(
    ready: Iterable[Ready], level: Callable[[str], int], stuck: Mapping[tuple[int, str], int]
) -> list[Ready]:
    """The files of the next wave, in the order in which they load: by level, stream and version.

    Args:
        ready: all that is ready at this moment.
        level: the level of precedence of an API, 1 first.
        stuck: for (stream, API), the version of a file that later ones have to wait for; empty unless the
            settings say `on_quarantine = "wait"`.
    """
    free = (file for file in ready if not is_stuck(file, stuck))
    return sorted(free, key=lambda file: (level(file.api), file.rank, file.version))


def is_stuck(file: Ready, stuck: Mapping[tuple[int, str], int]) -> bool:
    """Whether a file waits for an earlier one of its stream and API."""
    blocker = stuck.get((file.stream_id, file.api))
    return blocker is not None and blocker < file.version


def is_after_hours(mode: str, released: int | None, window: Window | None, now: datetime) -> bool:
    """Whether a file waits for its hours (contract D5): a FULL that nobody has released, outside its window.

    Args:
        mode: of the file.
        released: 1 if an operator has released it.
        window: of its source; None if there is none.
        now: with a zone.
    """
    return mode == Mode.FULL and not released and window is not None and not window.is_open(now)


def groups(files: Sequence[Ready]) -> Iterator[list[Ready]]:
    """What of a wave shares a transaction: small neighbours together, large files alone (contract L1)."""
    group: list[Ready] = []
    size = 0
    for file in files:
        if group and (file.size_bytes > SMALL_BYTES or size + file.size_bytes > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size_bytes
        if file.size_bytes > SMALL_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
