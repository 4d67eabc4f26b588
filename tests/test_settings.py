"""What settings may say, and how a mistake in one is told: before a port opens, with its key (section 9)."""

from pathlib import Path
from typing import Any

import pytest

from server.config import Settings, load_settings
from server.errors import SettingsError


def read(folder: Path, toml: str) -> Settings:
    conf = folder / "conf"
    conf.mkdir(exist_ok=True)
    (conf / "inbox.toml").write_text(toml, encoding="utf-8")
    return load_settings(conf)


@pytest.mark.parametrize(
    ("section", "setting", "says"),
    [
        ("dispatch", "settle = inf", "finite number"),
        ("dispatch", 'settle = "2h"', "3600"),
        ("load", 'park_alert_after = "9999999d"', "longer than 3650d"),
        ("sequence", f'gap_give_up_after = "{"9" * 400}d"', "finite number"),
        ("sequence", f"gap_alert_after = {10**400}", "gap_alert_after"),
        ("inbox", 'spool = "a\\u0000b"', "not a path"),
        ("inbox", 'spool = ""', "not a path"),
        ("catalog", 'folder = "a\\u0000b"', "not a path"),
        ("ftp", 'host = "a..b"', "neither an address nor"),
        ("ftp", "passive_ports = [50100, 50000]", "the first and the last port"),
        ("ftp", 'masquerade_address = "ftp.example.com"', "no IPv4 address"),
        ("inbox", 'integrations = ["K_S"]', "in no file's name"),
        ("sources.D_T", "trim = true", "in no file's name"),
        ("inbox", 'temporary_suffixes = [""]', "not an ending"),
        ("inbox", 'temporary_suffixes = ["tmp"]', "not an ending"),
        ("inbox", 'temporary_suffixes = [".Net"]', "how whole files end"),
        ("inbox", 'temporary_suffixes = [".old.fix"]', "how whole files end"),
        ("database", 'url = "mysql://u@h/x"', "write mysql+pymysql://"),
        ("database", 'url = "mysql+aiomysql://u@h/x"', "must be sqlite, mysql+pymysql"),
        ("database", 'url = "sqlite+aiosqlite:///x.sqlite"', "must be sqlite, mysql+pymysql"),
        ("database", 'url = "sqlite:///x.sqlite?foo=bar"', "no option here, such as `foo`"),
        ("database", 'url = "mysql+pymysql://u@h"', "the schema is missing"),
        ("database", 'url = "mysql+pymysql://u@h/x?foo=bar"', "no option `foo`"),
        ("database", 'url = "mysql+pymysql://u@h/x?read_timeout=soon"', "strange value"),
        ("database", 'url = "mysql+pymysql://u@h:one/x"', "not an SQLAlchemy URL"),
        ("database", 'url = "mysql+pymysql://u@h:99999/x"', "there is no port 99999"),
        ("database", 'url = "sqlite:///a\\u0000b"', "control character"),
        ("database", 'url = "sqlite:///conf"', "is a folder"),
        ("database", 'url = "sqlite:///conf/inbox.toml"', "is no SQLite database"),
    ],
)
def test_a_setting_that_could_not_work_is_told_with_its_key(
    tmp_path: Path, section: str, setting: str, says: str
) -> None:
    with pytest.raises(SettingsError) as told:
        read(tmp_path, f"[{section}]\n{setting}\n")
    [mistake] = told.value.mistakes
    assert mistake.startswith(section)
    assert says in mistake


@pytest.mark.parametrize(
    ("setting", "means"),
    [
        ('integrations = ["ks", "Web-2"]', ("KS", "WEB-2")),
        ('temporary_suffixes = [".TMP", ".In-Work"]', (".tmp", ".in-work")),
    ],
)
def test_the_case_of_what_file_names_are_compared_with_does_not_matter(
    tmp_path: Path, setting: str, means: Any
) -> None:
    """N3, N6."""
    inbox = read(tmp_path, f"[inbox]\n{setting}\n").inbox
    assert getattr(inbox, setting.partition(" ")[0]) == means


@pytest.mark.parametrize(
    "query", ["", "?unix_socket=/run/s&charset=utf8mb4&ssl_ca=/etc/ca.pem&local_infile=1"]
)
def test_what_the_driver_of_mariadb_takes_may_be_in_the_url(tmp_path: Path, query: str) -> None:
    url = f"mariadb+pymysql://u:p%40@db.example.com:3307/inbox{query}"
    assert read(tmp_path, f'[database]\nurl = "{url}"\n').database_url.database == "inbox"
