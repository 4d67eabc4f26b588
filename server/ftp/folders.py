"""The folders that an FTP client sees: one inbox under several names, and the answers (contract A12, A1, E3).

Old scripts change to a folder before they send; every alias of the settings, and each folder above it, is
the same inbox as `/`. In each is `acks`, which can only be read. This class answers what pyftpdlib asks of a
file system, and has nothing else: a command that would need more fails instead of touching a real path.
"""

import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any, BinaryIO

from pyftpdlib.exceptions import FilesystemError

from server.acks import Acks
from server.sent import Shown

ACKS = "acks"


class Folders:
    """What one session sees.

    Args:
        root: what the authorizer says; there is only one.
        cmd_channel: the session.

    Attributes:
        answers: what a worker has found of `acks` for the command that is carried out.
    """

    def __init__(self, root: str, cmd_channel: Any) -> None:
        self.root = root
        self.cwd = "/"
        self.cmd_channel = cmd_channel
        self.answers: Mapping[str, Shown] = {}

    # --- paths

    def ftp2fs(self, ftppath: str) -> str:
        """The absolute path that a client means."""
        parts: list[str] = []
        for part in PurePosixPath(self.cwd, ftppath).parts[1:]:
            if part == "..":
                del parts[-1:]
            else:
                parts.append(part)
        return "/" + "/".join(parts)

    def fs2ftp(self, fspath: str) -> str:
        """Paths here are those that the client sees."""
        return fspath

    def realpath(self, path: str) -> str:
        """There are no links."""
        return path

    def validpath(self, path: str) -> bool:  # noqa: ARG002 - pyftpdlib's signature
        """No path leads anywhere else."""
        return True

    def file_name(self, path: str) -> str | None:
        """The name of a file in the inbox, or None if the path is a folder or in one that does not exist."""
        folder, _, name = path.rpartition("/")
        return name if name and not self.isdir(path) and self._is_inbox(folder or "/") else None

    def answer_name(self, path: str) -> str | None:
        """The name of a file in `acks`, empty for `acks` itself, or None if the path is not there."""
        for folder, name in ((path, ""), path.rsplit("/", 1)):
            above, _, last = folder.rpartition("/")
            if last.lower() == ACKS and self._is_inbox(above or "/"):
                return name
        return None

    def _is_inbox(self, path: str) -> bool:
        return path == "/" or path.lower() in self.cmd_channel.server.folders

    # --- answers, for worker threads

    def look(self, path: str) -> Mapping[str, Shown]:
        """What `answers` has to be for a path in `acks`: all that is there, or one."""
        name, sources = self.answer_name(path), self.cmd_channel.user.sources
        if not name:
            return self._acks.all(sources)
        found = self._acks.find(name, sources)
        return {} if found is None else {name: found}

    def open_answer(self, path: str) -> tuple[BinaryIO, int] | None:
        """An answer and its size in bytes."""
        file = self._acks.open(self.answer_name(path) or "", self.cmd_channel.user.sources)
        return None if file is None else (file, os.fstat(file.fileno()).st_size)

    @property
    def _acks(self) -> Acks:
        acks: Acks = self.cmd_channel.server.acks
        return acks

    # --- what is there

    def isdir(self, path: str) -> bool:
        """Whether a path is the inbox or the answers."""
        return self._is_inbox(path) or self.answer_name(path) == ""

    def isfile(self, path: str) -> bool:
        """Whether a path is a file that the sender may see."""
        return self._find(path, self.answers) is not None

    lexists = isfile

    def chdir(self, path: str) -> None:
        """Change the folder."""
        if not self.isdir(path):
            raise FilesystemError("No such folder")
        self.cwd = path

    def listdir(self, path: str) -> list[str]:
        """The names of what is in a folder."""
        return [*self.file_names(path), *([ACKS] if self._is_inbox(path) else [])]

    def file_names(self, path: str) -> list[str]:
        """The names of the sender's files, or of the answers to him, in order."""
        names: list[str] = self._sent.names(self._user) if self._is_inbox(path) else sorted(self.answers)
        return names

    def getsize(self, path: str) -> int:
        """Bytes as they came over the wire."""
        return self._shown(path).size_bytes

    def getmtime(self, path: str) -> float:
        """When it was accepted or staged, in seconds since 1970."""
        return self._shown(path).modified

    def lstat(self, path: str) -> Any:
        """What pyftpdlib asks to see whether a file is there."""
        if self.isdir(path):
            return SimpleNamespace(st_mode=stat.S_IFDIR | 0o755)
        self._shown(path)
        return SimpleNamespace(st_mode=stat.S_IFREG | 0o444)

    # --- listings

    def format_list(self, basedir: str, listing: list[str], ignore_err: bool = True) -> Iterator[bytes]:  # noqa: ARG002
        """Lines as `ls -l` prints them; made while they are sent."""
        return self._lines(basedir, listing, self.answers)

    def format_mlsx(
        self,
        basedir: str,
        listing: list[str],
        perms: str,  # noqa: ARG002 - told by no fact
        facts: list[str],
        ignore_err: bool = True,
    ) -> Iterator[bytes]:
        """Lines of facts (RFC 3659 section 7)."""
        return self._facts(basedir, listing, facts, self.answers, ignore_err=ignore_err)

    def _lines(self, basedir: str, listing: list[str], answers: Mapping[str, Shown]) -> Iterator[bytes]:
        for name in listing:
            path = self.ftp2fs(f"{basedir}/{name}")
            if self.isdir(path):
                kind, size, modified = "dr-xr-xr-x", 0, time.time()
            elif (shown := self._find(path, answers)) is not None:
                kind, size, modified = "-r--r--r--", shown.size_bytes, shown.modified
            else:
                continue
            when = time.strftime("%b %d %H:%M", time.gmtime(modified))
            yield f"{kind}   1 inbox    inbox    {size:12d} {when} {name}\r\n".encode()

    def _facts(
        self,
        basedir: str,
        listing: list[str],
        facts: list[str],
        answers: Mapping[str, Shown],
        *,
        ignore_err: bool,
    ) -> Iterator[bytes]:
        for name in listing:
            path = self.ftp2fs(f"{basedir}/{name}")
            if self.isdir(path):
                known = {"type": "dir"}
            elif (shown := self._find(path, answers)) is not None:
                when = time.strftime("%Y%m%d%H%M%S", time.gmtime(shown.modified))
                known = {"modify": when, "size": str(shown.size_bytes), "type": "file"}
            elif ignore_err:
                continue
            else:
                raise FilesystemError("No such file")
            yield (
                "".join(f"{fact}={known[fact]};" for fact in known if fact in facts) + f" {name}\r\n"
            ).encode()

    # --- ours

    @property
    def _sent(self) -> Any:
        return self.cmd_channel.server.acceptance.sent

    @property
    def _user(self) -> str:
        name: str = self.cmd_channel.user.name
        return name

    def _find(self, path: str, answers: Mapping[str, Shown]) -> Shown | None:
        """A file, or None; `answers` are those that the listing began with, whatever was looked at since."""
        path = self.ftp2fs(path)
        answer = self.answer_name(path)
        if answer is not None:
            return answers.get(answer)
        name = self.file_name(path)
        found: Shown | None = None if name is None else self._sent.find(self._user, name)
        return found

    def _shown(self, path: str) -> Shown:
        shown = self._find(path, self.answers)
        if shown is None:
            raise FilesystemError("No such file")
        return shown


def folders_of(aliases: tuple[str, ...]) -> frozenset[str]:
    """The aliases and the folders above them, in lower case, each with a slash in front."""
    paths = [PurePosixPath("/", alias.lower().strip("/")) for alias in aliases]
    return frozenset(str(folder) for path in paths for folder in (path, *path.parents))
