"""What an operator decides about single files."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from loaders.full import undo
from server import approval, ledger
from server.admin.opened import Opened, touched
from server.decisions import Approved, Decision, Touched
from server.errors import UsageError
from server.loading import Loading
from server.names import Mode
from server.states import Cause, Event, State, leaving_by

_WITHDRAWABLE = leaving_by(Event.WITHDRAWN)
_RELEASABLE = (State.HELD, State.DEFERRED, State.READY)


class Files(Opened):
    """Withdraw, dismiss; and for FULLs approve, release, undo."""

    def withdraw(self, names: Sequence[str], decision: Decision) -> list[Touched]:
        """Set files aside that shall not load; their numbers stay taken.

        Raises:
            UsageError: a file is loading, or has been loaded, so that it is too late.
        """
        with self._deciding("withdrawing", decision) as (connection, now):
            rows = [self.find(connection, name) for name in names]
            for row in rows:
                if row.state not in (*_WITHDRAWABLE, State.WITHDRAWN):
                    raise UsageError(
                        f"{row.name} (file {row.id}) is {row.state} and cannot be withdrawn.",
                        todo="What is in is corrected by a newer file; `kore-inbox undo` makes active again "
                        "what a FULL has made inactive."
                        if row.state == State.LOADED
                        else "",
                    )
                if row.loaded_at is not None:
                    raise UsageError(
                        f"{row.name} (file {row.id}) is to be loaded again; its rows are in since "
                        f"{row.loaded_at:%Y-%m-%d %H:%M:%S} UTC, and it cannot be withdrawn."
                    )
                ledger.move(connection, row.id, Event.WITHDRAWN, now, by=decision.by, reason=decision.reason)
                if row.reason and decision.reason == Decision.reason:
                    # What was wrong with it says more than that nobody said why it was set aside.
                    ledger.change(connection, row.id, reason=row.reason)
                ledger.reinstate(connection, row, now)
            return touched(connection, rows)

    def dismiss(self, names: Sequence[str], decision: Decision) -> list[Touched]:
        """Say that nobody needs to look at the refused rows of files any more (contract E1).

        Raises:
            UsageError: a file is not loaded, or none of its rows was refused.
        """
        with self._deciding("dismissing refused rows", decision) as (connection, now):
            rows = [self.find(connection, name) for name in names]
            for row in rows:
                if row.state != State.LOADED or not row.rows_rejected:
                    raise UsageError(f"{row.name} (file {row.id}) is {_without_refused_rows(row)}.")
                if row.rows_dismissed == row.rows_rejected:
                    continue
                ledger.change(connection, row.id, rows_dismissed=row.rows_rejected)
                ledger.note(
                    connection, now, event="dismissed", file_id=row.id, by=decision.by, reason=decision.reason
                )
            return touched(connection, rows)

    def approve(self, names: Sequence[str], decision: Decision) -> list[Approved]:
        """Let FULLs load whatever they make inactive (contract L6), also ahead of time; see `approval`.

        Raises:
            UsageError: a file is no FULL, or can load no more.
        """
        loading = Loading(self.settings, self.spool, self.catalog)
        with self._deciding("approving", decision) as (connection, now):
            told = []
            for row in [self.find(connection, name) for name in names]:
                losses = approval.approve(
                    connection, row, self.catalog, now, by=decision.by, reason=decision.reason
                )
                why_not = None
                if decision.dry_run and not losses:
                    losses, why_not = approval.preview(connection, row, self.catalog, loading)
                [file] = touched(connection, [row])
                told.append(Approved(**{**vars(file), "reason": why_not}, losses=losses))
            return told

    def release(self, names: Sequence[str], decision: Decision) -> list[Touched]:
        """Let FULLs load before their hours (contract D5), also ahead of time.

        Raises:
            UsageError: a file is no FULL, waits for approval, or waits for nothing.
        """
        with self._deciding("releasing", decision) as (connection, now):
            rows = [self.find(connection, name) for name in names]
            for row in rows:
                if row.mode != Mode.FULL or row.state not in _RELEASABLE:
                    what = row.state if row.mode == Mode.FULL else "no FULL"
                    raise UsageError(f"{row.name} (file {row.id}) is {what}; there is nothing to release.")
                if row.cause == Cause.NEEDS_APPROVAL:
                    raise UsageError(
                        f"{row.name} (file {row.id}) waits for approval, not for its hours.",
                        todo=f"If the export is right, run `kore-inbox approve {row.id}`.",
                    )
                if row.released:
                    continue
                ledger.change(connection, row.id, released=1)
                ledger.note(
                    connection,
                    now,
                    event="released early",
                    file_id=row.id,
                    by=decision.by,
                    reason=decision.reason,
                )
                if row.state == State.DEFERRED:
                    ledger.move(connection, row.id, Event.RELEASED, now, by=decision.by, cause=None)
            return touched(connection, rows)

    def undo(self, name: str, decision: Decision) -> int:
        """Make active again what a FULL made inactive; the rows that it holds stay (contract L6).

        Returns:
            how many rows became active.

        Raises:
            UsageError: the file is no FULL that is loaded and makes rows inactive.
        """
        with self._deciding("undoing a FULL", decision) as (connection, now):
            row = self.find(connection, name)
            api = self.catalog.get(row.api or "")
            if row.mode != Mode.FULL or row.state != State.LOADED or api is None:
                raise UsageError(f"{row.name} (file {row.id}) is no FULL that is loaded.")
            if not api.deactivates:
                raise UsageError(f"A FULL of {row.api} makes nothing inactive; there is nothing to undo.")
            reactivated = undo(connection, api, row.stream_id, row.version)
            if reactivated is not None:
                ledger.note(
                    connection, now, event="undone", file_id=row.id, by=decision.by, reason=decision.reason
                )
            return reactivated or 0


def _without_refused_rows(row: Row[Any]) -> str:
    if row.state != State.LOADED:
        return f"{row.state}; `kore-inbox withdraw` sets it aside"
    return "loaded whole; there is nothing to dismiss"
