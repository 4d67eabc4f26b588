"""The children's entrance: `python -m server.children ROLE CONF`, used by the supervisor alone."""

import gc
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from server import process, roles
from server.apis import load_catalog
from server.config import Settings
from server.database import LOADING_CACHE_KIB, Database
from server.dispatcher import Dispatcher
from server.journal import must_have_file
from server.mail import mailer
from server.outlook import LedgerOutlook
from server.receiver import Receiver
from server.spool import Spool

# Measured: a loader of lower priority keeps the FTP replies under a millisecond while it loads.
_LOADER_NICENESS = 5
# Looking for cycles among rows cost a load a fifth of its time.
_GARBAGE_THRESHOLD = 200_000


def receive(settings: Settings, conf: Path, stop: threading.Event) -> None:
    """The receiver's life."""
    apis = frozenset(load_catalog(settings))
    receiver = Receiver(settings, conf, LedgerOutlook(settings), lambda: apis)

    def stop_when_asked() -> None:
        stop.wait()
        receiver.stop()

    threading.Thread(target=stop_when_asked, daemon=True).start()
    receiver.serve_forever()


def load(settings: Settings, stop: threading.Event) -> None:
    """The loader's life."""
    os.nice(_LOADER_NICENESS)
    spare_garbage_collector()
    spool = Spool(settings.inbox.spool)
    spool.enter()
    catalog = load_catalog(settings)
    with roles.take(spool.root, "loader"):
        database = Database(settings.database_url, cache_kib=LOADING_CACHE_KIB)
        must_have_file(database, spool)
        Dispatcher(settings, spool, database, catalog, stop).run()


def send_mail(settings: Settings, stop: threading.Event) -> None:
    """The mailer's life."""
    spool = Spool(settings.inbox.spool)
    spool.enter()
    with roles.take(spool.root, "mailer"):
        mailer.run(settings, spool, stop)


def spare_garbage_collector() -> None:
    """Look for cycles seldom: rows are tuples without any."""
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)


def main(role: str, conf: Path) -> int:
    """Run one role; returns the exit code."""
    work: dict[str, Callable[[Settings, threading.Event], None]] = {
        "receiver": lambda settings, stop: receive(settings, conf, stop),
        "loader": load,
        "mailer": send_mail,
    }
    return process.run(conf, work[role])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
