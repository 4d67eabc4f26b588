"""What an operator has tried again: files, the rows of files that did not get in, a corrected copy."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select

from server import copies, fixes, row_replay, schema, streams, views
from server.admin.opened import Opened, touched
from server.decisions import Decision, Touched
from server.errors import UsageError
from server.loading import Loading
from server.row_replay import TriedRow
from server.states import Event, State, leaving_by

_CAN_BE_REPLAYED = (State.HELD, *leaving_by(Event.REPLAYED))


class Replaying(Opened):
    """Replay files, rows, and a file with a corrected copy."""

    def replay(
        self,
        names: Sequence[str],
        states: Sequence[State],
        sources: Sequence[str],
        decision: Decision,
        *,
        apis: Sequence[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Touched]:
        """Judge held files anew, try quarantined ones again, load loaded ones again.

        Args:
            names: files by id or name.
            states: and all files in these states,
            sources: of these sources, if any are named,
            decision: who and why.
            apis: and of these APIs, if any are named,
            since: and received then or later, UTC,
            until: and received then or before, UTC.

        Returns:
            the files in the order in which they load, and then those that do not.

        Raises:
            UsageError: a named file, or no file of a state, can be replayed; or nobody knows a source.
        """
        for state in states:
            if state not in _CAN_BE_REPLAYED:
                can = ", ".join(_CAN_BE_REPLAYED)
                raise UsageError(f"There is nothing to replay of {state} files; there is of those: {can}.")
        wanted = views.Filter(states=states, sources=sources, apis=apis, since=since, until=until)
        with self._deciding("replaying", decision) as (connection, now):
            self._must_know(connection, sources)
            rows = [self.find(connection, name) for name in names]
            for row in rows:
                if row.state == State.REFUSED and not row.data:
                    raise UsageError(
                        f"The bytes of {row.name} (file {row.id}) were not kept when it was refused: "
                        "`refused_quota` was used up.",
                        todo=f"Have it sent again; `kore-inbox withdraw {row.id}` sets this one aside.",
                    )
                if row.state not in _CAN_BE_REPLAYED:
                    raise UsageError(
                        f"{row.name} (file {row.id}) is {row.state}; there is nothing to replay."
                    )
            if states:
                query = wanted.apply(select(schema.file)).order_by(schema.file.c.id)
                rows += connection.execute(query)
            # A fix loads with its file, and so does that file again.
            concerned = {row.id: row for row in [*rows, *_mended_by(connection, rows)]}
            for row in rows:
                self.intake.rejudge(connection, row, now, by=decision.by, reason=decision.reason)
            return sorted(
                touched(connection, list(concerned.values())), key=self._turn(connection, concerned)
            )

    def replay_rows(self, names: Sequence[str], wanted: views.Filter, decision: Decision) -> list[TriedRow]:
        """Judge refused and parked rows again, without the other rows of their files; see `row_replay`.

        Args:
            names: loaded files by id or name; if there are none,
            wanted: all loaded ones of these.
            decision: who and why.

        Returns:
            the rows that were not in, file by file in the order of loading.

        Raises:
            UsageError: a named file is not loaded, or has no rows of its own.
        """
        with self._deciding("replaying rows", decision) as (connection, now):
            self._must_know(connection, wanted.sources)
            if names:
                rows = [self.find(connection, name) for name in names]
            else:
                rows = row_replay.files(connection, wanted, self.catalog)
            for row in rows:
                row_replay.must_have_rows(row, self.catalog)
            order = self._order(connection)
            return row_replay.replay_rows(
                connection,
                sorted({row.id: row for row in rows}.values(), key=order),
                Loading(self.settings, self.spool, self.catalog),
                now,
                by=decision.by,
                reason=decision.reason,
            )

    def _turn(self, connection: Connection, rows: Mapping[int, Row[Any]]) -> Callable[[Touched], Any]:
        """By what files are sorted so that those that will load come first, in their order."""
        order = self._order(connection)

        def turn(file: Touched) -> Any:
            row = rows[file.id]
            if file.becomes != State.READY or row.api not in self.catalog:
                return 1, file.id
            return 0, *order(row)

        return turn

    def _order(self, connection: Connection) -> Callable[[Row[Any]], tuple[int, int, int]]:
        """By what files of known APIs are sorted so that they are in the order of loading (contract D1)."""
        ranks = streams.places(connection)
        return lambda row: (self.catalog.level(row.api), ranks.get(row.stream_id, 0), row.version or 0)

    def replace_with(self, text: str, path: Path, decision: Decision) -> Touched:
        """Accept a corrected copy of a file from this machine, as if its sender had sent it; see `copies`.

        Raises:
            UsageError: the file has no number, or one that no corrected copy can take.
            OSError: the copy cannot be read, or the spool cannot be written.
        """
        with path.open("rb"):
            # That it is missing is told before all else.
            pass
        with self.database.read() as connection:
            row = self.find(connection, text)
            return copies.take(
                connection,
                row,
                path,
                settings=self.settings,
                spool=self.spool,
                catalog=self.catalog,
                decision=decision,
            )


def _mended_by(connection: Connection, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    """The files that load again with those fixes among some files that are replayed."""
    found = [
        fixes.mended(connection, row)
        for row in rows
        if row.state in (State.HELD, State.LOADED) and fixes.name_of(row) is not None
    ]
    return [row for row in found if row is not None and fixes.loads_again(row)]
