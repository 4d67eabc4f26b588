"""Settings: `inbox.toml`, `.env` and the environment, read once into frozen values (contract section 9).

The environment beats `.env`, `.env` beats `inbox.toml`. Unknown keys are errors, and all mistakes are told at
once, before a port opens. `conf/inbox.toml` documents every setting; a test compares it with the classes.
"""

import email.headerregistry
import ipaddress
import os
import tomllib
from email.errors import HeaderParseError
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy import URL, make_url

from loaders.numbers import Notation
from loaders.options import (
    DATE_FORMATS,
    DEFAULT_LINES,
    MOST_LINES,
    SourceOptions,
)
from loaders.shapes import Api
from server import windows
from server.errors import SettingsError, UsageError
from server.kinds import Kind
from server.sequence import Scope
from server.setting_types import (
    DatabaseUrl,
    DateFormat,
    Encoding,
    FilePath,
    Host,
    Hours,
    Ipv4Address,
    Marker,
    NamePart,
    Port,
    PortRange,
    Seconds,
    TemporarySuffix,
    UpperCase,
    no_database,
)
from server.settings import environment, mistakes
from server.settings.environment import CONF_VARIABLE, PREFIX
from server.windows import ALWAYS, Window

# What the ledger can hold.
MOST_RANK = 2_147_483_647


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def check_address(value: str) -> str:
    """An address and nothing else, so that no header can be forged by it.

    Raises:
        ValueError: it is none.
    """
    try:
        address = email.headerregistry.Address(addr_spec=value)
    except (ValueError, HeaderParseError):
        address = None
    if address is None or not address.domain or not value.isascii() or not value.isprintable():
        raise ValueError(f"`{value}` is not a mail address in ASCII, e.g. ops@example.com")
    return value


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("control characters are not allowed")
    return value


Address = Annotated[str, AfterValidator(check_address)]


class Database(_Section):
    """Where ledger and tables live."""

    url: DatabaseUrl = "sqlite:///data/inbox.sqlite"
    away_alert_after: Seconds = 60


class Tls(StrEnum):
    """Whether connections are secured (contract X2); `implicit`: from the first byte, without a command."""

    OFF = "off"
    ALLOWED = "allowed"
    REQUIRED = "required"
    IMPLICIT = "implicit"


class Ftp(_Section):
    """The FTP server. `port` 0 takes a free one; `passive_ports` is empty or first and last."""

    host: Host = "127.0.0.1"
    port: Port = 2121
    passive_ports: PortRange | None = None
    masquerade_address: Ipv4Address | None = None
    tls: Tls = Tls.OFF
    # Checked when left out too, as they depend on what comes before them.
    certificate: Annotated[FilePath | None, Field(validate_default=True)] = None
    key: FilePath | None = None
    allow_plaintext: Annotated[bool, Field(validate_default=True)] = False
    max_connections: Annotated[int, Field(ge=1)] = 512
    max_connections_per_ip: Annotated[int, Field(ge=1)] = 64
    idle_timeout: Seconds = 300
    aliases: tuple[str, ...] = ("/inbox", "/ks_data")

    @field_validator("aliases")
    @classmethod
    def _answers_are_elsewhere(cls, aliases: tuple[str, ...]) -> tuple[str, ...]:
        if any("acks" in alias.lower().split("/") for alias in aliases):
            raise ValueError("`acks` is the folder of the answers to senders")
        return aliases

    @field_validator("certificate")
    @classmethod
    def _tls_has_a_certificate(cls, certificate: Path | None, info: ValidationInfo) -> Path | None:
        if certificate is None and info.data.get("tls", Tls.OFF) is not Tls.OFF:
            raise ValueError("TLS needs one; `kore-inbox init --self-signed` makes one for trials")
        return certificate

    @field_validator("allow_plaintext")
    @classmethod
    def _no_secrets_in_clear(cls, allowed: bool, info: ValidationInfo) -> bool:
        host = info.data.get("host")
        in_clear = info.data.get("tls") is Tls.OFF
        if in_clear and not allowed and host is not None and not _is_loopback(host):
            raise ValueError(
                f"passwords would cross the network in clear when listening on {host}; "
                'set tls = "required", listen on 127.0.0.1, or set allow_plaintext = true'
            )
        return allowed


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Inbox(_Section):
    """What is received, and where it is kept. Sizes in bytes, or with a unit (`"2 GB"`)."""

    spool: FilePath = Path("data/spool")
    integrations: tuple[NamePart, ...] = ()
    temporary_suffixes: tuple[TemporarySuffix, ...] = (".tmp", ".part", ".filepart")
    min_free_disk: ByteSize = ByteSize(500_000_000)
    disk_alert_below: ByteSize = ByteSize(1_000_000_000)
    max_file_size: ByteSize = ByteSize(4_000_000_000)
    refused_quota: ByteSize = ByteSize(200_000_000)
    retention: Seconds = 90 * 86400


class Sequence(_Section):
    """How numbers are counted, and when a gap is told of."""

    scope: Scope = Scope.SOURCE
    gap_alert_after: Seconds = 900
    gap_give_up_after: Seconds | None = None


class Dispatch(_Section):
    """When a load begins."""

    settle: Annotated[Seconds, Field(le=3600)] = 0.2
    full_window: Hours = ALWAYS
    on_quarantine: Literal["continue", "wait"] = "continue"
    backlog_alert_after: Seconds = 1800


