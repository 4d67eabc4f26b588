"""What settings may say, and how a mistake in one is told: before a port opens, with its key (section 9)."""

from pathlib import Path
from typing import Any

import pytest

from server.apis import load_catalog
from server.config import Settings, load_settings
from server.errors import SettingsError
from server.settings.mail import Route


def read(folder: Path, toml: str) -> Settings:
    conf = folder / "conf"
    conf.mkdir(exist_ok=True)
    (conf / "inbox.toml").write_text(toml, encoding="utf-8")
    return load_settings(conf)


@pytest.mark.parametrize(
    ("section", "setting", "says"),
    [
        ("mail", "recipients = 'a@b.c'", 'write a list, such as ["one", "two"]'),
        ("drop_folder", "folders = '/in'", 'write a table, such as { key = "value" }'),
        ("dispatch", "settle = inf", "finite number"),
        ("dispatch", 'settle = "2h"', "3600"),
        ("load", 'park_alert_after = "9999999d"', "longer than 3650d"),
        ("sequence", f'gap_give_up_after = "{"9" * 400}d"', "finite number"),
        ("sequence", f"gap_alert_after = {10**400}", "gap_alert_after"),
        ("inbox", 'spool = "a\\u0000b"', "not a path"),
        ("inbox", 'spool = ""', "not a path"),
        ("catalog", 'folder = "a\\u0000b"', "not a path"),
        ("ftp", 'host = "a..b"', "neither an address nor"),
        ("ftp", 'host = ""', "it is empty"),
        ("ftp", 'host = " "', "it is empty"),
        ("ftp", "passive_ports = [50100, 50000]", "the first and the last port"),
        ("ftp", "passive_ports = 50000", "the last port, such as [50000, 50100]"),
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
        ("database", 'url = "mysql+pymysql://u@h/x?ssl_ca=/no/such.pem"', "ssl_ca: there is no file"),
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
    "query", ["", f"?unix_socket=/run/s&charset=utf8mb4&ssl_ca={__file__}&local_infile=1"]
)
def test_what_the_driver_of_mariadb_takes_may_be_in_the_url(tmp_path: Path, query: str) -> None:
    url = f"mariadb+pymysql://u:p%40@db.example.com:3307/inbox{query}"
    assert read(tmp_path, f'[database]\nurl = "{url}"\n').database_url.database == "inbox"


@pytest.mark.parametrize(
    ("variable", "text", "means"),
    [
        ("MAIL__RECIPIENTS", "ops@example.com", ("ops@example.com",)),
        ("MAIL__RECIPIENTS", "a@b.c, d@e.f", ("a@b.c", "d@e.f")),
        ("MAIL__RECIPIENTS", '["a@b.c"]', ("a@b.c",)),
        ("MAIL__ROUTE", '[{"to": ["a@b.c"]}]', (Route(to=("a@b.c",)),)),
        ("INBOX__INTEGRATIONS", "17", ("17",)),
        ("INBOX__INTEGRATIONS", "[]", ()),
        ("FTP__PASSIVE_PORTS", "50000,50100", (50000, 50100)),
        ("DROP_FOLDER__FOLDERS", '{"/mnt/erp": ["DT"]}', {Path("/mnt/erp"): ("DT",)}),
    ],
)
@pytest.mark.parametrize("in_file", [False, True])
def test_lists_and_tables_are_written_as_words_or_json_in_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, means: Any, in_file: bool
) -> None:
    (tmp_path / "conf").mkdir()
    if in_file:
        (tmp_path / "conf" / ".env").write_text(f"KORE_INBOX_{variable}='{text}'\n")
    else:
        monkeypatch.setenv(f"KORE_INBOX_{variable}", text)
    section, name = variable.lower().split("__")
    assert getattr(getattr(read(tmp_path, ""), section), name) == means


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("MAIL__RECIPIENTS", "[ops@example.com]", ': write a list, such as one,two or ["one", "two"]'),
        ("MAIL__RECIPIENTS", "ops", ".0: `ops` is not a mail address"),
        ("MAIL__ROUTE", "ops@example.com", '.0: write a table, such as {"key": "value"} (JSON)'),
        ("DROP_FOLDER__FOLDERS", "/mnt/erp", ': write a table, such as {"key": "value"} (JSON)'),
        ("FTP__PASSIVE_PORTS", "50000", ": write the first and the last port, such as [50000, 50100]"),
        ("FTP", "21", ': write a table, such as {"key": "value"} (JSON)'),
    ],
)
def test_what_no_list_or_table_can_be_read_from_is_told_with_its_variable_and_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, says: str
) -> None:
    monkeypatch.setenv(f"KORE_INBOX_{variable}", text)
    with pytest.raises(SettingsError) as told:
        read(tmp_path, "[web]\nport = 'ninety'\n")
    one, other = sorted(told.value.mistakes)
    assert one.startswith(f"KORE_INBOX_{variable}{says}")
    assert other == "web.port: write a whole number"


