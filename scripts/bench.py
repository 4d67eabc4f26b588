#!/usr/bin/env python3
"""Measure how quick the inbox is, beside the quickest tool that does a part of the same.

    .venv/bin/python scripts/bench.py load [--rows N] [--rounds N] [--database URL] [--json]

`scripts/test` makes `.venv`. Both sides take turns on one machine with the same bytes, and the medians are
compared: only the ratio means something elsewhere, and only from a machine that does nothing else.

`load` loads one file of customers made from a seed: 19 columns, some 190 bytes a row, one bad row in a
thousand, 100 warehouses made on the fly. All of a load is measured, in a process of its own: each check, the
references, the refused rows, the join, the commit. Beside it stands, on SQLite, `.import` of the command
`sqlite3` (write-ahead log, synchronous FULL) into a table of the file's columns with the same key; on MariaDB
a bare `LOAD DATA LOCAL` into the very table, its warehouses being there. Both keep what they should refuse.

SQLite's databases are made in temporary folders (`TMPDIR` says where). MariaDB's has to be named, empty,
with `--database`, such as `mysql+pymysql://root@localhost/bench?unix_socket=/run/mysqld/mysqld.sock`; it is
emptied after each load, and one that holds tables is refused. Its server needs `local_infile=ON`.
"""

import argparse
import json
import multiprocessing
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql
from sqlalchemy import Column, MetaData, Table, inspect, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from loaders import growth
from loaders.catalog import read_catalog
from loaders.load import Delivery, Outcome, SourceOptions, load
from loaders.records import metadata
from loaders.tables import target
from server.children import spare_garbage_collector
from server.database import LOADING_CACHE_KIB, Database

API = "CUSTOMERS"
COLUMNS = 19
SITES = 100
BAD_ROW_EVERY = 1000


class CannotMeasure(Exception):
    """Something is missing, or not as it must be; the message says what."""


# --- the file ---------------------------------------------------------------------------------------------


