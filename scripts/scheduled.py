"""What the programs have in common that administrators schedule.

They take the settings of `--conf`, else of `KORE_INBOX_CONF`, else those of the project that they belong to,
from wherever they are called; and they end as the commands do: 0 done, 1 something is wrong, 2 usage or
settings.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from server.admin import Decision, Inbox
from server.cli.endings import exit_code
from server.config import CONF_VARIABLE, conf_folder, must_exist
from server.output import complain, show
from server.states import State

_PROJECT = Path(__file__).resolve().parent.parent


def parser(does: str, ends: str) -> argparse.ArgumentParser:
    """What every program takes; `does` says what it is for, `ends` when it ends with 1."""
    made = argparse.ArgumentParser(description=does, epilog=ends)
    made.add_argument(
        "--conf", type=Path, help="settings folder; else KORE_INBOX_CONF, else conf of this project"
    )
    made.add_argument("--json", action="store_true", help="an array of objects")
    return made


def run(given: argparse.Namespace, work: Callable[[Path], int]) -> int:
    """Do the work with the settings folder, and return how the program ends."""
    named = given.conf or (None if os.environ.get(CONF_VARIABLE) else _PROJECT / "conf")
    return exit_code(lambda: work(must_exist(conf_folder(named))))


def opened(conf: Path) -> Inbox:
    """The inbox of a settings folder; whoever has to wait for it is told."""
    return Inbox.open(conf, waiting=lambda what: complain(f"waiting for: {what}"))


def replay(state: State, does: str) -> int:
    """Replay all files in a state, list them, and end with 1 if any stays in it."""
    words = parser(does, f"Exits with 1 if any is still {state}.")
    words.add_argument("--source", action="append", default=[], help="only of this source; may be repeated")
    words.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    given = words.parse_args()

    def work(conf: Path) -> int:
        decision = Decision(reason=f"scheduled replay of what is {state}", dry_run=given.dry_run)
        touched = opened(conf).replay([], [state], given.source, decision)
        columns = ("id", "name", "was", "becomes", "reason")
        records = [asdict(file) for file in touched]
        show(records, columns, json_wanted=given.json, empty=f"No file is {state}.")
        return int(any(file.becomes == state for file in touched))

    return run(given, work)
