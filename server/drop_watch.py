"""The threads that look at the drop folders (contract A11).

They belong to the receiver: acceptance has one memory of what waits under a number, and the spool one
receiver. Each folder has a thread of its own, because a share that hangs must not keep the others waiting. As
a thread that hangs says nothing, one more sees to it that this is told.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from server.acceptance import Acceptance
from server.config import Settings
from server.drop_folder import DropFolder
from server.drop_troubles import Troubles
from server.spool import Spool

log = logging.getLogger("server.drop_folder")

# A thread that a share keeps for longer ends with the process.
_PATIENCE_SECONDS = 10.0
# A share that keeps a call for so long hangs; it is looked at so often whether one does.
_HUNG_SECONDS = 60.0
_CHECK_SECONDS = 10.0


class Watch:
    """Looks at all drop folders until it is stopped.

    Args:
        settings: of the inbox.
        spool: where troubles are told.
        acceptance: of the receiver.
        clock: in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        acceptance: Acceptance,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = settings.drop_folder.scan_interval
        self._stop = threading.Event()
        self._troubles = Troubles(spool, settings.drop_folder.folders)
        # That a folder hangs must not be the last word of one that has answered meanwhile.
        self._telling = threading.Lock()
        self._folders = {
            path: DropFolder(
                path,
                sources,
                settings.drop_folder,
                acceptance,
                temporary_suffixes=settings.inbox.temporary_suffixes,
                stop=self._stop,
                clock=clock,
            )
            for path, sources in settings.drop_folder.folders.items()
        }
        self._threads = [
            threading.Thread(target=self._look_after, args=(path,), daemon=True, name="drop folder")
            for path in self._folders
        ]
        if self._folders:
            self._threads.append(threading.Thread(target=self._guard, daemon=True, name="drop folders"))

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take nothing more; what is being accepted is finished."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_PATIENCE_SECONDS)

    def look(self, path: Path) -> None:
        """Look at one folder once, and tell what is wrong with it."""
        try:
            trouble = self._folders[path].scan()
            with self._telling:
                self._troubles.report(path, trouble)
        except Exception:
            log.exception("looking at the drop folder %s failed", path, extra={"action": "fault"})

    def check(self) -> None:
        """Tell of the folders that hang."""
        for path, folder in self._folders.items():
            with self._telling:
                if (silent := folder.silent_seconds()) >= _HUNG_SECONDS:
                    self._troubles.report(path, "it does not answer", seconds=silent)

    def _guard(self) -> None:
        while not self._stop.wait(_CHECK_SECONDS):
            try:
                self.check()
            except Exception:
                log.exception("looking for drop folders that hang failed", extra={"action": "fault"})

    def _look_after(self, path: Path) -> None:
        while not self._stop.is_set():
            self.look(path)
            self._stop.wait(self._interval)
