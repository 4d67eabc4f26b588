"""Reasons beside files that were refused: NAME.reason, for whoever looks into a drop folder (contract A11).

A reason also says as what its file was seen, so that the file is not refused again and again, also after a
restart. Whoever wants it to be tried once more changes the file, or removes the reason.
"""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".reason"

READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
MAKING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_LONGEST = 1 << 16
_SEEN = "seen:"


@dataclass(frozen=True)
class Look:
    """What shows that a file has changed; not its inode, which some shares make up anew each time."""

    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, facts: os.stat_result) -> "Look":
        """From what the file system says; of a link there is nothing to be seen."""
        return _NOTHING if stat.S_ISLNK(facts.st_mode) else cls(facts.st_size, facts.st_mtime_ns)


_NOTHING = Look(-1, -1)


class Reasons:
    """The reasons in one folder. Methods that write raise OSError as the file system does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looks: dict[str, Look] = {}
        # Those that the share did not take.
        self._unwritten: dict[str, str] = {}

    def write(self, name: str, reason: str, look: Look) -> None:
        """Say beside a file why it is not taken; what cannot be written is remembered.

        What somebody else has written there stays: FileExistsError.

        Args:
            name: of the file.
            reason: a sentence.
            look: as what it was refused.
        """
        self._looks[name] = look
        self._unwritten[name] = reason
        path = self._folder / f"{name}{SUFFIX}"
        if self._read(name) is not None or _says_nothing(path):
            # Never into what is there, which may be a link.
            path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, MAKING, 0o644), "w", encoding="utf-8") as file:
            file.write(
                f"{reason}\n"
                "It is tried again when it has changed, or when this file is removed.\n"
                f"{_SEEN} {look.size_bytes} {look.mtime_ns}\n"
            )
        del self._unwritten[name]

    def is_refused(self, name: str, look: Look, *, beside: bool) -> bool:
        """Whether a file was refused as it is; a reason that could not be written is written now.

        Args:
            name: of the file.
            look: as what it is seen.
            beside: whether there is a reason beside it.
        """
        if name in self._unwritten and self._looks[name] == look:
            self.write(name, self._unwritten[name], look)
            return True
        return beside and self._look(name) == look

    def _look(self, name: str) -> Look | None:
        """As what a file was refused; None if the reason beside it is none of ours."""
        if name not in self._looks and (look := self._read(name)) is not None:
            self._looks[name] = look
        return self._looks.get(name)

    def _read(self, name: str) -> Look | None:
        with suppress(OSError, ValueError, IndexError):
            with os.fdopen(os.open(self._folder / f"{name}{SUFFIX}", READING), "rb") as file:
                last = file.read(_LONGEST).decode("utf-8").splitlines()[-1]
            word, size, mtime = last.split(" ")
            if word == _SEEN:
                return Look(int(size), int(mtime))
        return None

    def forget(self, name: str) -> None:
        """The file is taken, or gone: so goes the reason, if it is ours."""
        self._unwritten.pop(name, None)
        self._looks.pop(name, None)
        if self._read(name) is not None:
            (self._folder / f"{name}{SUFFIX}").unlink(missing_ok=True)


def _says_nothing(path: Path) -> bool:
    """Whether a link lies there, or an empty file, as a crash leaves it."""
    with suppress(FileNotFoundError):
        facts = path.lstat()
        return stat.S_ISLNK(facts.st_mode) or (stat.S_ISREG(facts.st_mode) and not facts.st_size)
    return False
