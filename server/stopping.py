"""Being asked to stop: signals, and the end of a parent, become an event that one can wait for.

There are no signal handlers. One would run inside whatever the main thread is doing, another handler
included, and hang there for ever if it set an event that is just being set (measured: two SIGTERMs are
enough). Instead the signals are blocked, and a thread waits for them: twenty at once are like one.
"""

import select
import signal
import threading
from collections.abc import Callable, Iterable

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def asked_to_stop(signals: Iterable[signal.Signals] = SIGNALS, parent: int | None = None) -> threading.Event:
    """An event that is set when the process is asked to stop; to be called before any thread is started.

    `SIGNALS` stay blocked to the end, so what comes late cannot turn an orderly end into a death by signal. A
    child is born with them blocked too: one that is asked while it is still importing hears of it here.

    Args:
        signals: those of `SIGNALS` that ask; the others are ignored.
        parent: a file descriptor that becomes readable when the parent has ended.
    """
    stop = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    _when(lambda: signal.sigwait(signals), stop)
    if parent is not None:
        _when(lambda: select.select([parent], [], []), stop)
    return stop


def _when(returns: Callable[[], object], stop: threading.Event) -> None:
    def wait() -> None:
        returns()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
