"""One run of the simulated ERP: everything to its place, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.simulator.delivery import Reply, Server, push_each, write
from server.simulator.mishaps import Account, Disturbed

# What comes late or again has the name of a file that may lie beside the others.
AFTERWARDS = "afterwards"


@dataclass(slots=True)
class Run:
    """What a run came to.

    Attributes:
        account: what was done on purpose.
        sent: how many files went out, those that were sent again included.
        refused: how many of them the inbox did not take, although it should have.
        conflicts_refused: how many numbers that were sent again with other bytes it refused, as it should.
    """

    account: Account
    sent: int = 0
    refused: int = 0
    conflicts_refused: int = 0

    def record(self) -> dict[str, Any]:
        """All of it by name, for machines."""
        counts = {"sent": self.sent, "refused": self.refused, "conflicts_refused": self.conflicts_refused}
        return counts | self.account.record()

    def lines(self) -> list[str]:
        """What was done on purpose, for a person who practises."""
        done = self.account
        lines = []
        if done.missing:
            lines.append(f"never sent: {', '.join(f'{number:07}' for number in sorted(done.missing))}")
        for said, names in (
            ("sent twice", done.duplicates),
            ("sent again with other bytes", done.conflicts),
            ("sent after all others", done.late),
        ):
            if names:
                lines.append(f"{said}: {', '.join(names)}")
        for bad in done.bad_rows:
            place = f"{bad['name']} line {bad['line']}"
            lines.append(f"bad row: {place}, {bad['field']}: {bad['fault']}".replace(", None:", ":"))
        return lines


def into_folder(disturbed: Disturbed, folder: Path) -> Run:
    """Write all files into a folder, and what comes late or again into a folder of that.

    Raises OSError as the file system does.
    """
    run = Run(disturbed.account)
    run.sent = sum(1 for _ in write(disturbed.first(), folder))
    if later := list(disturbed.then()):
        run.sent += sum(1 for _ in write(later, folder / AFTERWARDS))
    return run


def over_ftp(
    disturbed: Disturbed,
    server: Server,
    connections: int,
    shuffle_seed: int | None,
    on_reply: Callable[[Reply], None],
) -> Run:
    """Push all files, and then what comes late or again; the arguments are those of `push`.

    Raises PushFailed if there is no session.
    """
    run = Run(disturbed.account)
    is_first = True

    def take_note(reply: Reply) -> None:
        run.sent += 1
        if not reply.accepted:
            if not is_first and reply.name in run.account.conflicts:
                run.conflicts_refused += 1
            else:
                run.refused += 1
        on_reply(reply)

    push_each(disturbed.first(), server, take_note, connections, shuffle_seed)
    is_first = False
    push_each(disturbed.then(), server, take_note, connections)
    return run
