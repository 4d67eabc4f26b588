"""Fixes: corrected rows of a file, which go in with that file and under its number (contract E3).

A fix has no number of its own and never loads by itself: whenever its file is loaded, the rows that are
refused are replaced by the corrected ones. So it does not matter which of the two comes first, or how often.
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
    """The fixes of a file that is about to load, in order of acceptance."""
    fixes = ledger.fixes(connection, str(parse_shown(row.name).fix), row.stream_id, row.version)
    return [Fix(fix.id, _read(spool, fix.data, options)) for fix in fixes]


def rows_of(fixes: list[Fix]) -> dict[int, str]:
    """The corrected rows by line; of two for one line the later counts."""
    return {line: row for fix in fixes for line, row in fix.corrections.rows.items()}


def record(connection: Connection, row: Row[Any], fixes: list[Fix], outcome: Outcome, now: datetime) -> None:
    """Say of the fixes of a file that was loaded that they went in with it, and what of them did not."""
    mended = set(outcome.mended)
    query = select(rejected_row.c.line).where(rejected_row.c.file_id == row.id)
    refused_lines = set(connection.execute(query).scalars()) if fixes else set()
    still_refused = refused_lines & mended
    for fix in fixes:
        rows = fix.corrections.rows
        needless = [
            Reject(
                line,
                None,
                _AS_IT_WAS if line in refused_lines else f"this line of {row.name} was not refused",
                text,
            )
            for line, text in rows.items()
            if line not in mended
        ]
        refused = [*fix.corrections.refused, *needless]
        forget_rows(connection, fix.file_id)
        reject_rows(connection, fix.file_id, refused)
        read = len(rows) + len(fix.corrections.refused)
        rejected = len(refused) + len(still_refused & rows.keys())
        ledger.move(connection, fix.file_id, Event.WENT_IN, now)
        ledger.change(
            connection,
            fix.file_id,
            loaded_at=now,
            rows_read=read,
            rows_loaded=read - rejected,
            rows_rejected=rejected,
            rows_parked=0,
        )


def _read(spool: Spool, data: str, options: SourceOptions) -> Corrections:
    try:
        with spool.data_path(data).open("rb") as handle:
            return corrections.read(handle, options)
    except FileNotFoundError:
        return Corrections({}, (Reject(0, None, "its bytes are not in the spool any more", ""),))
