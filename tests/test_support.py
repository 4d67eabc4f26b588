"""The tests' own machinery: it has to be trusted before anything else is."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.support import mariadb, processes
from tests.support.mariadb import MariaDBMissing, PrivateMariaDB


def test_every_test_has_an_empty_database_of_its_own(new_database: Callable[[], str]) -> None:
    for url in (new_database(), new_database()):
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE t (n INTEGER)"))
            connection.execute(text("INSERT INTO t VALUES (1)"))
            assert connection.execute(text("SELECT count(*) FROM t")).scalar() == 1
        engine.dispose()


@pytest.mark.parametrize("again", [1, 2])
def test_no_database_is_handed_out_twice(database_url: str, again: int) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE only_once (n INTEGER)"))
    engine.dispose()


def test_a_connection_that_a_test_forgot_does_not_keep_its_schema(mariadb: PrivateMariaDB) -> None:
    engine = create_engine(mariadb.create_schema("forgotten"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
    forgotten = engine.connect()
    forgotten.execute(text("SELECT * FROM t"))

    mariadb.drop_schema("forgotten")

    with mariadb.cursor() as cursor:
        cursor.execute("SHOW DATABASES LIKE 'forgotten'")
        assert cursor.fetchall() == ()
    forgotten.invalidate()
    engine.dispose()


def test_a_killed_mariadb_has_what_it_committed_when_it_is_back() -> None:
    with PrivateMariaDB() as server:
        server.create_schema("kept")
        with server.cursor() as cursor:
            cursor.execute("CREATE TABLE kept.t (n INTEGER) ENGINE=InnoDB")
            cursor.execute("INSERT INTO kept.t VALUES (7)")
        before = server.pid
        server.kill()
        assert server.pid is None
        server.start()
        assert server.pid not in (None, before)
        with server.cursor() as cursor:
            cursor.execute("SELECT n FROM kept.t")
            assert cursor.fetchall() == ((7,),)
        folder = server.folder
    assert server.pid is None
    assert not folder.exists()


def test_a_server_is_removed_when_the_test_fails() -> None:
    with pytest.raises(ZeroDivisionError), PrivateMariaDB() as server:
        _ = 1 / 0
    assert server.pid is None
    assert not server.folder.exists()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    server = PrivateMariaDB(options=("--no-such-option",))
    folder = server.folder
    with pytest.raises(RuntimeError, match="no-such-option"), server:
        pass
    assert not folder.exists()


def test_a_missing_mariadb_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mariadb, "_SEARCH_PATH", "/nowhere")
    mariadb._template.cache_clear()
    with pytest.raises(MariaDBMissing, match=r"mariadbd is not installed.*apt-get install"):
        PrivateMariaDB()


def test_a_socket_path_stays_short_in_a_deep_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    folder = mariadb._short_folder("kore-")
    try:
        assert len(os.fsencode(folder / "s")) <= 107
        assert list(deep.iterdir()) == []
    finally:
        folder.rmdir()


def test_a_process_left_behind_is_found_even_when_its_parent_is_dead() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            """
import subprocess, sys, time
# The child says itself that it runs: until then it shows no environment, so nothing tells whose it is.
subprocess.Popen([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"])
time.sleep(60)
""",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    orphan = int(parent.stdout.readline())
    assert processes.left_behind(grace_seconds=0).keys() == {parent.pid, orphan}

    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    left = processes.left_behind(grace_seconds=0)
    assert left.keys() == {orphan}
    assert "time.sleep(60)" in left[orphan]

    processes.end(left)
    assert processes.left_behind() == {}
