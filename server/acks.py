"""The answers to senders as files: what `/acks/` shows (contract E3).

    acks/SOURCE/NAME.ack       what became of the file
    acks/SOURCE/NAME.rejects   its refused rows, to be corrected and sent back as NAME.fix

The loader writes them, whole or not at all. The receiver reads them, on worker threads and without a
database. No text of a client's becomes a path: a name is read by the grammar and written anew.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from os import DirEntry, scandir
from pathlib import Path
from typing import BinaryIO

from server.names import FileName, NameRefused, parse_shown
from server.sent import Shown
from server.spool import Spool

ACK = ".ack"
REJECTS = ".rejects"


@dataclass(frozen=True)
class Answer:
    """One answer: of which file, and of which kind."""

    file: FileName
    kind: str

    @classmethod
    def parse(cls, text: str) -> "Answer | None":
        """An answer by any spelling of its name, or None if it is none."""
        stem, dot, kind = text.rpartition(".")
        if f".{kind.lower()}" not in (ACK, REJECTS):
            return None
        try:
            return cls(parse_shown(stem), f"{dot}{kind.lower()}")
        except NameRefused:
            return None

    def __str__(self) -> str:
        return f"{self.file}{self.kind}"


class Acks:
    """The answers of one spool. Methods raise OSError as the file system does."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._root = spool.acks
        self._aside = spool.aside

    # --- for the loader, of which there is one

    def write(self, answer: Answer, content: bytes) -> None:
        """Put an answer in place of the one that was there."""
        path = self._path(answer)
        aside = self._aside / path.name
        aside.write_bytes(content)
        try:
            aside.rename(path)
        except FileNotFoundError:
            # Nothing lasting is in it, so the folder of all answers is made anew as well as that of a source.
            self._spool.must_be_there()
            self._root.mkdir(exist_ok=True, mode=0o750)
            path.parent.mkdir(exist_ok=True)
            aside.rename(path)

    def remove(self, answer: Answer) -> None:
        """Take an answer away, if it is there."""
        self._path(answer).unlink(missing_ok=True)

    def sweep(self, before: float) -> None:
        """Remove what was written before a time, in seconds since 1970."""
        for folder in _entries(self._root):
            for entry in _entries(Path(folder.path)):
                if entry.stat().st_mtime < before:
                    Path(entry.path).unlink(missing_ok=True)

    # --- for the receiver

    def find(self, text: str, sources: Collection[str]) -> Shown | None:
        """One answer as the sender sees it, or None if there is none for these sources."""
        answer = Answer.parse(text)
        if answer is None or answer.file.source not in sources:
            return None
        try:
            facts = self._path(answer).stat()
        except FileNotFoundError:
            return None
        return Shown(str(answer), facts.st_size, facts.st_mtime)

    def open(self, text: str, sources: Collection[str]) -> BinaryIO | None:
        """An answer's bytes, or None as `find`."""
        answer = Answer.parse(text)
        if answer is None or answer.file.source not in sources:
            return None
        try:
            return self._path(answer).open("rb")
        except FileNotFoundError:
            return None

    def all(self, sources: Collection[str]) -> dict[str, Shown]:
        """All answers for these sources, by name."""
        found = {}
        for source in sources:
            for entry in _entries(self._root / source):
                try:
                    facts = entry.stat()
                except FileNotFoundError:
                    continue
                found[entry.name] = Shown(entry.name, facts.st_size, facts.st_mtime)
        return found

    def _path(self, answer: Answer) -> Path:
        return self._root / answer.file.source / str(answer)


def _entries(folder: Path) -> Iterator["DirEntry[str]"]:
    """What a folder holds, read as it is asked for; nothing if it is none."""
    try:
        with scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
