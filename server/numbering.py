"""An operator's decisions about the numbers of a stream: what is given up, what is due (contract S1, S4)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, takewhile

from sqlalchemy import Connection

from server import ledger, streams
from server.config import Settings
from server.errors import UsageError
from server.names import FIRST_SEQUENCE, LAST_SEQUENCE
from server.sequence import Range, Version, gaps, is_unsequenced_stream, stream_called, version_of

# Numbers are given up ahead of time by the dozen; by the hundred thousand, a digit was mistyped.
FAR_AHEAD = 100_000


@dataclass(frozen=True)
class Setting:
    """What setting a stream did: which number is due, and was; what was given up; how many files go on."""

    stream: str
    was: Version
    due: Version
    given_up: list[Range]
    released: int


def open_stream(
    connection: Connection,
    text: str,
    settings: Settings,
    *,
    sources: Collection[str],
    apis: Collection[str],
    now: datetime,
) -> streams.Stream:
    """A stream as an operator names it, also ahead of its first file.

    Args:
        connection: in a write transaction.
        text: as it was typed.
        settings: scope and ranks; sources that have settings of their own.
        sources: whose files somebody may send.
        apis: of the catalog.
        now: UTC.

    Raises:
        UsageError: no file of it has come, and none could.
    """
    if is_unsequenced_stream(text):
        raise UsageError(
            f"In {text.upper()} the inbox counts files itself, as they come.",
            todo="Nothing can be missing there: it has no gaps to skip, and no number to set.",
        )
    try:
        name = stream_called(text, settings.sequence.scope)
    except ValueError as error:
        raise UsageError(str(error)) from None
    source, integration, api = [*name.split("_", 2), "", ""][:3]
    if streams.by_name(connection, name) is None:
        why = ""
        if source not in {*sources, *settings.sources}:
            why = f"no user or drop folder may have files of {source}"
        elif integration and settings.inbox.integrations and integration not in settings.inbox.integrations:
            why = f"the settings have no integration {integration}"
        elif api and api not in apis:
            why = f"the catalog has no API {api}"
        if why:
            raise UsageError(
                f"There is no stream {name}: no file of it has come, and {why}.",
                kept="Nothing was changed.",
                todo="`kore-inbox status` lists the streams.",
            )
    return streams.open_stream(connection, name, settings.source(source).rank, now)


def skip(
    connection: Connection,
    stream: streams.Stream,
    first: int,
    last: int,
    now: datetime,
    *,
    by: str,
    reason: str,
) -> list[Range]:
    """Give up missing numbers; returns those that were missing.

    Raises:
        UsageError: they are far ahead of all that has come, or end before they begin.
    """
    wanted = Range(version_of(first, stream.expected), version_of(last, stream.expected))
    if wanted.last < wanted.first:
        raise UsageError(
            f"{first:07d}-{last:07d} ends before it begins, as {stream.name} is at {stream.expected}."
        )
    highest = max(streams.highest(connection, stream.id) or stream.expected, stream.expected)
    if int(wanted.last) - int(highest) > FAR_AHEAD:
        raise UsageError(
            f"{wanted.last} is more than {FAR_AHEAD:,} ahead of {highest}, where {stream.name} is.",
            kept="Nothing was skipped.",
            todo=f"If {stream.name} goes on so high, run "
            f"`kore-inbox sequence set {stream.name} {wanted.last.next.sequence:07d}`.",
        )
    found = _missing_in(connection, stream, wanted)
    streams.give_up(connection, stream, found, now, by=by, reason=reason)
    return found


def set_due(
    connection: Connection, stream: streams.Stream, number: int, now: datetime, *, by: str, reason: str
) -> Setting:
    """Say which number is due; the stream moves on past what has arrived.

    Forwards, what is missing before it is given up; backwards, a new epoch begins (contract S1).

    Raises:
        UsageError: the number is none.
    """
    if not FIRST_SEQUENCE <= number <= LAST_SEQUENCE:
        raise UsageError(f"{number} is no number from 0000001 to 9999999.")
    due = Version(stream.expected.epoch, number)
    moved, missing, released = stream, [], 0
    if due > stream.expected:
        missing = _missing_in(connection, stream, Range(stream.expected, due.previous))
        moved, released = streams.give_up(connection, stream, missing, now, by=by, reason=reason)
    elif due < stream.expected:
        start = Version(stream.expected.epoch + 1, number)
        moved, released = streams.move_on(connection, stream, now, start=start)
        ledger.note(
            connection,
            now,
            event="sequence set",
            stream_id=stream.id,
            by=by,
            reason=f"{start}: {reason}",
        )
    return Setting(stream.name, stream.expected, moved.expected, missing, released)


def _missing_in(connection: Connection, stream: streams.Stream, wanted: Range) -> list[Range]:
    first = max(wanted.first, stream.expected)
    if first > wanted.last:
        return []
    arrived = takewhile(lambda version: version <= wanted.last, streams.arrived(connection, stream.id, first))
    # One number beyond the range is taken for arrived, so that the range's own end counts as missing.
    there = (Range(version, version) for version in chain(arrived, [wanted.last.next]))
    return list(gaps(first, there, streams.skips(connection, stream.id, first)))
