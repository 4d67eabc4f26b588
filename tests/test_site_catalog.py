"""A site's own APIs in a whole inbox: found at start, grown into the tables, shown (section 9)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from loaders.catalog import read_catalog
from server import specification
from server.apis import load_catalog
from server.config import load_settings
from server.database import Database
from server.errors import SettingsError
from server.migrate import prepare, to_add
from server.spool import Spool
from tests.support.running import RunningInbox, until

LOYALTY = """
api = "LOYALTY"
purpose = "points | of *customers*"
level = 3
full_absent = "deactivate"
[[table]]
name = "loyalty"
key = ["Customer"]
[[reference]]
kind = "park"
fields = ["Customer"]
table = "customers"
[[field]]
ordinal = 1
name = "Customer"
type = "string"
length = 30
required = true
note = "a | b <script> \\u0007"
[[field]]
ordinal = 2
name = "Tier"
type = "string"
length = 1
codes = { G = "gold", S = "silver" }
"""
CATEGORY = """
api = "CATEGORY"
[[field]]
name = "Category Name"
length = 60
[[field]]
name = "Colour"
type = "string"
length = 10
"""


@pytest.fixture
def inbox(tmp_path: Path, database_url: str) -> RunningInbox:
    """Not yet started; its site has a folder, still empty."""
    (tmp_path / "inbox" / "site").mkdir(parents=True)
    return RunningInbox(tmp_path / "inbox", database_url, '[catalog]\nfolder = "site"\n')


def rows(inbox: RunningInbox, query: str) -> list[tuple[Any, ...]]:
    database = Database(make_url(inbox.url))
    with database.read() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    database.close()
    return found


def write(inbox: RunningInbox, **texts: str) -> None:
    for name, written in texts.items():
        (inbox.conf.parent / "site" / f"{name}.toml").write_text(written, encoding="utf-8")


def test_after_a_restart_with_a_grown_catalog_old_and_new_files_load(inbox: RunningInbox) -> None:
    """What was quarantined for its unknown API is judged anew, too (N5)."""
    with inbox:
        inbox.push("DT_0000001_KS_CATEGORY.NET", b"A\told\n")
        inbox.push("DT_0000002_KS_LOYALTY.NET", b"C1\tG\n")
        until(lambda: sorted(inbox.states().values()) == ["loaded", "quarantined"], "both are judged")
    write(inbox, loyalty=LOYALTY, category=CATEGORY)
    shown = inbox.ask("catalog", "--dry-run")
    changes = {(change["change"], change["table"], change["columns"]) for change in shown}
    wider = {("wider column", "category", "category_name")} if "mysql" in inbox.url else set()
    assert changes == {("new table", "loyalty", ""), ("new column", "category", "colour"), *wider}
    assert inbox.ask("catalog", "--dry-run") == shown, "it was not done"
    with inbox:
        inbox.push("DT_0000003_KS_CATEGORY.NET", b"B\told layout\n")
        inbox.push("DT_0000004_KS_CATEGORY.NET", f"C\t{'n' * 60}\t\t\t\t\t\tred\n".encode())
        inbox.push("DT_0000005_KS_CUSTOMERS.NET", b"C1\n")
        until(lambda: set(inbox.states().values()) == {"loaded"}, "all five are loaded")
        until(lambda: inbox.ask("parked") == [], "no row is parked")
    assert rows(inbox, "SELECT category_id, category_name, colour FROM category ORDER BY category_id") == [
        ("A", "old", None),
        ("B", "old layout", None),
        ("C", "n" * 60, "red"),
    ]
    assert rows(inbox, "SELECT customer, tier FROM loyalty") == [("C1", "G")]
    assert "new column category (colour)" in inbox.log.read_text()
    assert inbox.ask("catalog", "--dry-run") == []


def test_what_the_file_of_a_new_api_lacks_is_told_in_words(inbox: RunningInbox) -> None:
    write(inbox, loyalty='api = "LOYALTY"\n')
    said = inbox.command("catalog", code=2)
    assert "full_absent: one of deactivate, keep is needed" in said
    assert "table: at least one table is needed" in said


def test_a_mistake_in_a_site_s_file_is_told_before_a_port_opens(inbox: RunningInbox) -> None:
    write(inbox, loyalty=LOYALTY.replace("level = 3", "level = 'x'").replace('"customers"', '"nobody"'))
    for words in (("serve",), ("status",), ("catalog",)):
        said = inbox.command(*words, code=2)
        assert "2 mistakes:" in said
        assert "site/loyalty.toml: level: 'x' is not a number from 1 to 99" in said
        assert "site/loyalty.toml: reference 'nobody': table: 'nobody' is a table of no API" in said


def test_tables_that_cannot_follow_the_catalog_are_told_of_before_a_port_opens(inbox: RunningInbox) -> None:
    write(inbox, loyalty=LOYALTY)
    settings = load_settings(inbox.conf)
    database = Database(settings.database_url)
    prepare(database, load_catalog(settings))
    database.close()
    write(inbox, loyalty=LOYALTY.replace("length = 30", "length = 20"))
    for words in (("serve",), ("catalog", "--dry-run")):
        said = inbox.command(*words, code=2)
        assert "loyalty.toml: table 'loyalty': column 'customer': it is varchar(30); varchar(20) is" in said


def test_a_database_that_is_away_does_not_keep_the_inbox_from_starting(tmp_path: Path) -> None:
    """A4."""
    inbox = RunningInbox(tmp_path / "inbox", "mysql+pymysql://nobody@127.0.0.1:1/nothing")
    Spool(inbox.spool).create()
    with inbox:
        assert inbox.push("DT_0000001_KS_CATEGORY.NET", b"A\n").startswith("226")


def test_looking_at_changes_does_not_make_a_database(tmp_path: Path) -> None:
    path = tmp_path / "data" / "inbox.sqlite"
    database = Database(make_url(f"sqlite:///{path}"))
    assert len(to_add(database, read_catalog())) > 34
    assert not path.exists()


def test_a_folder_that_is_not_there_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "inbox.toml").write_text('[catalog]\nfolder = "nowhere"\n')
    with pytest.raises(SettingsError, match=f"catalog.folder: {tmp_path}/nowhere: No such file"):
        load_catalog(load_settings(tmp_path / "conf"))


# --- the specification ------------------------------------------------------------------------------


def table_rows(lines: Iterator[str] | list[str]) -> list[list[str]]:
    """The cells of a document's tables, split where Markdown splits."""
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| ")]


