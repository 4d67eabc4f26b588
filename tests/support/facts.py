"""All that an inbox knows, without what may differ from run to run: numbers of rows, and times."""

from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import DateTime, func, select

from loaders.records import metadata
from loaders.tables import target
from server import schema
from server.spool import Spool
from server.states import Event, State
from tests.support.inboxes import Bench

# A lease is one loader's life, a home one spool's; an event's number of tries is counted for itself.
_LEFT_OUT = {"inbox_lease", "inbox_home", "inbox_event", "inbox_file"}
# Texts for people name files by their number.
_TELLING = {"id", "count", "happened", "kept", "todo"}

_FILE = ("name", "source", "sequence", "api", "version", "holder", "state", "cause", "attempts")
_COUNTS = ("rows_read", "rows_loaded", "rows_rejected", "rows_parked")


# By table, its rows and how often there are.
Facts = dict[str, Counter[Any]]


def facts(bench: Bench) -> Facts:
    """Every table's rows, target and ledger; streams and files by name; how often each file was loaded."""
    with bench.database.read() as connection:
        streams = dict(connection.execute(select(schema.stream.c.id, schema.stream.c.name)).all())
        f = schema.file.c
        files = {row.id: row for row in connection.execute(select(schema.file))}
        e = schema.event.c
        loads: dict[int, int] = dict(
            connection.execute(
                select(e.file_id, func.count()).where(e.event == Event.COMMITTED).group_by(e.file_id)
            ).all()
        )
        names = {i: f"{row.name} {row.sha256[:8]}" for i, row in files.items()}
        named = {"stream": streams, "stream_id": streams, "file_id": names}
        found = {
            "inbox_file": Counter(
                (
                    row.sha256,
                    streams.get(row.stream_id),
                    loads.get(i, 0),
                    *(getattr(row, column) for column in _FILE + _COUNTS),
                )
                for i, row in files.items()
            )
        }
        for table in [*target(bench.catalog).tables.values(), *metadata.tables.values()]:
            if table.name in _LEFT_OUT:
                continue
            columns = [
                column
                for column in table.columns
                if column.name not in _TELLING
                and not isinstance(column.type, (DateTime, type(f.loaded_at.type)))
            ]
            found[table.name] = Counter(
                tuple(
                    named[column.name].get(value, value) if column.name in named else value
                    for column, value in zip(columns, row, strict=True)
                )
                for row in connection.execute(select(*columns))
            )
    return found


def settled(found: Facts) -> Facts:
    """The same, however often something was sent: without duplicates, and each refusal once."""
    files = Counter({row: 1 for row in found["inbox_file"] if State.DUPLICATE not in row})
    return found | {"inbox_file": files}


def compare(found: Facts, wanted: Facts) -> list[str]:
    """What is too much or missing, in sentences."""
    said = []
    for table, rows in wanted.items():
        said += [f"{table} misses {row}" for row in (rows - found[table]).elements()]
        said += [f"{table} has too much: {row}" for row in (found[table] - rows).elements()]
    return said


def unaccounted(bench: Bench) -> list[str]:
    """Files of the spool that nobody knows, after everything was registered and a sweep."""
    spool = bench.spool
    with bench.database.read() as connection:
        f = schema.file.c
        kept = connection.execute(select(f.data).where(f.state != State.DUPLICATE)).scalars()
        known = {spool.data / data for data in kept} | {spool.refused}
        known |= {spool.done / name for name in connection.execute(select(f.receipt)).scalars()}
    return [f"{path} is left" for path in files_of(spool) if path not in known]


def files_of(spool: Spool) -> list[Path]:
    """All that is in a spool's folders."""
    folders = (spool.data, spool.refused, spool.aside, spool.staged, spool.new, spool.done)
    return [path for folder in folders for path in folder.iterdir()]
