#!/usr/bin/env python3
"""Remove old originals from the drop folders' `taken/`; for administrators to schedule.

    scripts/sweep.py [--conf DIR] [--dry-run] [--json]

Old is what was taken longer ago than `[inbox] retention`. This prints one line a file.
"""

import environment  # noqa: F401, I001 - before all that needs it
import sys
from pathlib import Path

import scheduled
from server.cli.deciding import tell_swept
from server.config import load_settings
from server.ledger import now_utc
from server.sweeping import sweep


def main() -> int:
    """Sweep, and say by the exit code whether that worked."""
    words = scheduled.parser("Remove old originals of drop folders.", "Exits with 1 if a folder is away.")
    words.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    given = words.parse_args()

    def work(conf: Path) -> int:
        gone = sweep(load_settings(conf), now_utc(), dry_run=given.dry_run)
        tell_swept(gone, json_wanted=given.json, dry_run=given.dry_run)
        return 0

    return scheduled.run(given, work)


if __name__ == "__main__":
    sys.exit(main())