def test_the_specification_has_every_api_field_and_code() -> None:
    catalog = read_catalog()
    document = "\n".join(specification.lines(catalog, None)).replace("\\", "")
    levels = [int(level) for level in re.findall(r"^## Level (\d+)$", document, re.MULTILINE)]
    assert levels == sorted(set(levels)) == list(range(1, 9))
    sections = dict(zip(*[iter(re.split(r"^### (\w+)$", document, flags=re.MULTILINE)[1:])] * 2, strict=True))
    assert set(sections) == set(catalog)
    for name, api in catalog.items():
        assert f"DT_0000001_KS_{name}.NET" in sections[name]
        for field in api.fields:
            [cells] = [
                line for line in sections[name].splitlines() if line.startswith(f"| {field.ordinal} |")
            ]
            assert field.name in cells
            for code, meaning in {**field.codes, **field.open_codes}.items():
                assert f"{code} = {meaning}" in cells


def test_the_specification_says_what_a_missing_parent_means() -> None:
    contacts = list(specification.lines(read_catalog(), "contacts"))
    waits = "names a row of CUSTOMERS, where Business Type is C; the row waits until that is there"
    assert f"- Company Number {waits}" in contacts
    assert any(
        "Contact Class names a row of CLASSIFICATIONS; if that is not there" in line for line in contacts
    )
    inventory = list(specification.lines(read_catalog(), "inventory"))
    assert "- Site ID names one of the warehouses; if that is not there, it is made" in inventory


def test_nothing_in_the_specification_is_markup_of_a_site_s_making(tmp_path: Path) -> None:
    """X4."""
    (tmp_path / "loyalty.toml").write_text(LOYALTY, encoding="utf-8")
    lines = list(specification.lines(read_catalog(site=tmp_path), "LOYALTY"))
    cells = table_rows(lines)
    assert {len(row) for row in cells} == {5}
    assert r"Points \| of \*customers\*." in lines
    assert r"a \| b \<script\>" in cells[1][4]


def test_the_commands_print_the_specification_and_a_site_s_api(tmp_path: Path) -> None:
    inbox = RunningInbox(tmp_path / "inbox", f"sqlite:///{tmp_path}/x.sqlite", '[catalog]\nfolder = "site"\n')
    (tmp_path / "inbox" / "site").mkdir()
    write(inbox, loyalty=LOYALTY)
    assert "LOYALTY" in {api["api"] for api in json.loads(inbox.command("catalog", "--json"))}
    printed = inbox.command("catalog", "loyalty", "--markdown")
    assert printed.startswith("### LOYALTY\n")
    assert "\x07" not in printed
    assert inbox.command("catalog", "--markdown").startswith("# What the inbox reads\n")
    assert "no API NOSUCH" in inbox.command("catalog", "nosuch", "--markdown", code=2)