class Load(_Section):
    """What a load tolerates."""

    max_rejected: Annotated[int, Field(ge=0)] = 1000
    full_shrink_limit: Annotated[float, Field(ge=0, le=100)] = 20
    max_lines: Annotated[int, Field(ge=1, le=MOST_LINES)] = DEFAULT_LINES
    park_alert_after: Seconds = 86400


class Catalog(_Section):
    """What the site changes of the APIs: a folder of TOML files."""

    folder: FilePath | None = None


class Source(_Section):
    """What differs by source. The source with the higher `rank` wins where two write the same row.

    Without one its rank is its place in the order in which the streams first appeared, from 1 (L7.1).
    """

    encoding: Encoding = "utf-8"
    date_formats: Annotated[tuple[DateFormat, ...], Field(min_length=1)] = DATE_FORMATS
    decimal_comma: bool = False
    thousands: str = ""
    trim: bool = False
    ragged: bool = False
    full_window: Hours | None = None
    rank: Annotated[int, Field(ge=-MOST_RANK, le=MOST_RANK)] | None = None
    silence_alert_after: Seconds | None = None
    silence_alert_after_by_api: dict[UpperCase, Seconds] = {}

    def silence_limits(self) -> dict[str | None, float]:
        """How many seconds it may be silent, by API; None stands for all of it."""
        limits: dict[str | None, float] = dict(self.silence_alert_after_by_api.items())
        if self.silence_alert_after is not None:
            limits[None] = self.silence_alert_after
        return limits

    @field_validator("thousands")
    @classmethod
    def _separates_thousands(cls, thousands: str, info: ValidationInfo) -> str:
        Notation(decimal_comma=info.data.get("decimal_comma", False), thousands=thousands)
        return thousands


class Route(_Section):
    """Who gets the mail about some incidents; what is empty does not matter."""

    sources: tuple[NamePart, ...] = ()
    kinds: tuple[Kind, ...] = ()
    to: Annotated[tuple[Address, ...], Field(min_length=1)]

    def takes(self, kind: str, source: str | None) -> bool:
        """Whether it is for an incident of that kind and source."""
        return (not self.kinds or kind in self.kinds) and (not self.sources or source in self.sources)


class Security(StrEnum):
    """How the connection to the mail server is secured; `tls` from the first byte, `starttls` by command."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class Mail(_Section):
    """Mail about incidents (contract E2); without a host there is none."""

    host: str | None = None
    # Those that stand for a choice are checked when left out too, and after what they depend on.
    security: Security = Security.STARTTLS
    port: Port | None = None
    ca_file: FilePath | None = None
    username: str | None = None
    password: Annotated[SecretStr | None, Field(validate_default=True)] = None
    sender: Annotated[Address | None, Field(validate_default=True)] = None
    name: Annotated[str, AfterValidator(_one_line)] = "kore-inbox"
    route: tuple[Route, ...] = ()
    recipients: Annotated[tuple[Address, ...], Field(validate_default=True)] = ()
    digest_interval: Seconds = 3600
    attach_at_most: ByteSize = ByteSize(1_000_000)
    timeout: Annotated[Seconds, Field(gt=0)] = 30

    @property
    def is_on(self) -> bool:
        """Whether mail is sent at all."""
        return self.host is not None

    def to(self, kind: str, source: str | None) -> tuple[str, ...]:
        """Who gets the mail about an incident: all of the routes that take it, else `recipients`."""
        routed = [address for route in self.route if route.takes(kind, source) for address in route.to]
        return tuple(dict.fromkeys(routed or self.recipients))

    @field_validator("password")
    @classmethod
    def _login_is_whole_and_not_in_clear(
        cls, password: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        username, host = info.data.get("username"), info.data.get("host")
        if (username is None) != (password is None):
            raise ValueError(f"a login has username and password (put {PREFIX}MAIL__PASSWORD into .env)")
        if username is None or password is None:
            return password
        if not (username + password.get_secret_value()).isascii():
            raise ValueError("a login by SMTP is in ASCII")
        in_clear = info.data.get("security") is Security.NONE
        if in_clear and host is not None and not _is_loopback(host):
            raise ValueError(
                f'it would cross the network in clear to {host}; set security = "starttls" or "tls"'
            )
        return password

    @field_validator("sender")
    @classmethod
    def _mail_has_a_sender(cls, sender: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("host") is not None and sender is None:
            raise ValueError("mail needs a sender's address, as the mail server takes it")
        return sender

    @field_validator("recipients")
    @classmethod
    def _mail_has_recipients(cls, recipients: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("host") is not None and not recipients:
            raise ValueError("mail needs recipients for what no [[mail.route]] takes")
        return recipients


class DropFolders(_Section):
    """Folders in which senders leave files, by folder the sources that may; often on a network share."""

    folders: dict[FilePath, Annotated[tuple[NamePart, ...], Field(min_length=1)]] = {}
    scan_interval: Annotated[Seconds, Field(gt=0)] = 5
    stable_for: Seconds = 10
    marker: Marker = ""
    originals: Literal["move", "delete"] = "move"


class Web(_Section):
    """The status page."""

    host: Host = "127.0.0.1"
    port: Port = 8021


class Log(_Section):
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
    sources: dict[NamePart, Source] = {}
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
    try:
        settings = Settings(_env_file=env, **given)  # type: ignore[call-arg] # pydantic-settings' own
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
