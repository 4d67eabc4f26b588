"""The section `[ftp]`: where the inbox listens, and how connections are secured."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from server.settings.sections import Section
from server.settings.values import FilePath, Host, Ipv4Address, Port, PortRange, Seconds, is_loopback


class Tls(StrEnum):
    """Whether connections are secured (contract X2); `implicit`: from the first byte, without a command."""

    OFF = "off"
    ALLOWED = "allowed"
    REQUIRED = "required"
    IMPLICIT = "implicit"


class Ftp(Section):
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
        if in_clear and not allowed and host is not None and not is_loopback(host):
            raise ValueError(
                f"passwords would cross the network in clear when listening on {host}; "
                'set tls = "required", listen on 127.0.0.1, or set allow_plaintext = true'
            )
        return allowed
