"""Refused rows that nobody has to look at any more, since what came later made them good (contract E1, L4).

A refused row whose key could be read is made good once a row of that key with a higher mark is in: the sender
has sent it again, corrected. One that was corrected by a fix is refused no more at all. What a fix could not
bring in is made good by a later fix of the same file, of which no row was refused. All else is for a person
to dismiss.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, column, or_, select, table, update

from loaders.keys import Key, among, as_written, chunks, key_of
from loaders.records import rejected_row
from loaders.shapes import Api, Catalog, Table
from server import schema, streams
from server.states import State

# Some hundredths of a second.
ROWS_A_STEP = 5000

_file = schema.file


class Round:
    """Goes round the refused rows that may have been made good, so many at each step.

    There may be a hundred thousand that nobody has ever looked at, and each is held against its table.
    """

    def __init__(self) -> None:
        # Behind which one the next step begins: a file, and a row of it.
        self._behind = (0, 0)

    def go_on(self, connection: Connection, catalog: Catalog) -> None:
        """Mark those of the next rows that were made good; in a write transaction."""
        file_id, row_id = self._behind
        query = (
            select(
                rejected_row.c.id,
                rejected_row.c.file_id,
                rejected_row.c.row_key,
                rejected_row.c.line,
                _file.c.api,
                _file.c.stream_id,
                _file.c.version,
                _file.c.state,
                _file.c.holder,
            )
            .join(_file, _file.c.id == rejected_row.c.file_id)
            .where(
                rejected_row.c.made_good.is_(None),
                rejected_row.c.file_id >= file_id,
                or_(rejected_row.c.file_id > file_id, rejected_row.c.id > row_id),
            )
            .order_by(rejected_row.c.file_id, rejected_row.c.id)
            .limit(ROWS_A_STEP)
        )
        rows = connection.execute(query).all()
        self._behind = (rows[-1].file_id, rows[-1].id) if len(rows) == ROWS_A_STEP else (0, 0)
        loaded = [row for row in rows if row.state == State.LOADED]
        rows_of: dict[str, list[Any]] = {}
        for row in loaded:
            if row.row_key is not None:
                rows_of.setdefault(row.api, []).append(row)
        ranks = streams.places(connection) if rows_of else {}
        found = _followed(connection, [row.id for row in loaded if row.holder is None])
        for name, known in rows_of.items():
            if name in catalog:
                found += _outdone(connection, catalog[name], known, ranks)
        for chunk in chunks(found):
            connection.execute(update(rejected_row).where(rejected_row.c.id.in_(chunk)).values(made_good=1))


def open_files(connection: Connection) -> list[Row[Any]]:
    """Loaded files with refused rows that are neither made good nor dismissed."""
    waiting = (
        select(rejected_row.c.file_id)
        .where(rejected_row.c.made_good.is_(None))
        .group_by(rejected_row.c.file_id)
        .subquery()
    )
    query = select(_file).join(waiting, waiting.c.file_id == _file.c.id)
    # The state is looked at here, or SQLite would walk through all loaded files instead of these few.
    return [
        row
        for row in connection.execute(query)
        if row.state == State.LOADED and (row.rows_rejected or 0) > (row.rows_dismissed or 0)
    ]


def _outdone(connection: Connection, api: Api, rows: Sequence[Any], ranks: Mapping[int, int]) -> list[int]:
    """The ids of those rows of which a higher one of the same key is in."""
    marks = _marks(connection, api.most_specific, {key_of(row.row_key) for row in rows}, ranks)
    return [
        row.id
        for row in rows
        if marks.get(key_of(row.row_key), (-1, 0, 0)) > (ranks[row.stream_id], row.version, row.line)
    ]


def _marks(
    connection: Connection, target: Table, keys: set[Key], ranks: Mapping[int, int]
) -> dict[Key, tuple[int, int, int]]:
    rows = table(target.name, *map(column, (*target.key, "stream", "version", "line")))
    found: dict[Key, tuple[int, int, int]] = {}
    for condition in among(rows, target.key, keys):
        for *key, stream, version, line in connection.execute(select(rows).where(condition)):
            found[tuple(map(as_written, key))] = (ranks[stream], version, line)
    return found


def _followed(connection: Connection, of_fixes: Sequence[int]) -> list[int]:
    """Of what earlier fixes left, by id, that where a later fix of the same file went in whole."""
    later = _file.alias()
    query = (
        select(rejected_row.c.id)
        .join(_file, _file.c.id == rejected_row.c.file_id)
        .join(later, later.c.name == _file.c.name)
        .where(
            later.c.state == State.LOADED,
            later.c.stream_id == _file.c.stream_id,
            later.c.version == _file.c.version,
            later.c.id > _file.c.id,
            later.c.rows_rejected == 0,
        )
        .distinct()
    )
    return [
        row_id
        for chunk in chunks(of_fixes)
        for row_id in connection.execute(query.where(rejected_row.c.id.in_(chunk))).scalars()
    ]
