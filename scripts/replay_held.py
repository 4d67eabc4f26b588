#!/usr/bin/env python3
"""Judge held files anew; for administrators to schedule.

    scripts/replay_held.py [--conf DIR] [--source DT ...] [--dry-run] [--json]

Files whose predecessors have arrived are released by themselves; this is for an administrator's schedule: it
prints one line a file with its state before and after. It exits with 1 if any is still held, so that cron's
mail tells of it, and with 2 if the inbox cannot be opened.
"""

import environment  # noqa: F401, I001 - before all that needs it
import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from server.admin import Decision, Inbox
from server.config import conf_folder
from server.errors import InboxError
from server.output import complain, show
from server.states import State


def main() -> int:
    """Replay, print, and say by the exit code whether anything is still held."""
    parser = argparse.ArgumentParser(
        description="Judge held files anew.", epilog="Exits with 1 if any is still held."
    )
    parser.add_argument("--conf", type=Path, help="settings folder; else KORE_INBOX_CONF, else ./conf")
    parser.add_argument("--source", action="append", default=[], help="only of this source; may be repeated")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--json", action="store_true", help="an array of objects")
    given = parser.parse_args()
    try:
        inbox = Inbox.open(conf_folder(given.conf), waiting=lambda what: complain(f"waiting for: {what}"))
        decision = Decision(reason="scheduled replay of what is held", dry_run=given.dry_run)
        touched = inbox.replay([], [State.HELD], given.source, decision)
    except InboxError as error:
        complain(str(error))
        return 2
    records = [asdict(file) for file in touched]
    show(records, ("id", "name", "was", "becomes"), json_wanted=given.json, empty="No file is held.")
    return 1 if any(file.becomes == State.HELD for file in touched) else 0


if __name__ == "__main__":
    sys.exit(main())
