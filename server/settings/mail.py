"""The section `[mail]`: who hears of incidents, and by which mail server."""

import email.headerregistry
from email.errors import HeaderParseError
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, ByteSize, Field, SecretStr, ValidationInfo, field_validator

from server.kinds import Kind
from server.settings.environment import PREFIX
from server.settings.sections import Section
from server.settings.values import FilePath, NamePart, Port, Seconds, is_loopback


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


class Route(Section):
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


class Mail(Section):
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
        if in_clear and host is not None and not is_loopback(host):
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
