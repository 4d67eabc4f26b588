"""Fixes: corrected rows of a file, which go in with that file and under its number (contract E3).

A fix has no number of its own and never loads by itself: whenever its file is loaded, the rows that are
refused are replaced by the corrected ones. So it does not matter which of the two comes first, or how often.

Several fixes of one file are applied in the order in which they were accepted, each to the rows that are
still refused then. So a row is corrected once, as a number is taken once (A7). What a fix has put in, and the
parents that it made, need never be taken back, and the tables are the same whether the fixes were loaded one
after the other or all at once (L7).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from sqlalchemy import Connection, Row, select

from loaders import corrections
from loaders.checking import Examination, Quarantine
from loaders.corrections import Corrections
from loaders.load import Outcome
from loaders.options import SourceOptions
from loaders.records import forget_rows, reject_rows, rejected_row
from loaders.rejects import Reject
from server import ledger
from server.names import FileName, parse_shown
from server.sequence import Version
from server.spool import Spool
from server.states import Cause, Event, State

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


def mended(connection: Connection, row: Row[Any]) -> Row[Any] | None:
    """The file that a fix corrects, if it has come."""
    name = name_of(row)
    holding = ledger.holder(connection, row.stream_id, Version.of(row.version))
    if name is None or holding is None or holding.name != str(name.mended):
        return None
    return holding


def loads_again(row: Row[Any]) -> bool:
    """Whether a file is loaded once more when corrected rows of it come."""
    had_too_many = row.state == State.QUARANTINED and row.cause == Cause.REJECTED_ROWS
    return bool(row.state == State.LOADED or had_too_many)


def of(connection: Connection, row: Row[Any], spool: Spool, options: SourceOptions) -> list[Fix]:
    """The fixes of a file, in order of acceptance: each is for the rows that those before it left refused."""
    if row.api is None or name_of(row) is not None:
        return []
    return [Fix(fix.id, _read(spool, fix.data, options)) for fix in _of(connection, row)]


def record(connection: Connection, row: Row[Any], fixes: list[Fix], outcome: Outcome, now: datetime) -> None:
    """Say of the fixes of a file that was loaded that they went in with it, and what of them did not."""
    query = select(rejected_row.c.line).where(rejected_row.c.file_id == row.id)
    still_refused = set(connection.execute(query).scalars()) if fixes else set()
    for fix, good, refused in _judged(row.name, fixes, outcome.tried, still_refused):
        forget_rows(connection, fix.file_id)
        # What was refused as well its file says, as long as that is so.
        reject_rows(connection, fix.file_id, refused)
        read = fix.corrections.rows_read
        ledger.move(connection, fix.file_id, Event.WENT_IN, now)
        ledger.change(
            connection,
            fix.file_id,
            loaded_at=now,
            rows_read=read,
            rows_loaded=good,
            rows_rejected=read - good,
            rows_parked=0,
        )


def attempt(
    name: str, data: BinaryIO, examination: Examination, fixes: list[Fix]
) -> tuple[int, int, list[Reject]]:
    """What the last of some fixes would do to its file.

    Args:
        name: of the file.
        data: its bytes.
        examination: of it, with these fixes.
        fixes: those before it, and the one in question.

    Returns:
        how many rows it has, how many of them would go in, and why the others would not.
    """
    still_refused: dict[int, Reject] = {}
    # That too many rows are refused still is another matter; the others need not stay out for it.
    with suppress(Quarantine):
        for batch in examination.batches(data):
            still_refused |= {reject.line: reject for reject in batch.rejects}
    tried = examination.tried or [{} for _ in fixes]
    *_, (fix, good, refused) = _judged(name, fixes, tried, still_refused.keys())
    refused += [still_refused[line] for line, is_good in tried[-1].items() if not is_good]
    return fix.corrections.rows_read, good, sorted(refused, key=lambda reject: reject.line)


def _judged(
    name: str, fixes: list[Fix], tried: Sequence[Mapping[int, bool]], still_refused: Collection[int]
) -> Iterator[tuple[Fix, int, list[Reject]]]:
    """By fix, how many of its rows are right, and those that correct nothing, with the reason."""
    by_any = {line for lines in tried for line, is_good in lines.items() if is_good}
    by_earlier: dict[int, int] = {}
    for fix, lines in zip(fixes, tried, strict=True):
        good = [line for line, is_good in lines.items() if is_good]
        refused = list(fix.corrections.refused)
        for line, text in fix.corrections.rows.items():
            if line in by_earlier:
                reason = _MENDED.format(name=name, fix=by_earlier[line])
            elif line in still_refused and line not in lines:
                reason = _AS_IT_WAS
            elif line not in still_refused and line not in by_any:
                reason = f"this line of {name} was not refused"
            else:
                # It is right, or was refused as well.
                continue
            refused.append(Reject(line, None, reason, text))
        by_earlier |= dict.fromkeys(good, fix.file_id)
        yield fix, len(good), refused


def set_aside(connection: Connection, row: Row[Any], reason: str, now: datetime) -> list[str]:
    """Quarantine the fixes that have not gone in yet, as their file cannot be loaded with them.

    Returns:
        their names; none if there are none, and it must be the file itself.
    """
    new = [fix for fix in _of(connection, row) if fix.state == State.HELD]
    for fix in new:
        ledger.move(connection, fix.id, Event.BAD_CONTENT, now, reason=reason, cause=Cause.INTERNAL)
    return [fix.name for fix in new]


def _of(connection: Connection, row: Row[Any]) -> list[Row[Any]]:
    return ledger.fixes(connection, str(parse_shown(row.name).fix), row.stream_id, row.version)


def _read(spool: Spool, data: str, options: SourceOptions) -> Corrections:
    try:
        with spool.data_path(data).open("rb") as handle:
            return corrections.read(handle, options)
    except FileNotFoundError:
        return Corrections({}, (Reject(0, None, "its bytes are not in the spool any more", ""),))
