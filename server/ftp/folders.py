"""The folders that an FTP client sees: one inbox under several names, no disk behind it (contract A12, A1).

Old scripts change to a folder before they send; every alias of the settings, and each folder above it, is
the same inbox as `/`. This class answers what pyftpdlib asks of a file system, and has nothing else: a
command that would need more fails instead of touching a real path.
"""

import stat
import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

from pyftpdlib.exceptions import FilesystemError

from server.sent import Shown


class Folders:
    """What one session sees.

    Args:
        root: what the authorizer says; there is only one.
        cmd_channel: the session.
    """

    def __init__(self, root: str, cmd_channel: Any) -> None:
        self.root = root
        self.cwd = "/"
        self.cmd_channel = cmd_channel

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
        return name if name and not self.isdir(path) and self.isdir(folder or "/") else None

    # --- what is there

    def isdir(self, path: str) -> bool:
        """Whether a path is the inbox."""
        return path == "/" or path.lower() in self.cmd_channel.server.folders

    def isfile(self, path: str) -> bool:
        """Whether a path is a file that the sender may see."""
        return self._find(path) is not None

    lexists = isfile

    def chdir(self, path: str) -> None:
        """Change the folder."""
        if not self.isdir(path):
            raise FilesystemError("No such folder")
        self.cwd = path

    def listdir(self, path: str) -> list[str]:  # noqa: ARG002 - every folder is the inbox
        """The names of the sender's files."""
        names: list[str] = self._sent.names(self._user)
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
        """Lines as `ls -l` has them (RFC 959 leaves the form open, clients expect this one); times in GMT."""
        for name in listing:
            shown = self._find(f"{basedir}/{name}")
            if shown is not None:
                when = time.strftime("%b %d %H:%M", time.gmtime(shown.modified))
                yield f"-r--r--r--   1 inbox    inbox    {shown.size_bytes:12d} {when} {name}\r\n".encode()

    def format_mlsx(
        self,
        basedir: str,
        listing: list[str],
        perms: str,  # noqa: ARG002 - told by no fact
        facts: list[str],
        ignore_err: bool = True,
    ) -> Iterator[bytes]:
        """Lines of facts (RFC 3659 section 7)."""
        for name in listing:
            path = self.ftp2fs(f"{basedir}/{name}")
            if self.isdir(path):
                known = {"type": "dir"}
            elif (shown := self._find(path)) is not None:
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

    def _find(self, path: str) -> Shown | None:
        name = self.file_name(self.ftp2fs(path))
        found: Shown | None = None if name is None else self._sent.find(self._user, name)
        return found

    def _shown(self, path: str) -> Shown:
        shown = self._find(path)
        if shown is None:
            raise FilesystemError("No such file")
        return shown


def folders_of(aliases: tuple[str, ...]) -> frozenset[str]:
    """The aliases and the folders above them, in lower case, each with a slash in front."""
    paths = [PurePosixPath("/", alias.lower().strip("/")) for alias in aliases]
    return frozenset(str(folder) for path in paths for folder in (path, *path.parents))
