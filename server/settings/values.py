"""Types of single settings: what each takes, and how a wrong one is told to a person.

A validator raises ValueError with a sentence; which setting it is about, `mistakes` adds.
"""

import inspect
import ipaddress
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from loaders.dates import DateReader
from loaders.options import check_encoding
from server import windows
from server.names import Mode, is_part

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
# Far beyond any use, and near enough for every clock and calendar that is asked for now plus so much.
_LONGEST_DAYS = 3650

_TWO_PORTS = "write the first and the last port, such as [50000, 50100]"

_DRIVERS = {"sqlite": "pysqlite", "mysql": "pymysql", "mariadb": "pymysql"}
# Options of SQLAlchemy that name files, which are opened at each connection.
_FILES = ("ssl_ca", "ssl_cert", "ssl_key")
# Of PyMySQL's options those that take an object, or would have it connect later than it is asked to.
_NO_OPTIONS = {"self", "conv", "cursorclass", "defer_connect", "auth_plugin_map", "server_public_key"}


def _seconds(value: Any) -> Any:
    """`"90s"`, `"15m"`, `"4h"` or `"1d"` in seconds; a plain number is seconds already."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?", value.strip(), re.ASCII)
    if match is None:
        raise ValueError(f"`{value}` is not a duration; write e.g. 90s, 15m, 4h or 1d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _not_for_ever(value: float) -> float:
    if value > _LONGEST_DAYS * _UNITS["d"]:
        raise ValueError(f"it is longer than {_LONGEST_DAYS}d")
    return value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _part(value: str) -> str:
    if not is_part(value):
        raise ValueError(f"`{value}` can be in no file's name; letters, digits and - can, 30 of them")
    return value


def _suffix(value: str) -> str:
    """In lower case, as it is compared (contract N6)."""
    if not re.fullmatch(r"\.[!-.0-~]+", value):
        raise ValueError(f"`{value}` is not an ending such as .tmp")
    if value.lower().endswith(tuple(f".{ending.lower()}" for ending in (*Mode, "FIX"))):
        raise ValueError(f"`{value}` is how whole files end; none would ever be accepted")
    return value.lower()


def _marker(value: str) -> str:
    if value and re.fullmatch(r"\.[A-Za-z0-9]+", value) is None:
        raise ValueError("the ending of a marker's name begins with a dot, e.g. .done")
    if value.lower() in (".net", ".full", ".fix", ".reason"):
        raise ValueError(f"names that end in {value} mean something else")
    return value.lower()


def _window(value: str) -> str:
    windows.parse(value)
    return value


def _path(value: Path) -> Path:
    if not value.name or "\0" in str(value):
        raise ValueError("it is not a path")
    return value


def _host(value: str) -> str:
    try:
        value.encode("idna")
    except UnicodeError:
        raise ValueError(f"`{value}` is neither an address nor the name of a host") from None
    if not value.isprintable():
        raise ValueError(f"{value!r} is neither an address nor the name of a host")
    return value


def _not_blank(value: str) -> str:
    # Python would take every address of the machine for none.
    if not value.strip():
        raise ValueError(
            "it is empty; write an address, such as 127.0.0.1, or 0.0.0.0 for all of this machine"
        )
    return value


def _ipv4_address(value: str) -> str:
    """A reply to PASV has room for four numbers, and nobody looks up a name for it (RFC 959, 4.1.2)."""
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        raise ValueError(f"`{value}` is no IPv4 address, such as 203.0.113.7") from None


def _two(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(_TWO_PORTS)
    return value


def _ascending(value: tuple[int, int]) -> tuple[int, int]:
    first, last = value
    if not 0 < first <= last:
        raise ValueError(_TWO_PORTS)
    return value


def _encoding(value: str) -> str:
    check_encoding(value)
    return value


def _date_format(value: str) -> str:
    DateReader([value])
    return value


def _database_url(value: str) -> str:
    """An URL that a driver of ours can be opened with; whether there is a database, only time tells (A4)."""
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError(
            "not an SQLAlchemy URL, e.g. sqlite:///data/inbox.sqlite; in a password @ is written %40, "
            "a colon %3A, / %2F"
        ) from None
    backend = url.get_backend_name()
    if backend not in _DRIVERS or ("+" in url.drivername and url.get_driver_name() != _DRIVERS[backend]):
        raise ValueError("the database must be sqlite, mysql+pymysql or mariadb+pymysql")
    if not value.isprintable():
        raise ValueError("there is a control character in it")
    if backend == "sqlite":
        _check_sqlite(url)
    else:
        _check_pymysql(url)
    return value


def _check_sqlite(url: URL) -> None:
    if url.database in (None, "", ":memory:"):
        raise ValueError("SQLite needs a file, e.g. sqlite:///data/inbox.sqlite: several processes share it")
    if url.query:
        raise ValueError(f"SQLite takes no option here, such as `{next(iter(url.query))}`")


def _check_pymysql(url: URL) -> None:
    if "+" not in url.drivername:
        raise ValueError(f"write {url.drivername}+pymysql://…; there is no other driver here")
    if not url.database:
        raise ValueError("the schema is missing: mysql+pymysql://user:password@host/schema")
    if not 0 < (url.port or 1) < 65536:
        raise ValueError(f"there is no port {url.port}")
    _host(url.host or "")
    try:
        _, options = url.get_dialect()().create_connect_args(url)
    except ValueError as error:
        raise ValueError(f"an option has a strange value: {error}") from None
    if strange := sorted(options.keys() - _known_options()):
        raise ValueError(f"the driver has no option {', '.join(f'`{name}`' for name in strange)}")
    for name in _FILES:
        path = url.query.get(name)
        if isinstance(path, str) and not Path(path).is_file():
            raise ValueError(f"{name}: there is no file {path}")


def _known_options() -> frozenset[str]:
    from pymysql.connections import Connection  # noqa: PLC0415 - who has SQLite needs none of its 9 MiB

    return frozenset(inspect.signature(Connection.__init__).parameters) - _NO_OPTIONS


def no_database(url: URL) -> str | None:
    """What stands where an SQLite database should be, if it is something else; its path is absolute."""
    if url.get_backend_name() != "sqlite":
        return None
    path = Path(str(url.database))
    if path.is_dir():
        return f"{path} is a folder"
    try:
        # Asked of SQLite: whoever else opens the file and closes it takes this process its locks on it.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        # One that is missing is made; whether the others are there later, only time tells (A4).
        is_another = error.sqlite_errorcode == sqlite3.SQLITE_NOTADB
        return f"{path} is no SQLite database" if is_another else None
    return None


def is_loopback(host: str) -> bool:
    """Whether an address or a name stands for this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Seconds = Annotated[
    float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False), AfterValidator(_not_for_ever)
]
Port = Annotated[int, Field(ge=0, le=65535)]
PortRange = Annotated[tuple[Port, Port], BeforeValidator(_two), AfterValidator(_ascending)]
Host = Annotated[str, AfterValidator(_not_blank), AfterValidator(_host)]
Ipv4Address = Annotated[str, AfterValidator(_ipv4_address)]
FilePath = Annotated[Path, AfterValidator(_path)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
UpperCase = Annotated[str, BeforeValidator(_upper)]
# A source or an integration, as file names are shown (contract N1, N3).
NamePart = Annotated[UpperCase, AfterValidator(_part)]
TemporarySuffix = Annotated[str, AfterValidator(_suffix)]
Marker = Annotated[str, AfterValidator(_marker)]
Hours = Annotated[str, AfterValidator(_window)]
Encoding = Annotated[str, AfterValidator(_encoding)]
DateFormat = Annotated[str, AfterValidator(_date_format)]