def test_an_api_that_may_be_silent_has_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "inbox.toml").write_text(
        'sources.DT.silence_alert_after_by_api = {ORDER = "1h", ORDERS = "1h"}\n'
    )
    with pytest.raises(SettingsError) as told:
        load_catalog(load_settings(tmp_path))
    assert told.value.mistakes == ["sources.DT.silence_alert_after_by_api: there is no API ORDER"]


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (
            "[sources.DT]\nrank = 1\n[sources.dt]\ntrim = true\n",
            "sources: `DT` and `dt` are the same; keep one of them",
        ),
        (
            "[sources.DT.silence_alert_after_by_api]\norders = 1\nORDERS = 2\n",
            "sources.DT.silence_alert_after_by_api: `orders` and `ORDERS` are the same; keep one of them",
        ),
        (
            '[drop_folder.folders]\n"in" = ["DT"]\n"in/" = ["XX"]\n',
            "drop_folder.folders: `in` and `in/` are the same; keep one of them",
        ),
    ],
)
def test_what_is_set_under_two_spellings_of_one_name_is_told_with_both(
    tmp_path: Path, toml: str, told: str
) -> None:
    with pytest.raises(SettingsError) as error:
        read(tmp_path, toml)
    assert error.value.mistakes == [told]


@pytest.mark.parametrize("in_file", [False, True])
def test_variables_that_differ_in_case_only_are_told_with_both_and_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_file: bool
) -> None:
    twins = ["KORE_INBOX_SOURCES__DT__RANK", "KORE_INBOX_SOURCES__dt__RANK"]
    (tmp_path / "conf").mkdir()
    if in_file:
        (tmp_path / "conf" / ".env").write_text("".join(f"{name}=1\n" for name in reversed(twins)))
    else:
        for name in reversed(twins):
            monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError) as error:
        read(tmp_path, "[web]\nport = 'ninety'\n")
    assert error.value.mistakes == [
        f"{' and '.join(twins)}: they differ in case only; keep one of them",
        "web.port: write a whole number",
    ]


@pytest.mark.parametrize("written", ["DT", "dt"])
def test_a_variable_about_a_source_leaves_what_the_file_says_of_it_besides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("KORE_INBOX_SOURCES__DT__RANK", "4")
    monkeypatch.setenv("KORE_INBOX_SOURCES__DT__SILENCE_ALERT_AFTER_BY_API__ORDERS", "1h")
    toml = f'[sources.{written}]\nencoding = "cp1252"\nrank = 1\n'
    toml += f'[sources.{written}.silence_alert_after_by_api]\nORDERS = "2h"\nRMAS = "3h"\n'
    source = read(tmp_path, toml).source("DT")
    assert (source.encoding, source.rank) == ("cp1252", 4)
    assert source.silence_alert_after_by_api == {"ORDERS": 3600, "RMAS": 10800}


@pytest.mark.parametrize(
    ("variable", "says"),
    [("kore_inbox_fpt__port", "there is no such setting"), ("kore_inbox_ftp__port", "write a whole number")],
)
def test_a_mistake_in_a_variable_in_lower_case_is_told_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, says: str
) -> None:
    monkeypatch.setenv(variable, "ninety")
    with pytest.raises(SettingsError) as error:
        read(tmp_path, "")
    assert error.value.mistakes == [f"{variable}: {says}"]
