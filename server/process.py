"""What the receiver and the loader have in common as processes.

A child ends with its parent: its standard input is a pipe from the supervisor, and the end of that pipe, or
SIGTERM, asks it to finish what it is doing and stop. SIGINT from a terminal is the supervisor's to handle.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from server.config import Settings, load_settings
from server.errors import InboxError, TemporaryFault
from server.stopping import asked_to_stop

# By it the supervisor knows what no new start will mend; 1 would be a Python traceback's too.
CANNOT_RUN = os.EX_CONFIG

_FIELDS = ("action", "api", "sequence", "file_id", "user", "address")


def run(conf: Path, work: Callable[[Settings, threading.Event], None]) -> int:
    """Run a child's work until it is asked to stop.

    Args:
        conf: the settings folder.
        work: what the child does; it returns soon after the event is set.

    Returns:
        the exit code: 0, `CANNOT_RUN` for what a person has to mend, 1 for a fault that may pass.
    """
    stop = asked_to_stop([signal.SIGTERM], parent=sys.stdin.fileno())
    try:
        settings = load_settings(conf)
        log_to_stderr(settings.log.level)
        work(settings, stop)
    except InboxError as error:
        logging.getLogger("server").error("%s", error)
        return 1 if isinstance(error, TemporaryFault) else CANNOT_RUN
    return 0


def log_to_stderr(level: str) -> None:
    """One line an event, with the time in UTC; control characters of names and values are escaped (X4)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)


class _OneLine(logging.Formatter):
    """Fields that were given as `extra` follow the sentence as `key=value`."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        fields = [f"{name}={record.__dict__[name]}" for name in _FIELDS if name in record.__dict__]
        return escaped(" ".join([super().formatMessage(record), *fields]))


def escaped(text: str) -> str:
    """Text in which nothing can steer a terminal or forge a line of a log."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
