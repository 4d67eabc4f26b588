"""Fixes: corrected rows of a file, which go in with that file and under its number (contract E3).

A fix has no number of its own and never loads by itself: whenever its file is loaded, the rows that are
refused are replaced by the corrected ones. So it does not matter which of the two comes first, or how often.

Several fixes of one file are applied in the order in which they were accepted, each to the rows that are
still refused then. So a row is corrected once, as a number is taken once (A7). What a fix has put in, and the
parents that it made, need never be taken back, and the tables are the same whether the fixes were loaded one
after the other or all at once (L7).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from loaders import corrections
from loaders.corrections import Corrections
from loaders.load import Outcome
from loaders.options import SourceOptions
from loaders.records import forget_rows, reject_rows, rejected_row
from loaders.rejects import Reject
from server import ledger
from server.names import FileName, parse_shown
from server.spool import Spool
from server.states import Event

_AS_IT_WAS = "it came back as it was when it was refused"
_MENDED = "this line of {name} was corrected by file {fix} already; send the row in a new file to change it"


@dataclass(frozen=True)
class Fix:
    """An accepted fix and what it says."""

    file_id: int
    corrections: Corrections


def name_of(row: Row[Any]) -> FileName | None:
    """The name of a file of the ledger if that is a fix."""
    name = None if row.api is None else parse_shown(row.name)
    return name if name is not None and name.is_fix else None


def of(connection: Connection, row: Row[Any], spool: Spool, options: SourceOptions) -> list[Fix]:
    """The fixes of a file, in order of acceptance: each is for the rows that those before it left refused."""
    if row.api is None or name_of(row) is not None:
        return []
    fixes = ledger.fixes(connection, str(parse_shown(row.name).fix), row.stream_id, row.version)
    return [Fix(fix.id, _read(spool, fix.data, options)) for fix in fixes]


def record(connection: Connection, row: Row[Any], fixes: list[Fix], outcome: Outcome, now: datetime) -> None:
    """Say of the fixes of a file that was loaded that they went in with it, and what of them did not."""
    query = select(rejected_row.c.line).where(rejected_row.c.file_id == row.id)
    still_refused = set(connection.execute(query).scalars()) if fixes else set()
    went_in = [{line for line, is_good in tried.items() if is_good} for tried in outcome.tried]
    by_any = set().union(*went_in)
    by_earlier: dict[int, int] = {}
    for fix, tried, good in zip(fixes, outcome.tried, went_in, strict=True):
        refused = list(fix.corrections.refused)
        for line, text in fix.corrections.rows.items():
            if line in by_earlier:
                reason = _MENDED.format(name=row.name, fix=by_earlier[line])
            elif line in still_refused and line not in tried:
                reason = _AS_IT_WAS
            elif line not in still_refused | by_any:
                reason = f"this line of {row.name} was not refused"
            else:
                # It went in; or it was refused as well, which its file says as long as that is so.
                continue
            refused.append(Reject(line, None, reason, text))
        by_earlier |= dict.fromkeys(good, fix.file_id)
        forget_rows(connection, fix.file_id)
        reject_rows(connection, fix.file_id, refused)
        read = len(fix.corrections.rows) + len(fix.corrections.refused)
        ledger.move(connection, fix.file_id, Event.WENT_IN, now)
        ledger.change(
            connection,
            fix.file_id,
            loaded_at=now,
            rows_read=read,
            rows_loaded=len(good),
            rows_rejected=read - len(good),
            rows_parked=0,
        )


def _read(spool: Spool, data: str, options: SourceOptions) -> Corrections:
    try:
        with spool.data_path(data).open("rb") as handle:
            return corrections.read(handle, options)
    except FileNotFoundError:
        return Corrections({}, (Reject(0, None, "its bytes are not in the spool any more", ""),))
