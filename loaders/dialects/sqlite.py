"""SQLite: one prepared `INSERT … ON CONFLICT DO UPDATE … WHERE`, run for row after row by the driver."""

from collections.abc import Callable

from loaders.dialects.upsert import Upsert, Winner


def statement(upsert: Upsert, quote: Callable[[str], str]) -> str:
    """The statement, with a `?` for each column of `upsert`."""
    table = quote(upsert.table)
    columns = ", ".join(quote(column) for column in upsert.columns)
    places = ", ".join("?" for _ in upsert.columns)
    key = ", ".join(quote(column) for column in upsert.key)
    changed = ", ".join(
        f"{quote(column)} = excluded.{quote(column)}"
        for column in (*upsert.data, "line", "version", "stream")
    )
    gives_way = "<=" if upsert.winner is Winner.HIGHEST else ">="
    wins = (
        f"{table}.stream = excluded.stream"
        f" AND ({table}.version, {table}.line) {gives_way} (excluded.version, excluded.line)"
    )
    if upsert.beaten:
        wins = f"({wins}) OR {table}.stream IN ({', '.join(str(int(stream)) for stream in upsert.beaten)})"
    # Nothing in it comes from a file: names are the catalog's, quoted, and numbers are ours.
    return (
        f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608 - see above
        f" ON CONFLICT ({key}) DO UPDATE SET {changed} WHERE {wins}"
    )
