"""MariaDB and MySQL: `INSERT … ON DUPLICATE KEY UPDATE`, of some rows as text, of many from a staging table.

For some rows PyMySQL's `executemany` makes the text: it recognises the statement, and sends it with as many
rows as go into 1 MB, below any `max_allowed_packet`. Many rows are streamed into a temporary table first,
which takes half the time. `LOAD DATA` alters what does not fit and only warns of it, so any warning is an
error here, and nothing goes into a real table that way. Making a temporary table does not end the
transaction. Where it or the streaming is forbidden, all rows go as text. While the server joins staged rows
with the table, we go on.

There is no WHERE here, so each column decides for itself whether the new row wins. Columns are assigned from
left to right and see what was assigned before them (measured); therefore the marks come last, first the line,
then the version, then the stream. With the line assigned, a row that wins is equal to the new one in it,
and `<=` still holds for the version; the stream comes last since all comparisons rest on it.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from loaders.dialects import ahead, streaming
from loaders.dialects.upsert import UnsafeSettings, Upsert, ValuesAltered, Winner

# Measured: from 150 to 200 rows on streaming is quicker.
STREAMED_ROWS = 200

# No right to make temporary tables (two errors), or LOAD DATA LOCAL is not allowed.
_FORBIDDEN = {1044, 1142, 1148, 3948, 4166}

_STAGING = "kore_inbox_staging"
_POSITION = "kore_inbox_position"

log = logging.getLogger(__name__)

# The databases that have forbidden it to this process, by URL.
_forbidding: set[str] = set()


def enable(engine: Engine) -> None:
    """Let rows be streamed on an engine's connections, and joined while the next ones are checked."""
    streaming.enable(engine)
    ahead.enable(engine)


def run(connection: Connection, upsert: Upsert, rows: Sequence[tuple[Any, ...]]) -> None:
    """Join rows into their table, by the way that is quicker for so many; `finish` waits for its end."""
    # Here, lest an error of the rows before these be taken for a refusal to stream.
    finish(connection)
    database = str(connection.engine.url)
    if len(rows) >= STREAMED_ROWS and database not in _forbidding:
        try:
            _stage(connection, upsert, rows)
        except DBAPIError as error:
            if not (error.orig and error.orig.args and error.orig.args[0] in _FORBIDDEN):
                raise
            _forbidding.add(database)
            log.warning(
                "large files load more slowly: the database allows no LOAD DATA LOCAL from us (%s);"
                " it takes local_infile=ON and the right CREATE TEMPORARY TABLES",
                error.orig.args[-1],
                extra={"action": "load"},
            )
        else:
            _join_staged(connection, upsert)
            return
    connection.exec_driver_sql(statement(upsert, connection.dialect.identifier_preparer.quote), list(rows))


def statement(upsert: Upsert, quote: Callable[[str], str]) -> str:
    """The statement for rows as text, with a `%s` for each column of `upsert`."""
    return _upsert(upsert, quote, f"VALUES ({', '.join('%s' for _ in upsert.columns)})")


def _upsert(upsert: Upsert, quote: Callable[[str], str], rows: str) -> str:
    table = quote(upsert.table)
    columns = ", ".join(map(quote, upsert.columns))
    beats = "<" if upsert.winner is Winner.HIGHEST else ">"
    wins = (
        f"{table}.stream = VALUES(stream) AND ({table}.version {beats} VALUES(version)"
        f" OR {table}.version = VALUES(version) AND {table}.line {beats}= VALUES(line))"
    )
    if upsert.beaten:
        wins = f"{wins} OR {table}.stream IN ({', '.join(str(int(stream)) for stream in upsert.beaten)})"
    changed = ", ".join(
        f"{table}.{name} = IF({wins}, VALUES({name}), {table}.{name})"
        for name in (*map(quote, upsert.data), "line", "version", "stream")
    )
    # Nothing in it comes from a file: names are the catalog's, quoted, and numbers are ours.
    return f"INSERT INTO {table} ({columns}) {rows} ON DUPLICATE KEY UPDATE {changed}"


def _stage(connection: Connection, upsert: Upsert, rows: Sequence[tuple[Any, ...]]) -> None:
    """Stream rows into a new temporary table; ValuesAltered if one of them is not there as it is."""
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, upsert.columns))
    # An engine without transactions is enough for it, and takes a tenth of the server's time off.
    engine = "Aria" if getattr(connection.dialect, "is_mariadb", False) else "InnoDB"
    # Names are the catalog's, quoted.
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {_STAGING} ({_POSITION} INT AUTO_INCREMENT PRIMARY KEY) ENGINE={engine}"  # noqa: S608
        f" AS SELECT {columns} FROM {quote(upsert.table)} LIMIT 0"
    )
    connection.info[_STAGING] = True
    went_in = streaming.load(
        connection,
        f"LOAD DATA LOCAL INFILE 'rows' INTO TABLE {_STAGING} {streaming.FORMAT} ({columns})",
        rows,
    )
    warning = connection.exec_driver_sql("SHOW WARNINGS LIMIT 1").first()
    if warning is not None:
        raise ValuesAltered(f"{upsert.table}: {warning[2]} ({warning[1]})")
    if went_in != len(rows):
        raise ValuesAltered(f"{upsert.table}: {went_in:,} of {len(rows):,} rows reached the database")


def _join_staged(connection: Connection, upsert: Upsert) -> None:
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, upsert.columns))
    # In their order: a row's parent in the same table has to be there before it.
    staged = f"SELECT {columns} FROM {_STAGING} ORDER BY {_POSITION}"  # noqa: S608 - as above
    ahead.begin(connection, _upsert(upsert, quote, staged))


def finish(connection: Connection) -> None:
    """Wait for the rows that are still being joined, and leave no staging table, of a failed load neither."""
    if _STAGING in connection.info:
        connection.exec_driver_sql(f"DROP TEMPORARY TABLE {_STAGING}")
        del connection.info[_STAGING]


def check(connection: Connection) -> None:
    """Raise UnsafeSettings unless a value that does not fit is an error; elsewhere MariaDB alters it."""
    mode = str(connection.exec_driver_sql("SELECT @@SESSION.sql_mode").scalar_one())
    if not {"STRICT_ALL_TABLES", "STRICT_TRANS_TABLES"} & set(mode.split(",")):
        raise UnsafeSettings(
            "the connection's sql_mode is not strict, so MariaDB would alter values silently"
        )
