"""Settings: `inbox.toml`, `.env` and the environment, read once into frozen values (contract section 9).

The environment beats `.env`, `.env` beats `inbox.toml`. Unknown keys are errors, and all mistakes are told at
once, before a port opens. `conf/inbox.toml` documents every setting; a test compares it with the classes.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import BeforeValidator, ByteSize, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy import URL, make_url

from loaders.options import DEFAULT_LINES, MOST_LINES, SourceOptions
from loaders.shapes import Api
from server import windows
from server.errors import SettingsError, UsageError
from server.sequence import Scope
from server.settings import environment, mistakes
from server.settings.drop_folder import DropFolders
from server.settings.environment import CONF_VARIABLE, PREFIX
from server.settings.ftp import Ftp
from server.settings.mail import Mail
from server.settings.sections import Section
from server.settings.source import Source
from server.settings.spelling import once, spelled
from server.settings.values import (
    DatabaseUrl,
    FilePath,
    Host,
    Hours,
    NamePart,
    Port,
    Seconds,
    TemporarySuffix,
    no_database,
)
from server.windows import ALWAYS, Window


class Database(Section):
    """Where ledger and tables live."""

    url: DatabaseUrl = "sqlite:///data/inbox.sqlite"
    away_alert_after: Seconds = 60


class Inbox(Section):
    """What is received, and where it is kept. Sizes in bytes, or with a unit (`"2 GB"`)."""

    spool: FilePath = Path("data/spool")
    integrations: tuple[NamePart, ...] = ()
    temporary_suffixes: tuple[TemporarySuffix, ...] = (".tmp", ".part", ".filepart")
    min_free_disk: ByteSize = ByteSize(500_000_000)
    disk_alert_below: ByteSize = ByteSize(1_000_000_000)
    max_file_size: ByteSize = ByteSize(4_000_000_000)
    refused_quota: ByteSize = ByteSize(200_000_000)
    retention: Seconds = 90 * 86400


class Sequence(Section):
    """How numbers are counted, and when a gap is told of."""

    scope: Scope = Scope.SOURCE
    gap_alert_after: Seconds = 900
    gap_give_up_after: Seconds | None = None


class Dispatch(Section):
    """When a load begins."""

    settle: Annotated[Seconds, Field(le=3600)] = 0.2
    full_window: Hours = ALWAYS
    on_quarantine: Literal["continue", "wait"] = "continue"
    backlog_alert_after: Seconds = 1800


class Load(Section):
    """What a load tolerates."""

    max_rejected: Annotated[int, Field(ge=0)] = 1000
    full_shrink_limit: Annotated[float, Field(ge=0, le=100)] = 20
    max_lines: Annotated[int, Field(ge=1, le=MOST_LINES)] = DEFAULT_LINES
    park_alert_after: Seconds = 86400


class Catalog(Section):
    """What the site changes of the APIs: a folder of TOML files."""

    folder: FilePath | None = None


class Web(Section):
    """The status page."""

    host: Host = "127.0.0.1"
    port: Port = 8021


class Log(Section):
    """What is written to standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Settings(BaseSettings):
    """All settings; paths in them are absolute."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter=environment.DELIMITER,
        env_file_encoding="utf-8",
    )

    database: Database = Database()
    ftp: Ftp = Ftp()
    inbox: Inbox = Inbox()
    sequence: Sequence = Sequence()
    dispatch: Dispatch = Dispatch()
    load: Load = Load()
    catalog: Catalog = Catalog()
    sources: Annotated[dict[NamePart, Source], BeforeValidator(once(str.upper))] = {}
    mail: Mail = Mail()
    drop_folder: DropFolders = DropFolders()
    web: Web = Web()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the parameters are pydantic's
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment, then `.env`, then `inbox.toml`, which comes as the constructor's arguments."""
        env_file = cast("DotEnvSettingsSource", dotenv_settings).env_file
        return (
            environment.Variables(settings_cls),
            environment.FileVariables(settings_cls, env_file),
            init_settings,
        )

    def source(self, name: str) -> Source:
        """The settings of one source, defaults where it has none."""
        return self.sources.get(name, _DEFAULT_SOURCE)

    def window(self, source: str) -> Window | None:
        """The hours in which FULL files of a source load; None for all."""
        of = self.source(source).full_window
        return windows.parse(self.dispatch.full_window if of is None else of)

    def reading(self, source: str) -> SourceOptions:
        """How the files of a source are to be read."""
        of = self.source(source)
        return SourceOptions(
            encoding=of.encoding,
            trim=of.trim,
            ragged=of.ragged,
            date_formats=of.date_formats,
            decimal_comma=of.decimal_comma,
            thousands=of.thousands,
            max_lines=self.load.max_lines,
        )

    def max_rejected(self, api: Api) -> int:
        """How many rows of a file of an API may be refused before the whole file is (contract L4)."""
        return self.load.max_rejected if api.max_rejected is None else api.max_rejected

    @property
    def database_url(self) -> URL:
        """The database as SQLAlchemy takes it."""
        return make_url(self.database.url)


