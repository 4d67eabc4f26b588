"""The benchmark runs for whoever has an environment, and touches nothing but what it made."""

import json
import subprocess
import sys
from pathlib import Path

from sqlalchemy import create_engine, inspect

from tests.support.mariadb import PrivateMariaDB

BENCH = Path(__file__).parent.parent / "scripts" / "bench.py"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, BENCH, *arguments], capture_output=True, text=True, check=False)


def measured(*arguments: str) -> dict[str, object]:
    run = bench("load", "--rows", "7000", "--rounds", "1", "--json", *arguments)
    assert run.returncode == 0, run.stderr
    found: dict[str, object] = json.loads(run.stdout)
    assert (found["rows"], found["rows_loaded"], found["rows_rejected"]) == (7000, 6993, 7)
    return found


def test_a_load_is_measured_beside_the_import_of_sqlite() -> None:
    assert measured()["beside"] == ".import"


def test_a_load_is_measured_beside_load_data_of_mariadb_which_is_left_empty(mariadb: PrivateMariaDB) -> None:
    url = mariadb.create_schema("bench")
    try:
        assert measured("--database", url)["beside"] == "LOAD DATA LOCAL"
        assert inspect(create_engine(url)).get_table_names() == []
    finally:
        mariadb.drop_schema("bench")


def test_a_database_that_holds_tables_is_left_alone(mariadb: PrivateMariaDB) -> None:
    url = mariadb.create_schema("bench")
    try:
        with mariadb.cursor() as cursor:
            cursor.execute("CREATE TABLE bench.precious (id INT)")
        run = bench("load", "--rows", "10", "--database", url)
        assert (run.returncode, run.stdout) == (2, "")
        assert "name an empty database" in run.stderr
        assert inspect(create_engine(url)).get_table_names() == ["precious"]
    finally:
        mariadb.drop_schema("bench")


def test_figures_are_shown_one_a_line() -> None:
    run = bench("load", "--rows", "1000", "--rounds", "1")
    assert "rows rejected         1\n" in run.stdout
