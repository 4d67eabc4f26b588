"""The certificate of FTPS: read, checked, taken anew when its files change (contract X2).

Connections are secured with the standard library's `ssl`: of what Python offers, it alone can leave out the
session tickets that TLS 1.3 sends after a handshake (see `ftp.secured`). `cryptography` only reads and makes
certificates; it is imported there, as without TLS nobody needs its 9 MiB.
"""

import logging
import os
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from server.errors import SettingsError
from server.settings.ftp import Ftp, Tls

log = logging.getLogger("server.ftp")

# An expiry is warned of so long ahead.
WARNING = timedelta(days=30)

# For trials; what clients of others rely on comes from an authority and is renewed by a program.
_SELF_SIGNED = timedelta(days=365)


@dataclass(frozen=True)
class Pair:
    """A certificate (with those that vouch for it) and its private key, both in PEM form."""

    certificate: Path
    key: Path

    @classmethod
    def of(cls, settings: Ftp) -> "Pair | None":
        """What the settings name; None without TLS. A key that is not named is in the certificate's file."""
        if settings.tls is Tls.OFF or settings.certificate is None:
            return None
        return cls(settings.certificate, settings.key or settings.certificate)

    def expires(self) -> datetime:
        """Until when the certificate is valid, in UTC.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no certificate.
        """
        from cryptography import x509  # noqa: PLC0415 - see above

        return x509.load_pem_x509_certificates(self.certificate.read_bytes())[0].not_valid_after_utc

    def context(self) -> ssl.SSLContext:
        """A server's side of TLS 1.2 or later.

        Raises:
            SettingsError: the two cannot be used, and why.
        """
        mistakes = self._mistakes()
        if mistakes:
            raise SettingsError(mistakes)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        # With this option, which Python has set at times, a cut connection would look like a whole one (A5).
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        try:
            # OpenSSL would ask for a passphrase at the terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ValueError) as error:
            raise SettingsError([f"ftp.certificate: {self.certificate}: {_why(error)}"]) from error
        return context

    def client_context(self) -> ssl.SSLContext:
        """A client's side that trusts this certificate, whoever vouches for it, and no other.

        Raises:
            SettingsError: it cannot be used, and why.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The server is known by its very certificate, and is spoken to under the address that it listens on.
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(self.certificate)
        except OSError as error:
            raise SettingsError([f"ftp.certificate: {self.certificate}: {_why(error)}"]) from error
        return context

    def _mistakes(self) -> list[str]:
        """What is wrong with either file."""
        from cryptography import x509  # noqa: PLC0415
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

        found = []
        certificate = key = None
        try:
            certificate = x509.load_pem_x509_certificates(self.certificate.read_bytes())[0]
        except OSError as error:
            found.append(f"ftp.certificate: {self.certificate}: {error.strerror}")
        except ValueError:
            found.append(f"ftp.certificate: {self.certificate} holds no certificate in PEM form")
        try:
            key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        except OSError as error:
            found.append(f"ftp.key: {self.key}: {error.strerror}")
        except TypeError:
            found.append(f"ftp.key: {self.key} has a passphrase; give a key without one")
        except ValueError:
            found.append(f"ftp.key: {self.key} holds no private key in PEM form")
        if certificate and key and certificate.public_key() != key.public_key():
            found.append(f"ftp.key: {self.key} is not the key of {self.certificate}")
        return found


class Certificate:
    """A pair in use.

    Raises:
        SettingsError: it cannot be used; later, what replaces it is only told of, and the old one stays.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._stamp = self._look()
        self._context = pair.context()
        self._expires = pair.expires()
        self.warn()

    def context(self) -> ssl.SSLContext:
        """The side of TLS for a new session, of the pair as it is on disk now."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context, self._expires = self._pair.context(), self._pair.expires()
            except (SettingsError, OSError, ValueError) as error:
                why = "; ".join(error.mistakes) if isinstance(error, SettingsError) else str(error)
                log.error("the new certificate is not used, the old one stays: %s", why, extra=_TLS)
            else:
                log.info("%s was renewed", self._pair.certificate, extra=_TLS)
                self.warn()
        return self._context

    def warn(self) -> None:
        """Log until when it is valid, as a warning if that is soon."""
        sentence = expiry(self._expires, datetime.now(UTC))
        if sentence is None:
            log.info("%s is valid until %s", self._pair.certificate, f"{self._expires:%Y-%m-%d}", extra=_TLS)
        else:
            log.warning("%s %s", self._pair.certificate, sentence, extra=_TLS)

    def _look(self) -> list[tuple[int, int, int] | None]:
        """What changes when a file is written or replaced."""
        return [_stamp(self._pair.certificate), _stamp(self._pair.key)]


_TLS = {"action": "tls"}


def expiry(expires: datetime, now: datetime) -> str | None:
    """What to say of a certificate that is valid no longer, or soon will be so; None while there is time."""
    left = expires - now
    if left < timedelta(0):
        return f"expired on {expires:%Y-%m-%d}; clients will refuse it, renew it"
    if left < WARNING:
        return f"expires on {expires:%Y-%m-%d}, in {left.days} days; renew it"
    return None


def make_self_signed(certificate: Path, key: Path, now: datetime) -> list[Path]:
    """Make a certificate for this machine that vouches for itself; returns what was made.

    Nothing is overwritten: where one of the two exists none is made.

    Raises:
        OSError: the folder cannot be written.
    """
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    if certificate.exists() or key.exists():
        return []
    host = socket.gethostname()
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    names = [x509.DNSName(host), x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + _SELF_SIGNED)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = secret.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for path, text, mode in ((key, private, 0o600), (certificate, signed.public_bytes(encoding), 0o644)):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as handle:  # noqa: PTH123
            handle.write(text)
    return [certificate, key]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _why(error: Exception) -> str:
    """OpenSSL's reason, as a sentence's end."""
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else str(error)
