"""Keeping what is done again and again to a small share of the time, however long it takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """When something costly may be done again.

    Args:
        share: of the time that it may take, such as 0.05.
        seconds: the shortest time from the end of one to the next.
    """

    def __init__(self, share: float, seconds: float = 0.0) -> None:
        self._share = share
        self._seconds = seconds
        self._again_at = 0.0

    def is_due(self) -> bool:
        """Whether it has rested for long enough."""
        return time.monotonic() >= self._again_at

    @contextmanager
    def step(self) -> Iterator[None]:
        """Do it, and rest afterwards for as long as that took in proportion; however it ended."""
        began = time.monotonic()
        try:
            yield
        finally:
            now = time.monotonic()
            self._again_at = now + max(self._seconds, (now - began) / self._share)
