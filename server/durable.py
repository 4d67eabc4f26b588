"""Small files that are on disk, whole, before they have their name (contract A2).

A name is durable when its folder is (`sync_folder`). All functions raise OSError as the file system does.
"""

import os
from pathlib import Path


def write_new(path: Path, content: bytes) -> None:
    """Make a file of its own and wait until its bytes are on disk; a part of it may be left if that fails."""
    with path.open("xb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def replace(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Put a file in place of the one that was there: readers, also after a power cut, see one or the other.

    Args:
        path: nobody else writes it meanwhile.
        content: the whole of it.
        mode: who may read and write it, as far as the process's mask allows.
    """
    aside = path.with_name(f"{path.name}.aside")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder, and that others are gone from it, are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
