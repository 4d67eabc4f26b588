"""Names that take no number of their sender's, as the receiver judges them: fixes, unsequenced ones (E3, N7).

Such a file is never late or early; what can be known of it is whether it came before, and of a fix whether
its number belongs to another file than the one that it corrects. A fix repeats any fix of its file that has
the same bytes. An unsequenced file repeats only the one just before it:
a state that comes back is news.
"""

from collections.abc import Sequence

from server import answers
from server.names import FileName
from server.outlook import View


def came_before(name: FileName, digest: str, waiting: Sequence[str], view: View | None) -> bool:
    """Whether a file is a repetition.

    Args:
        name: of the file.
        digest: its SHA-256 with CRLF as LF (contract A6).
        waiting: the digests of what was accepted under that name and is not registered yet, in order.
        view: what the ledger says, if it answers.
    """
    registered = frozenset() if view is None else view.repeated
    if name.is_fix:
        return digest in registered or digest in waiting
    return digest == waiting[-1] if waiting else digest in registered


def sentence(name: FileName, stranger: str, view: View | None) -> str:
    """What its sender hears of a file that did not come before.

    Args:
        name: of the file.
        stranger: what of its name is unknown here, or nothing (contract N5).
        view: what the ledger says, if it answers.
    """
    if name.is_fix:
        return answers.fix(name)
    if stranger:
        return answers.quarantined(name, stranger)
    return answers.database_away(name) if view is None else answers.unsequenced(name)
