"""What uploads that died have left in the spool, removed when it is old.

Data that a receipt or a staging note speaks of is never touched, nor data written to since, nor that of an
upload that goes on in this process.
"""

import heapq
import time
from pathlib import Path

from server.spool import Spool, ids_in, names_in

# How many old files one sweep looks at: it bounds memory (about 20 MB) where a million are kept.
_LOOKED_AT_AT_MOST = 100_000


class Leftovers:
    """What is left over in one spool; methods raise OSError as the file system does."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        # All older data has a receipt.
        self._seen = ""

    def sweep(self, older_than_seconds: float) -> list[str]:
        """Remove data and half-written receipts; returns the ids of the data that was removed."""
        spool = self._spool
        # First of all: what is in use no more has a receipt by now, or is nobody's.
        in_use = spool.in_use
        before = time.time() - older_than_seconds
        for name in names_in(spool.aside):
            if _older(spool.aside / name, before):
                (spool.aside / name).unlink(missing_ok=True)
        last = f"{int(before * 1e9):016x}"
        old = (name for name in ids_in(spool.data) if self._seen <= name < last)
        looked_at = heapq.nsmallest(_LOOKED_AT_AT_MOST, old)
        # Notes first, receipts next: a staged file that is accepted meanwhile is seen as one or the other.
        spared = in_use | {note.data for note in spool.staged_receipts()}
        unspoken = sorted(spool.without_receipt(looked_at))
        dead = [name for name in unspoken if name not in spared and _older(spool.data / name, before)]
        for name in dead:
            spool.discard_data(name)
        # What was spared is looked at again, what has a receipt need not be.
        self._seen = min((name for name in unspoken if name not in dead), default=max(looked_at, default=""))
        return dead

    def sweep_refused(self, older_than_seconds: float) -> list[str]:
        """As `sweep`, for bytes of refused uploads whose receiver died before their receipt.

        Nothing may be refused meanwhile: `Spool.keep_refused` counts on what is there.
        """
        refused = self._spool.refused
        before = time.time() - older_than_seconds
        old = [name for name in names_in(refused) if _older(refused / name, before)]
        dead = sorted(self._spool.without_receipt(f"{refused.name}/{name}" for name in old))
        for data_id in dead:
            self._spool.discard_data(data_id)
        return dead


def _older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:
        return False
