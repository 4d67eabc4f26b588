#!/usr/bin/env python3
"""Print or mail the day's report; for administrators to schedule.

    scripts/report.py [--conf DIR] [--hours N] [--mail] [--json]

What came in the last 24 hours, what became of it, and what waits. With --mail it goes to the recipients of
the settings instead.
"""

import environment  # noqa: F401, I001 - before all that needs it
import sys
from datetime import timedelta
from pathlib import Path

import scheduled
from server.cli.looking import report_to
from server.ledger import now_utc


def main() -> int:
    """Tell what happened, and say by the exit code whether that worked."""
    words = scheduled.parser("Print or mail the day's report.", "Exits with 1 if it cannot be sent.")
    words.add_argument("--hours", type=float, default=24, help="how far it goes back; 24 unless given")
    words.add_argument("--mail", action="store_true", help="mail it to the recipients of the settings")
    given = words.parse_args()

    def work(conf: Path) -> int:
        since = now_utc() - timedelta(hours=given.hours)
        report_to(scheduled.opened(conf), since, by_mail=given.mail, json_wanted=given.json)
        return 0

    return scheduled.run(given, work)


if __name__ == "__main__":
    sys.exit(main())
