"""MariaDB and MySQL: `INSERT … ON DUPLICATE KEY UPDATE` of many rows, whose text the driver makes.

PyMySQL's `executemany` recognises the statement and sends it with as many rows as go into 1 MB, below any
`max_allowed_packet`.

There is no WHERE here, so each column decides for itself whether the new row wins. Columns are assigned from
left to right and see what was assigned before them (measured); therefore the marks come last, first the line,
then the version, then the stream. With the line assigned, a row that wins is equal to the new one in it,
and `<=` still holds for the version; the stream comes last since all comparisons rest on it.
"""

from collections.abc import Callable

from sqlalchemy import Connection

from loaders.dialects.upsert import UnsafeSettings, Upsert, Winner


def statement(upsert: Upsert, quote: Callable[[str], str]) -> str:
    """The statement, with a `%s` for each column of `upsert`."""
    columns = ", ".join(quote(column) for column in upsert.columns)
    places = ", ".join("%s" for _ in upsert.columns)
    beats = "<" if upsert.winner is Winner.HIGHEST else ">"
    wins = (
        f"stream = VALUES(stream) AND (version {beats} VALUES(version)"
        f" OR version = VALUES(version) AND line {beats}= VALUES(line))"
    )
    if upsert.beaten:
        wins = f"{wins} OR stream IN ({', '.join(str(int(stream)) for stream in upsert.beaten)})"
    changed = ", ".join(
        f"{name} = IF({wins}, VALUES({name}), {name})"
        for name in (*map(quote, upsert.data), "line", "version", "stream")
    )
    # Nothing in it comes from a file: names are the catalog's, quoted, and numbers are ours.
    return (
        f"INSERT INTO {quote(upsert.table)} ({columns}) VALUES ({places})"  # noqa: S608 - see above
        f" ON DUPLICATE KEY UPDATE {changed}"
    )


def check(connection: Connection) -> None:
    """Raise UnsafeSettings unless a value that does not fit is an error; elsewhere MariaDB alters it."""
    mode = str(connection.exec_driver_sql("SELECT @@SESSION.sql_mode").scalar_one())
    if not {"STRICT_ALL_TABLES", "STRICT_TRANS_TABLES"} & set(mode.split(",")):
        raise UnsafeSettings(
            "the connection's sql_mode is not strict, so MariaDB would alter values silently"
        )
