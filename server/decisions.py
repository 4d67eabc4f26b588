"""Who decides and why, and what a decision has touched: what goes in and out of an operator's verbs."""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass, field

from loaders.full import Loss
from loaders.rejects import Reject
from server.errors import UsageError

# As wide as the ledger's columns for it.
LONGEST_BY = 100


@dataclass(frozen=True)
class Decision:
    """Who decides, why, and whether it is only tried; UsageError where the name would not fit the ledger."""

    by: str = field(default_factory=getpass.getuser)
    reason: str = "no reason was given"
    dry_run: bool = False

    def __post_init__(self) -> None:
        if len(self.by) > LONGEST_BY:
            raise UsageError(f"The name of who decides has {len(self.by)} characters, {LONGEST_BY} at most.")


@dataclass(frozen=True)
class Touched:
    """One file and what happens to it; `reason` is why it is where it is then."""

    id: int
    name: str
    was: str
    becomes: str
    reason: str | None


@dataclass(frozen=True)
class Approved(Touched):
    """A FULL, and what it makes inactive now: where it is only tried, or was undone before."""

    losses: Sequence[Loss]


@dataclass(frozen=True)
class Corrected(Touched):
    """A file for which corrected rows were brought: how many, and those that correct nothing."""

    rows_read: int
    rows_loaded: int
    rejects: Sequence[Reject]

    @property
    def comes_about(self) -> bool:
        """Whether any row goes in, so that the correction was taken."""
        return self.rows_loaded > 0
