"""The operator's verbs, as functions; the command line and `scripts/` only call these (contract section 8).

Each verb that changes something names the files that it would touch, changes them unless it is a dry run, is
safe to repeat, and wakes the loader.
"""

from server import home, rebuild
from server.admin.files import Files
from server.admin.looking import Looking
from server.admin.numbers import Numbers
from server.admin.replaying import Replaying
from server.decisions import Approved, Corrected, Decision, Touched
from server.rebuild import Progress, Rebuilt
from server.row_replay import TriedRow

__all__ = ["Approved", "Corrected", "Decision", "Inbox", "Touched", "TriedRow"]


class Inbox(Looking, Replaying, Files, Numbers):
    """An inbox as its operator sees it, whether the server runs or not."""

    def rebuild(self, decision: Decision, progress: Progress) -> Rebuilt:
        """Make a lost ledger anew from the spool; see `rebuild.rebuild`."""
        return rebuild.rebuild(
            self.settings,
            self.spool,
            self.database,
            self.catalog,
            by=decision.by,
            reason=decision.reason,
            dry_run=decision.dry_run,
            progress=progress,
        )

    def adopt(self, decision: Decision) -> str | None:
        """Let the ledger go on with this spool, as the one that it had is lost.

        Returns:
            where that was; None if the ledger had no other.

        Raises:
            UsageError: an inbox is at work on the other one.
        """
        with self._deciding("adopting a spool", decision) as (connection, now):
            return home.adopt(
                connection,
                self.spool,
                now,
                by=decision.by,
                reason=decision.reason,
                dry_run=decision.dry_run,
            )
