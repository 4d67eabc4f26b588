"""Why a file is where it is, in sentences; every state has its own (contract section 8, `why`)."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from loaders import records
from server import fixes, gaps, ledger, streams
from server.names import FileName
from server.sequence import Range, Version
from server.states import Cause, State
from server.wording import after_refusal, age, counted, sentence, skip_command


def why(
    connection: Connection, row: Row[Any], *, waits_on_quarantine: bool, opens: datetime | None
) -> list[str]:
    """What a file waits for, since when, and what would release it, in sentences.

    Args:
        connection: to the ledger.
        row: of `inbox_file`.
        waits_on_quarantine: the setting.
        opens: when the hours of its source's FULL files begin, in UTC, unless it is in them.
    """
    told = _WHY[State(row.state)](connection, row)
    if row.state == State.READY and waits_on_quarantine:
        blocker = ledger.stuck(connection).get((row.stream_id, row.api))
        if blocker is not None and blocker < row.version:
            told.append(_what_blocks(connection, row.stream_id, Version.of(blocker)))
    if row.state == State.DEFERRED and row.cause == Cause.AFTER_HOURS:
        told.append(
            f"Its hours begin at {opens:%Y-%m-%d %H:%M} UTC; then it loads by itself."
            if opens is not None
            else "Its hours have begun; it loads in the next wave, if the loader runs."
        )
    return told


def _what_blocks(connection: Connection, stream_id: int, version: Version) -> str:
    blocker = ledger.holder(connection, stream_id, version)
    deferred = blocker is not None and blocker.state == State.DEFERRED
    how = (
        "is deferred (see `why` of that one)"
        if deferred
        else "is in quarantine: replay, replace or withdraw it"
    )
    return f'It waits for {version} of the same API (on_quarantine = "wait"), which {how}.'


def _why_held(connection: Connection, row: Row[Any]) -> list[str]:
    fix = fixes.name_of(row)
    if fix is not None:
        return _why_fix_held(connection, row, fix)
    stream = streams.by_id(connection, row.stream_id)
    below = [gap for gap in gaps.find(connection, stream.name) if int(gap.missing.first) < row.version]
    if not below:
        # They have come since the row was read.
        return [f"{row.name} is being released at this moment: no lower number is missing any more."]
    now = ledger.now_utc()
    since = f"{row.registered_at:%Y-%m-%d %H:%M:%S} UTC"
    told = [f"{row.name} is held since {since}, because lower numbers of {stream.name} have not arrived:"]
    told += [f"  {gap.missing} missing for {age(gap.age_seconds(now))}" for gap in below]
    whole = Range(below[0].missing.first, below[-1].missing.last)
    told.append(
        "It is released by itself when they have arrived; if they never will, give them up: "
        f"{skip_command(stream.name, whole)}."
    )
    return told


def _why_fix_held(connection: Connection, row: Row[Any], fix: FileName) -> list[str]:
    holding = ledger.holder(connection, row.stream_id, Version.of(row.version))
    there = holding is not None and holding.name == str(fix.mended)
    state = f"is {holding.state}" if holding is not None and there else "has not arrived"
    return [
        f"{row.name} holds corrected rows of {fix.mended}, which {state}.",
        "They go in with it, by themselves, when it is loaded.",
    ]


def _why_ready(_connection: Connection, row: Row[Any]) -> list[str]:
    if row.retry_at is None:
        return [f"{row.name} is ready and loads in the next wave, if the loader runs (`kore-inbox status`)."]
    again = f"{row.retry_at:%Y-%m-%d %H:%M:%S} UTC"
    return [
        f"{row.name} could not be loaded in {row.attempts} tries: {sentence(row.reason)}",
        f"It is tried again by itself at {again}.",
    ]


def _why_loaded(connection: Connection, row: Row[Any]) -> list[str]:
    told = [f"{row.name} waits for nothing: it was loaded at {row.loaded_at:%Y-%m-%d %H:%M:%S} UTC."]
    if row.reason:
        told.append(f"Since then: {sentence(row.reason)}")
    waiting = records.parked_row
    query = (
        select(waiting.c.waits_table, func.count().label("rows"))
        .where(waiting.c.file_id == row.id)
        .group_by(waiting.c.waits_table)
    )
    told += [
        f"Parked until the parents in {part.waits_table} come: {counted(part.rows, 'row')} of it."
        for part in connection.execute(query)
    ]
    if row.rows_rejected:
        told.append(
            f"Rejected: {counted(row.rows_rejected, 'row')} of it; see `kore-inbox rejects {row.id}`."
        )
    return told


def _why_kept(_connection: Connection, row: Row[Any]) -> list[str]:
    return [
        f"{row.name} is {row.state}: {sentence(row.reason)}",
        f"A corrected file under the same name replaces it; `kore-inbox replay {row.id}` judges it anew.",
    ]


def _why_deferred(_connection: Connection, row: Row[Any]) -> list[str]:
    since = f"{row.registered_at:%Y-%m-%d %H:%M:%S} UTC"
    if row.cause == Cause.AFTER_HOURS:
        return [
            f"{row.name}, which came at {since}, waits for its hours: {sentence(row.reason)}",
            f"`kore-inbox release {row.id}` loads it at once; `kore-inbox withdraw {row.id}` sets it aside.",
        ]
    return [
        f"{row.name}, which came at {since}, waits for approval. {row.reason}",
        f"`kore-inbox approve {row.id} --dry-run` shows what it would make inactive now, with some keys.",
        f"It loads after `kore-inbox approve {row.id}`; `kore-inbox withdraw {row.id}` sets it aside.",
    ]


def _why_refused(_connection: Connection, row: Row[Any]) -> list[str]:
    return [f"{row.name} is refused: {sentence(row.reason)}", after_refusal(row.cause, row.id, row.sender)]


def _why_over(_connection: Connection, row: Row[Any]) -> list[str]:
    return [f"{row.name} (file {row.id}) waits for nothing: {sentence(row.reason)}"]


def _why_moving(_connection: Connection, row: Row[Any]) -> list[str]:
    return [f"{row.name} is {row.state} at this moment."]


_WHY = {
    State.RECEIVED: _why_moving,
    State.HELD: _why_held,
    State.DEFERRED: _why_deferred,
    State.READY: _why_ready,
    State.LOADING: _why_moving,
    State.LOADED: _why_loaded,
    State.QUARANTINED: _why_kept,
    State.REFUSED: _why_refused,
    State.WITHDRAWN: _why_kept,
    State.DUPLICATE: _why_over,
    State.REPLACED: _why_over,
}
