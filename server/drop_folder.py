"""A folder in which senders leave files, in place of an upload (contract A11).

    seen ─► stands still ─► read ─► acceptance ──┬──► accepted ─► taken/, or deleted
      ▲     (or marked)                          ├──► refused ─► NAME.reason beside it, until it changes
      └──────────────────────────────────────────┴──► not now ─► tried again

The folder is looked at again and again, since network shares tell of nothing. Whoever can write to it is
trusted no more than an FTP user: links are not followed, and no name becomes a path but in this folder. An
original is put away only when its acceptance is durable; what a crash leaves comes again, as a duplicate.
"""

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from server import proofs
from server.acceptance import Acceptance
from server.answers import Answer, failure, shown
from server.drop_reasons import MAKING, READING, SUFFIX, Look, Reasons
from server.names import is_temporary
from server.receipt import DROP_FOLDER
from server.settings.drop_folder import DropFolders, address_of
from server.upload import Sender, TooLarge, Upload
from server.users import User

log = logging.getLogger("server.drop_folder")

TAKEN = "taken"

_BLOCK_BYTES = 1 << 20


class Changed(Exception):
    """The file is being written to, or the inbox stops; it is looked at anew."""


class DropFolder:
    """One folder; its methods are called by one thread, but for `silent_seconds`.

    Args:
        folder: may be away at any time.
        sources: whose files may lie in it.
        settings: of all such folders.
        acceptance: of the receiver, whose turns and memory it shares.
        temporary_suffixes: endings of names that are not complete yet.
        stop: set when the inbox stops; reading a file ends then.
        clock: in seconds, of this machine; a share's own may be wrong.
    """

    def __init__(
        self,
        folder: Path,
        sources: tuple[str, ...],
        settings: DropFolders,
        acceptance: Acceptance,
        *,
        temporary_suffixes: tuple[str, ...],
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._user = User(DROP_FOLDER, tuple(sorted(set(sources))))
        self._settings = settings
        self._acceptance = acceptance
        self._marks = (settings.marker, settings.marker.upper()) if settings.marker else ()
        self._not_files = (*temporary_suffixes, SUFFIX, *self._marks)
        self._stop = stop
        self._clock = clock
        self._reasons = Reasons(folder)
        # Since when each file looks as it does.
        self._seen: dict[str, tuple[Look, float]] = {}
        # Accepted, but still in their place.
        self._accepted: dict[str, Look] = {}
        # When the share was asked what it has not answered yet.
        self._asked: float | None = None

    def silent_seconds(self) -> float:
        """For how long the share has kept a call that is waited for; 0 if none is. Safe in any thread."""
        asked = self._asked
        return 0.0 if asked is None else self._clock() - asked

    def scan(self) -> str:
        """Look once, and take what is ready; returns what is wrong with the folder, or nothing."""
        try:
            return self._scan()
        finally:
            self._asked = None

    def _scan(self) -> str:
        self._asked = self._clock()
        try:
            found = self._find()
        except OSError as error:
            return f"it cannot be read ({_why(error)})"
        files = [name for name in sorted(found) if not self._is_ignored(name)]
        for memory in (self._seen, self._accepted):
            for name in memory.keys() - found.keys():
                del memory[name]
        wrong = [trouble for name in files if (trouble := self._treat(name, found))]
        for name in found:
            file = name.removesuffix(SUFFIX)
            if file != name and file not in found:
                with suppress(OSError):
                    self._reasons.forget(file)
        return "; ".join(wrong[:1]) + (f"; and {len(wrong) - 1} more" if len(wrong) > 1 else "")

    def _find(self) -> dict[str, Look]:
        """Files and links; folders and whatever else there may be are nobody's."""
        found: dict[str, Look] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                self._asked = self._clock()
                with suppress(FileNotFoundError):
                    facts = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(facts.st_mode) or stat.S_ISLNK(facts.st_mode):
                        found[entry.name] = Look.of(facts)
        return found

    def _is_ignored(self, name: str) -> bool:
        return name == TAKEN or name.startswith(".") or is_temporary(name, self._not_files)

    # --- one file

    def _treat(self, name: str, found: Mapping[str, Look]) -> str:
        """Take a file if it is ready; returns what is wrong with it, or nothing."""
        look = found[name]
        self._asked = self._clock()
        try:
            if self._accepted.get(name) == look:
                self._put_away(name, look)
            elif not self._stop.is_set() and self._is_ready(name, found):
                return self._take(name, look)
        except Changed:
            self._seen.pop(name, None)
            self._accepted.pop(name, None)
        except OSError as error:
            fate = "is accepted, but cannot be put away" if name in self._accepted else "cannot be taken"
            return f"{_shown(name)} {fate} ({_why(error)})"
        return ""

    def _is_ready(self, name: str, found: Mapping[str, Look]) -> bool:
        """Whether a file has stood still, or is marked, and was not refused as it is."""
        look = found[name]
        if self._reasons.is_refused(name, look, beside=f"{name}{SUFFIX}" in found):
            return False
        before, since = self._seen.get(name, (None, 0.0))
        if before != look:
            self._seen[name] = (look, self._clock())
            return not self._marks and not self._settings.stable_for
        if self._marks:
            # Seen alike before as well: the mark may be left from an earlier file of this name.
            return any(f"{name}{mark}" in found for mark in self._marks)
        return self._clock() - since >= self._settings.stable_for

    def _take(self, name: str, look: Look) -> str:
        """Have a file accepted, and see to the original; returns why it has to be tried again, or nothing.

        Raises:
            Changed: it does not stand still.
            OSError: it cannot be read, as one that is open elsewhere may not, or cannot be put away.
        """
        answer = self._accept(name, look)
        if answer.accepted:
            self._accepted[name] = look
            self._reasons.forget(name)
            self._put_away(name, look)
        elif answer.code >= 500:
            log.warning("%s", answer.text, extra={"action": "refuse"})
            self._reasons.write(name, answer.text, look)
        else:
            # It may have been cut, and gets the time to go on growing.
            self._seen.pop(name, None)
            return answer.text
        return ""

    def _accept(self, name: str, look: Look) -> Answer:
        try:
            opened = os.open(self._folder / name, READING)
        except OSError:
            if (self._folder / name).is_symlink():
                return Answer(553, f"{_shown(name)} is a link, and links are not followed.")
            raise
        with os.fdopen(opened, "rb", buffering=0) as file:
            self._must_be(file, look)
            # A name that is no UTF-8 is read as FTP does it, with its bytes escaped.
            text = os.fsencode(name).decode("utf-8", "backslashreplace")
            sender = Sender(DROP_FOLDER, address_of(self._folder), text)
            upload = self._acceptance.uploads.begin(sender, announced=look.size_bytes)
            if isinstance(upload, Answer):
                return upload
            try:
                refusal = self._copy(file, upload)
                if refusal is None:
                    self._must_be(file, look)
            except BaseException:
                self._acceptance.uploads.drop(upload)
                raise
        if refusal is not None:
            self._acceptance.uploads.drop(upload)
            return refusal
        upload.proofs["folder"] = proofs.passed("it was marked" if self._marks else "it had stopped growing")
        # That may take its time too, and is none of the share's doing.
        self._asked = None
        try:
            return self._acceptance.finish(upload, self._user)
        finally:
            self._asked = self._clock()

    def _must_be(self, file: BinaryIO, look: Look) -> None:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or Look.of(facts) != look:
            raise Changed

    def _copy(self, file: BinaryIO, upload: Upload) -> Answer | None:
        """All bytes into the spool; returns why that does not take them, or None."""
        while block := file.read(_BLOCK_BYTES):
            self._asked = self._clock()
            if self._stop.is_set():
                raise Changed
            try:
                upload.write(block)
            except TooLarge as error:
                return Answer(552, f"{shown(upload.sender.name)} not accepted: {error.happened}.")
            except OSError as error:
                return failure(upload.sender.name, error)
        return None

    def _put_away(self, name: str, look: Look) -> None:
        """Move an accepted original out of the way, or delete it.

        Raises:
            Changed: another file came under the name meanwhile, which nobody has accepted. It is in its
                place, or beside it as NAME.2 if a third one has that.
            OSError: the share does not allow it; it is tried again.
        """
        taken = self._folder / TAKEN
        taken.mkdir(exist_ok=True)
        if taken.is_symlink():
            raise NotADirectoryError(0, f"{TAKEN} is a link")
        original = self._folder / name
        if Look.of(original.lstat()) != look:
            raise Changed
        path = _move(original, taken)
        del self._accepted[name]
        if Look.of(path.lstat()) != look:
            back = _move(path, self._folder, name)
            if back.name != name:
                log.warning(
                    "%s came anew while it was put away, and then once more: the one between is %s now",
                    _shown(name),
                    _shown(back.name),
                    extra={"action": "drop_folder"},
                )
            raise Changed
        if self._settings.originals == "delete":
            path.unlink()
        for mark in self._marks:
            (self._folder / f"{name}{mark}").unlink(missing_ok=True)


def _move(file: Path, folder: Path, name: str = "") -> Path:
    """Move a file to the first of NAME, NAME.2, NAME.3 … that is free in a folder; overwrites nothing.

    A rename alone would, and hard links, which would not, are unknown to many shares. So the name is taken
    first, by an empty file that only one can make.

    Args:
        file: to be moved.
        folder: on the same share.
        name: as which; its own unless it is given.
    """
    wanted = name or file.name
    for number in count(1):
        path = folder / (wanted if number == 1 else f"{wanted}.{number}")
        with suppress(FileExistsError):
            os.close(os.open(path, MAKING, 0o644))
            break
    try:
        file.rename(path)
    except OSError:
        # Unless it is moved all the same: an answer may be lost on the network.
        if not path.lstat().st_size:
            path.unlink()
        raise
    return path


def _shown(name: str) -> str:
    return shown(os.fsencode(name).decode("utf-8", "backslashreplace"))


def _why(error: OSError) -> str:
    return error.strerror or str(error)