def rows(count: int, seed: int = 1) -> Iterator[bytes]:
    """The lines of a file of customers, of which one in a thousand is bad, in seven ways in turn."""
    chance = random.Random(seed)  # noqa: S311 - the same rows each time are what is wanted
    for number in range(1, count + 1):
        site = chance.randrange(SITES)
        row = [
            f"C{number:09}",
            "",
            "C",
            f"Müller & Søn Fastening {chance.randrange(10**6)}",
            f"{chance.randrange(1, 9999)} Commerce Park Drive",
            f"Building {chance.randrange(99)}, Dock {chance.randrange(9)}",
            "",
            chance.choice(("Cleveland", "Saint Paul", "Brownsville")),
            chance.choice(("OH", "MN", "TX")),
            f"{chance.randrange(10**5):05}-{chance.randrange(10**4):04}",
            "US",
            f"+1 216 555 {chance.randrange(10**4):04}",
            f"S{site:03}",
            f"Warehouse {site}",
            f"www.c{number}.example",
            f"{chance.randrange(10**7) / 100:.2f}",
            "",
            "STD",
            str(chance.randrange(90)),
        ]
        if number % BAD_ROW_EVERY == 0:
            spoil(row, number // BAD_ROW_EVERY % 7)
        line = "\t".join(row).encode() + b"\n"
        yield line if number % (BAD_ROW_EVERY * 7) else b"\xff" + line


def spoil(row: list[str], way: int) -> None:
    """Make a row bad; the seventh way, a byte that is no UTF-8, is for who writes the bytes."""
    match way:
        case 1:
            row[0] = ""
        case 2:
            row[2] = "Z"
        case 3:
            row[12] = "S0000001"
        case 4:
            row[15] = "12,5x"
        case 5:
            row[18] = "2147483648"
        case 6:
            del row[5]


# --- the inbox's load -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """One load: seconds, the process's largest memory, and what became of the rows."""

    seconds: float
    peak_mib: float
    outcome: Outcome


def inbox_load(url: str, path: Path, count: int) -> Measured:
    """Load the file into tables made for it, as the loader process would."""
    spare_garbage_collector()
    catalog = read_catalog()
    database = Database(make_url(url), cache_kib=LOADING_CACHE_KIB)
    make_tables(database)
    delivery = Delivery(
        file_id=1,
        api=API,
        mode="NET",
        stream=1,
        version=1,
        ranks={1: 1},
        options=SourceOptions(),
        max_rejected=count,
        shrink_limit_percent=20,
        is_approved=False,
        corrections=(),
    )
    start = time.perf_counter()
    with database.write("loading") as connection, path.open("rb") as data:
        outcome = load(connection, catalog, delivery, data)
    seconds = time.perf_counter() - start
    database.close()
    return Measured(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, outcome)


def make_tables(database: Database) -> None:
    """Make all tables of the inbox."""
    with database.write("making the tables") as connection:
        metadata.create_all(connection)
        growth.grow(connection, read_catalog())


def in_own_process(url: str, path: Path, count: int) -> Measured:
    """The same in a process of its own, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(inbox_load, (url, path, count))


# --- what it is compared with -----------------------------------------------------------------------------


def sqlite_import(database: Database, path: Path) -> float:
    """Seconds of `.import`, with the start of its process, which takes some milliseconds."""
    sqlite3 = shutil.which("sqlite3")
    if sqlite3 is None:
        raise CannotMeasure("the command sqlite3 is not installed")
    catalog = read_catalog()
    tables = target(catalog).tables
    # The name of a warehouse is in the table of warehouses alone.
    known = {**tables["warehouses"].c, **tables["customers"].c}
    columns = [known[field.column] for field in catalog[API].fields[:COLUMNS]]
    key = catalog[API].most_specific.key
    made = [Column(column.name, column.type, primary_key=column.name in key) for column in columns]
    with database.write("making the table") as connection:
        Table("bare", MetaData(), *made).create(connection)
    start = time.perf_counter()
    subprocess.run(  # noqa: S603 - words of our own
        [sqlite3, "-cmd", "PRAGMA synchronous=FULL", str(database.url.database)],
        input=f'.mode tabs\n.import "{path}" bare\n',
        text=True,
        # It complains of rows that have another width.
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    seconds = time.perf_counter() - start
    with database.read() as connection:
        if not connection.exec_driver_sql("SELECT count(*) FROM bare").scalar_one():
            raise CannotMeasure("sqlite3 imported nothing")
    return seconds


def mariadb_load_data(database: Database, path: Path) -> float:
    """Seconds of a bare `LOAD DATA LOCAL` with its commit."""
    make_tables(database)
    fields = [field.column for field in read_catalog()[API].fields[:COLUMNS]]
    # Blank terms would be no NULL, and so a parent that is missing.
    columns = ", ".join("@unused" if name in {"site_name", "terms_type_xref"} else name for name in fields)
    sites = ", ".join(f"('S{site:03}', 1, 1, 1, 1)" for site in range(SITES))
    url = database.url
    arguments = {**url.get_dialect()().create_connect_args(url)[1], "charset": "utf8mb4"}
    with closing(pymysql.connect(**arguments, local_infile=True)) as connection:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO warehouses (site_id, stream, version, line, file_id)"  # noqa: S608 - ours, all of it
                f" VALUES {sites}"
            )
            connection.commit()
            start = time.perf_counter()
            cursor.execute(
                f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE customers CHARACTER SET utf8mb4"
                r" FIELDS TERMINATED BY '\t' ESCAPED BY '' LINES TERMINATED BY '\n'"
                f" ({columns}) SET stream = 1, version = 1, line = 0, file_id = 1"
            )
            connection.commit()
        return time.perf_counter() - start


def bare_load(url: str, path: Path) -> float:
    """Load the file by the quickest means of its database, which checks nothing; returns seconds."""
    with closing(Database(make_url(url))) as database:
        return (sqlite_import if database.is_sqlite else mariadb_load_data)(database, path)


# --- rounds -----------------------------------------------------------------------------------------------


@contextmanager
def empty_database(url: str | None) -> Iterator[str]:
    """The URL of an empty database: a new one of SQLite, or the one given, which is emptied afterwards."""
    if url is None:
        with tempfile.TemporaryDirectory(prefix="kore-inbox-bench-") as folder:
            yield f"sqlite:///{folder}/bench.sqlite"
        return
    with closing(Database(make_url(url))) as database:
        with database.read() as connection:
            if inspect(connection).get_table_names():
                raise CannotMeasure(f"{database.url.database} holds tables; name an empty database")
        try:
            yield url
        finally:
            made = MetaData()
            with database.write("dropping the tables") as connection:
                made.reflect(connection)
                made.drop_all(connection)


def measure(url: str | None, path: Path, count: int, rounds: int) -> tuple[list[Measured], list[float]]:
    """Both sides in turn, each on an empty database."""
    ours: list[Measured] = []
    bare: list[float] = []
    for _ in range(rounds):
        with empty_database(url) as database:
            ours.append(in_own_process(database, path, count))
        with empty_database(url) as database:
            bare.append(bare_load(database, path))
    return ours, bare


def bench_load(given: argparse.Namespace) -> dict[str, object]:
    """The sub-command `load`; returns what is to be shown."""
    if given.database and make_url(given.database).get_backend_name() == "sqlite":
        raise CannotMeasure("a database of SQLite need not be named: it is made in a temporary folder")
    with tempfile.TemporaryDirectory(prefix="kore-inbox-bench-") as folder:
        path = Path(folder) / "rows.tsv"
        with path.open("wb") as file:
            file.writelines(rows(given.rows))
        size = path.stat().st_size
        ours, bare = measure(given.database, path, given.rows, given.rounds)
    seconds = statistics.median(one.seconds for one in ours)
    bare_seconds = statistics.median(bare)
    return {
        "beside": "LOAD DATA LOCAL" if given.database else ".import",
        "rows": given.rows,
        "bytes_per_row": round(size / given.rows, 1),
        "rounds": given.rounds,
        "rows_loaded": ours[0].outcome.rows_loaded,
        "rows_rejected": ours[0].outcome.rows_rejected,
        "seconds": round(seconds, 3),
        "rows_per_second": round(given.rows / seconds),
        "bare_seconds": round(bare_seconds, 3),
        "bare_rows_per_second": round(given.rows / bare_seconds),
        "ratio": round(bare_seconds / seconds, 3),
        "peak_mib": round(max(one.peak_mib for one in ours)),
    }


def main() -> int:
    """Measure and print; the exit code is 2 where nothing could be measured."""
    parser = argparse.ArgumentParser(description="Measure how quick the inbox is.")
    commands = parser.add_subparsers(required=True)
    loading = commands.add_parser("load", help="one file of customers, beside the database's own bulk load")
    loading.add_argument("--rows", type=int, default=200_000, help="rows of the file (default: 200,000)")
    loading.add_argument("--rounds", type=int, default=5, help="the median of so many counts (default: 5)")
    loading.add_argument("--database", metavar="URL", help="an empty MariaDB database (default: SQLite)")
    loading.add_argument("--json", action="store_true", help="one object")
    loading.set_defaults(run=bench_load)
    given = parser.parse_args()
    try:
        found = given.run(given)
    except (CannotMeasure, ArgumentError, SQLAlchemyError, pymysql.MySQLError) as error:
        print(f"Nothing was measured: {error}.", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key.replace('_', ' '):22}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
