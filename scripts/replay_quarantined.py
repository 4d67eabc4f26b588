#!/usr/bin/env python3
"""Try quarantined files again; for administrators to schedule.

    scripts/replay_quarantined.py [--conf DIR] [--source DT ...] [--dry-run] [--json]

What was quarantined loads once its cause is mended, in the settings or in the catalog. This prints one line a
file, with its state before and after, and exits with 1 if any goes straight back. What a load finds out only
later is an exception as before.
"""

import environment  # noqa: F401, I001 - before all that needs it
import sys

import scheduled
from server.states import State

if __name__ == "__main__":
    sys.exit(scheduled.replay(State.QUARANTINED, "Try quarantined files again."))
