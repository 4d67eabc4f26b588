"""File systems of a test's own, so small that a test can fill them."""

import os
import subprocess
from pathlib import Path

import pytest


def mount(folder: Path, options: str) -> bool:
    """Mount a file system in memory on a folder; returns whether one may be mounted here."""
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def unmount(folder: Path) -> None:
    """Take the last one that was mounted there off it, whoever still uses it."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class SmallDisk:
    """A disk with room for so many million bytes; the test is skipped where none may be mounted.

    Used by `with`.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        folder.mkdir()
        if not mount(folder, f"size={megabytes}m"):
            pytest.skip("No file system may be mounted here, so none can be filled.")

    def __enter__(self) -> "SmallDisk":
        return self

    def __exit__(self, *_: object) -> None:
        unmount(self.folder)

    def free_bytes(self) -> int:
        """How much more it takes."""
        facts = os.statvfs(self.folder)
        return facts.f_bavail * facts.f_frsize

    def fill(self, left_bytes: int = 0) -> None:
        """Leave room for so much, whatever others write meanwhile."""
        with self._filler.open("ab") as filler:
            while (room := self.free_bytes() - left_bytes) > 0:
                try:
                    os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, room)
                except OSError:
                    # Somebody was quicker.
                    continue

    def make_room(self) -> None:
        """Give back what `fill` has taken."""
        self._filler.unlink()
