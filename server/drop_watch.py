"""The threads that look at the drop folders, and what is wrong with these (contract A11).

They belong to the receiver: acceptance has one memory of what waits under a number, and the spool one
receiver. Each folder has a thread of its own, because a share that hangs must not keep the others waiting.
"""

import json
import logging
import threading
from pathlib import Path
from typing import Any

from server.acceptance import Acceptance
from server.config import Settings
from server.drop_folder import DropFolder
from server.spool import Spool, utc_now

log = logging.getLogger("server.drop_folder")

# A thread that a share keeps for longer ends with the process.
_PATIENCE_SECONDS = 10.0


class Troubles:
    """What is wrong with each folder, in the log and, for `status`, in the spool; safe in any thread."""

    def __init__(self, spool: Spool) -> None:
        self._path = spool.root / "drop_folder.json"
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, str]] = {}

    def clear(self) -> None:
        """Nothing is known to be wrong."""
        self._path.unlink(missing_ok=True)

    def report(self, folder: Path, trouble: str) -> None:
        """Say what is wrong with a folder, or with nothing that it is well, once until it changes."""
        with self._lock:
            before = self._known.get(str(folder))
            if (before["trouble"] if before else "") == trouble:
                return
            if trouble:
                since = before["since"] if before else utc_now().isoformat(timespec="seconds")
                self._known[str(folder)] = {"trouble": trouble, "since": since}
                log.warning("drop folder %s: %s", folder, trouble, extra={"action": "drop_folder"})
            else:
                del self._known[str(folder)]
                log.info("drop folder %s is well again", folder, extra={"action": "drop_folder"})
            aside = self._path.with_name(f"{self._path.name}.tmp")
            aside.write_text(json.dumps(self._known), encoding="utf-8")
            aside.replace(self._path)


def read_troubles(spool: Spool) -> list[dict[str, Any]]:
    """What the receiver has said of the drop folders."""
    path = spool.root / "drop_folder.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return [{"folder": folder, **facts} for folder, facts in sorted(known.items())]


class Watch:
    """Looks at all drop folders until it is stopped.

    Args:
        settings: of the inbox.
        spool: where troubles are told.
        acceptance: of the receiver.
    """

    def __init__(self, settings: Settings, spool: Spool, acceptance: Acceptance) -> None:
        self._interval = settings.drop_folder.scan_interval
        self._stop = threading.Event()
        self._troubles = Troubles(spool)
        self._folders = {
            path: DropFolder(
                path,
                sources,
                settings.drop_folder,
                acceptance,
                temporary_suffixes=settings.inbox.temporary_suffixes,
                stop=self._stop,
            )
            for path, sources in settings.drop_folder.folders.items()
        }
        self._threads = [
            threading.Thread(target=self._look_after, args=(path,), daemon=True, name="drop folder")
            for path in self._folders
        ]

    def start(self) -> None:
        """Begin to look."""
        self._troubles.clear()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take nothing more; what is being accepted is finished."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_PATIENCE_SECONDS)

    def _look_after(self, path: Path) -> None:
        while not self._stop.is_set():
            try:
                self._troubles.report(path, self._folders[path].scan())
            except Exception:
                log.exception("looking at the drop folder %s failed", path, extra={"action": "fault"})
            self._stop.wait(self._interval)
