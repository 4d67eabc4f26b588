"""What each sender has sent: staged, cut, or accepted within a day (contract A5, A12, N6).

Clients that verify an upload ask for its size or a listing; they are answered from memory, from here, and no
path of theirs ever reaches the disk. A name is found in any spelling and shown as it was sent (N3).
"""

import threading
import time
from dataclasses import dataclass
from datetime import datetime

from server.names import NameRefused, parse
from server.receipt import Receipt

SHOWN_SECONDS = 86_400.0

# A sender with more accepted files than these in a day sees the newest: some 10 MB of memory.
SHOWN_AT_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Shown:
    """One file as its sender sees it; `modified` in seconds since 1970."""

    name: str
    size_bytes: int
    modified: float


class Sent:
    """All senders' files; safe in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accepted: dict[str, dict[str, Shown]] = {}
        self._staged: dict[str, dict[str, Receipt]] = {}

    def accepted(self, receipt: Receipt) -> None:
        """Show an accepted file; its name was given before, perhaps, then this one is shown instead."""
        with self._lock:
            files = self._accepted.setdefault(receipt.user, {})
            files.pop(key_of(receipt.name), None)
            files[key_of(receipt.name)] = _shown(receipt)
            while len(files) > SHOWN_AT_MOST:
                del files[next(iter(files))]

    def staged(self, note: Receipt) -> Receipt | None:
        """Show a staged or cut file; returns the note whose name it takes over, if there is one."""
        with self._lock:
            files = self._staged.setdefault(note.user, {})
            before = files.get(key_of(note.name))
            files[key_of(note.name)] = note
            return before

    def was_accepted(self, note: Receipt) -> bool:
        """Whether its sender has had a file of that name accepted since this one, which was cut, began."""
        with self._lock:
            shown = self._recent(note.user).get(key_of(note.name))
            return shown is not None and shown.modified >= _seconds(note.started_at)

    def find_staged(self, user: str, name: str) -> Receipt | None:
        """The note of a staged file that is whole."""
        note = self._note(user, name)
        return None if note is None or note.cut else note

    def find_cut(self, user: str, name: str) -> Receipt | None:
        """The note of an upload that was cut."""
        note = self._note(user, name)
        return note if note is not None and note.cut else None

    def take_staged(self, user: str, name: str) -> Receipt | None:
        """Take the note of a whole file away, for whoever does something with it: nobody else gets it."""
        return self._take(self.find_staged(user, name))

    def take_cut(self, user: str, name: str) -> Receipt | None:
        """As `take_staged`, of one that was cut."""
        return self._take(self.find_cut(user, name))

    def _note(self, user: str, name: str) -> Receipt | None:
        with self._lock:
            return self._staged.get(user, {}).get(key_of(name))

    def _take(self, note: Receipt | None) -> Receipt | None:
        with self._lock:
            if note is None or self._staged[note.user].get(key_of(note.name)) is not note:
                return None
            return self._staged[note.user].pop(key_of(note.name))

    def put_back(self, note: Receipt) -> bool:
        """Show a file again that was taken; false if another has its name meanwhile."""
        with self._lock:
            return self._staged.setdefault(note.user, {}).setdefault(key_of(note.name), note) is note

    def take_staged_before(self, when: float) -> list[Receipt]:
        """Take away the notes of what was staged before a time, in seconds since 1970."""
        with self._lock:
            old = [
                note
                for files in self._staged.values()
                for note in files.values()
                if _seconds(note.received_at) < when
            ]
            for note in old:
                del self._staged[note.user][key_of(note.name)]
            return old

    def find(self, user: str, name: str) -> Shown | None:
        """One file of a sender, staged, cut or accepted, or None."""
        note = self._note(user, name)
        if note is not None:
            return _shown(note)
        with self._lock:
            return self._recent(user).get(key_of(name))

    def names(self, user: str) -> list[str]:
        """The names of a sender's files as they were sent, in order."""
        with self._lock:
            staged = [note.name for note in self._staged.get(user, {}).values()]
            return sorted([*staged, *(shown.name for shown in self._recent(user).values())])

    def _recent(self, user: str) -> dict[str, Shown]:
        """A sender's accepted files of the last day; older ones, which come first, are dropped."""
        files = self._accepted.get(user, {})
        since = time.time() - SHOWN_SECONDS
        old = []
        for key, shown in files.items():
            if shown.modified >= since:
                break
            old.append(key)
        for key in old:
            del files[key]
        return files


def key_of(name: str) -> str:
    """A name by which all its spellings are one (contract N2, N3)."""
    try:
        return str(parse(name))
    except NameRefused:
        return name.upper()


def resumes_at(note: Receipt) -> int:
    """Behind how many bytes a cut upload goes on.

    One less than are kept: of an upload whose last bytes came before the cut a client would hear that it is
    as long as his file, take it for delivered, and never learn that it was not accepted.
    """
    return max(0, note.size_bytes - 1)


def _shown(receipt: Receipt) -> Shown:
    size = resumes_at(receipt) if receipt.cut else receipt.size_bytes
    return Shown(receipt.name, size, _seconds(receipt.received_at))


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
