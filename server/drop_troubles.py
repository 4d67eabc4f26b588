"""What is wrong with the drop folders, in the log and in the spool (contract A11, E1).

    drop_folder.json   by folder what is wrong with it, and since when; nothing of one that is well

The receiver writes it, `status` and the loader read it. It is only a hint: one that is empty or damaged says
nothing, and the next look writes it anew.
"""

import json
import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from server import durable
from server.settings.drop_folder import DropFolders
from server.spool import Spool, utc_now

log = logging.getLogger("server.drop_folder")


@dataclass(frozen=True)
class Trouble:
    """What is wrong with one folder; `since` is UTC without a zone."""

    folder: str
    trouble: str
    since: datetime


def read(spool: Spool) -> list[Trouble]:
    """What the receiver has said of the drop folders, by folder."""
    try:
        said = json.loads(_path(spool).read_bytes())
        return [
            Trouble(
                folder, str(facts["trouble"]), datetime.fromisoformat(facts["since"]).replace(tzinfo=None)
            )
            for folder, facts in sorted(said.items())
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


def lasting(spool: Spool, settings: DropFolders, now: datetime) -> list[Trouble]:
    """The troubles that have gone on for so long that people should hear of them (contract E1).

    Args:
        spool: where they are told.
        settings: how long that is; folders that are not in them any more are nobody's trouble.
        now: UTC without a zone.
    """
    begun = now - timedelta(seconds=settings.alert_after)
    there = set(map(str, settings.folders))
    return [said for said in read(spool) if said.folder in there and said.since <= begun]


class Troubles:
    """Tells what is wrong with each folder; safe in any thread.

    Args:
        spool: where it is told.
        folders: those that there are; what an earlier receiver has said of them counts until the next look.
    """

    def __init__(self, spool: Spool, folders: Collection[Path]) -> None:
        self._path = _path(spool)
        self._lock = threading.Lock()
        there = set(map(str, folders))
        self._known = {said.folder: said for said in read(spool) if said.folder in there}
        self._is_written = False

    def report(self, folder: Path, trouble: str, *, seconds: float = 0) -> None:
        """Say what is wrong with a folder, or with nothing that it is well, once until it changes.

        Args:
            folder: one of those.
            trouble: in words; empty if there is none.
            seconds: for how long it has been so already.
        """
        with self._lock:
            before = self._known.pop(str(folder), None)
            if trouble:
                begun = utc_now().replace(tzinfo=None, microsecond=0) - timedelta(seconds=int(seconds))
                self._known[str(folder)] = Trouble(str(folder), trouble, before.since if before else begun)
            if (before.trouble if before else "") != trouble:
                self._is_written = False
                if trouble:
                    log.warning("drop folder %s: %s", folder, trouble, extra={"action": "drop_folder"})
                else:
                    log.info("drop folder %s is well again", folder, extra={"action": "drop_folder"})
            if not self._is_written:
                self._write()

    def _write(self) -> None:
        known = {
            said.folder: {"trouble": said.trouble, "since": said.since.isoformat()}
            for said in self._known.values()
        }
        try:
            durable.replace(self._path, json.dumps(known).encode())
            self._is_written = True
        except OSError as error:
            log.warning(
                "what is wrong with drop folders cannot be noted: %s", error, extra={"action": "drop_folder"}
            )


def _path(spool: Spool) -> Path:
    return spool.root / "drop_folder.json"
