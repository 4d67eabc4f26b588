"""What an incident is before it is one: something that is wrong now (contract E1).

Rules find it: those of `file_rules` in the ledger, those of `machine_rules` around it. They change and
remember nothing. What they say must stay the same while nothing changes: another sentence counts as seen
again, and is mailed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from loaders.shapes import Catalog
from server.config import Settings
from server.kinds import Kind
from server.spool import Spool

# So many failed tries on a file, or a mail, or at keeping a child alive, are worth a person's look.
MANY_TRIES = 3


@dataclass(frozen=True)
class Condition:
    """Something that is wrong at this moment; `kind` and `subject` tell one from another.

    Attributes:
        source: whose files it is about, if they are of one source.
        file_id: the file it is about, if its refused rows belong to what people should see.
    """

    kind: Kind
    subject: str
    happened: str
    kept: str
    todo: str
    source: str | None = None
    file_id: int | None = None


@dataclass(frozen=True)
class Facts:
    """What rules judge by: `now` is UTC, and `is_open` whether an incident is open already."""

    connection: Connection
    settings: Settings
    catalog: Catalog
    spool: Spool
    now: datetime
    is_open: Callable[[Kind, str], bool] = lambda _kind, _subject: False


Rule = Callable[[Facts], Iterator[Condition]]