_DEFAULT_SOURCE = Source()


def conf_folder(option: Path | None) -> Path:
    """The settings folder: the option, else `KORE_INBOX_CONF`, else `./conf`."""
    return (option or Path(os.environ.get(CONF_VARIABLE) or "conf")).resolve()


def must_exist(conf: Path) -> Path:
    """The settings folder itself.

    Raises:
        UsageError: there is none; an inbox of defaults alone is not what anyone means by a mistyped name.
    """
    if not conf.is_dir():
        raise UsageError(
            f"There is no settings folder {conf}.",
            todo=f"Make it with `kore-inbox init {conf}`, or name another with --conf or {CONF_VARIABLE}.",
        )
    return conf


def load_settings(conf: Path) -> Settings:
    """Read and check the settings of a folder; what is not set has its default.

    Raises:
        UsageError: there is no such folder.
        SettingsError: with every mistake that was found.
    """
    must_exist(conf)
    toml = conf / "inbox.toml"
    try:
        given = tomllib.loads(toml.read_text("utf-8")) if toml.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{toml.name}: {error}"]) from None
    env = conf / ".env"
    wrong = [f"{name}: there is no such setting" for name in environment.unknown(Settings.model_fields)]
    wrong += [
        f"{' and '.join(names)}: they differ in case only; keep one of them"
        for names in environment.twins(env)
    ]
    try:
        settings = Settings(_env_file=env, **spelled(given))  # type: ignore[call-arg] # pydantic-settings' own
    except ValidationError as error:
        wrong += mistakes.tell(error, environment.names(env))
    if wrong:
        raise SettingsError(wrong)
    settings = _absolute(settings, conf.parent)
    if (strange := no_database(settings.database_url)) is not None:
        raise SettingsError([f"database.url: {strange}"])
    return settings


def _absolute(settings: Settings, base: Path) -> Settings:
    url = settings.database_url
    if url.get_backend_name() == "sqlite":
        url = url.set(database=str(base / str(url.database)))
    database = settings.database.model_copy(update={"url": url.render_as_string(hide_password=False)})
    inbox = settings.inbox.model_copy(update={"spool": base / settings.inbox.spool})
    folder = settings.catalog.folder
    catalog = Catalog(folder=None if folder is None else base / folder)
    files = {name: getattr(settings.ftp, name) for name in ("certificate", "key")}
    ftp = settings.ftp.model_copy(update={name: path and base / path for name, path in files.items()})
    trusted = settings.mail.ca_file
    mail = settings.mail.model_copy(update={"ca_file": trusted and base / trusted})
    folders = {base / folder: sources for folder, sources in settings.drop_folder.folders.items()}
    drop = settings.drop_folder.model_copy(update={"folders": folders})
    changed = {
        "database": database,
        "ftp": ftp,
        "inbox": inbox,
        "catalog": catalog,
        "mail": mail,
        "drop_folder": drop,
    }
    return settings.model_copy(update=changed)
