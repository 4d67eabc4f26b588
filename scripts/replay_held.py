#!/usr/bin/env python3
"""Judge held files anew; for administrators to schedule.

    scripts/replay_held.py [--conf DIR] [--source DT ...] [--dry-run] [--json]

Files whose predecessors have arrived are released by themselves. This prints one line a file, with its state
before and after, and exits with 1 if any is still held, so that cron's mail tells of it.
"""

import environment  # noqa: F401, I001 - before all that needs it
import sys

import scheduled
from server.states import State

if __name__ == "__main__":
    sys.exit(scheduled.replay(State.HELD, "Judge held files anew."))
