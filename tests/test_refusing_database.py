"""A database that refuses the inbox is away until someone has mended that; nothing is lost (A4, L9)."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.spool import Spool
from tests.support.mariadb import PrivateMariaDB
from tests.support.running import RunningInbox, until


@pytest.fixture
def _poor(mariadb: PrivateMariaDB) -> Iterator[None]:
    """A user who may look into the schema of the same name, and no more."""
    with mariadb.cursor() as cursor:
        cursor.execute("CREATE DATABASE poor")
        cursor.execute("CREATE USER poor@localhost IDENTIFIED BY 'right'")
        cursor.execute("GRANT SELECT ON poor.* TO poor@localhost")
    yield
    with mariadb.cursor() as cursor:
        cursor.execute("DROP USER poor@localhost")
        cursor.execute("DROP DATABASE poor")


@pytest.mark.usefixtures("_poor")
@pytest.mark.parametrize(
    ("login", "schema", "says"),
    [
        (
            "poor:wrong",
            "poor",
            r"refuses us: Access denied for user 'poor'.*1045.*See that user and password",
        ),
        ("poor:right", "other", r"refuses us: Access denied .*'other'.*1044.*Grant the user"),
        ("poor:right", "poor", r"refuses us: CREATE command denied.*1142.*Grant the user"),
        ("root", "nosuch", r"refuses us: Unknown database 'nosuch'.*1049.*Make the schema"),
    ],
)
def test_a_command_says_what_the_database_has_against_it_and_what_to_do(
    tmp_path: Path, mariadb: PrivateMariaDB, login: str, schema: str, says: str
) -> None:
    url = mariadb.url(schema).replace("root", login)
    said = RunningInbox(tmp_path / "inbox", url).command("files", code=1)
    assert re.fullmatch(f"The database {says}.* Nothing was changed.\n", said)


def test_an_inbox_without_its_schema_accepts_and_loads_when_it_is_made(
    tmp_path: Path, mariadb: PrivateMariaDB
) -> None:
    inbox = RunningInbox(tmp_path / "inbox", mariadb.url("late"))
    Spool(inbox.spool).create()
    with inbox:
        assert "226" in inbox.push("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
        until(lambda: "next try" in inbox.log.read_text(), "the loader has found out")
        log = inbox.log.read_text()
        mariadb.create_schema("late")
        until(lambda: list(inbox.states().values()) == ["loaded"], "the file is loaded")
    mariadb.drop_schema("late")
    assert re.search(r"WARNING .* database away, next try in 1 s: Unknown database 'late' \(1049\)", log)
    assert "Traceback" not in log
    assert "sqlalche.me" not in log
