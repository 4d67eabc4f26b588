"""One connection to the mail server, by which letters go out (RFC 5321).

What the server says of a single recipient or letter is told apart by its code: 5xx is for good, 4xx passes.
All else, a wrong password too, is nothing that a letter should be lost for: the server is then unreachable.
"""

import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from server.errors import TemporaryFault
from server.settings.mail import Mail, Security

_PORTS = {Security.STARTTLS: 587, Security.TLS: 465, Security.NONE: 25}
_TOO_LARGE = 552


# Who is to be tried again, and who will never get it, each with the server's reason.
Refusals = tuple[dict[str, str], dict[str, str]]


class Unreachable(TemporaryFault):
    """The mail server cannot be talked to, or does not let us in."""


class Courier:
    """An open connection to the mail server; see `connected`."""

    def __init__(self, server: smtplib.SMTP, sender: str) -> None:
        self._server = server
        self._sender = sender

    def deliver(self, message: bytes, recipients: Sequence[str]) -> Refusals:
        """Hand over a letter; who is not named in the answer has got it.

        Args:
            message: in ASCII, with CRLF.
            recipients: addresses.

        Raises:
            Unreachable: nobody has got it, as far as one can know.
        """
        try:
            refused = self._server.sendmail(self._sender, recipients, message)
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        except smtplib.SMTPDataError as error:
            refused = dict.fromkeys(recipients, _code_and_text(error))
        except smtplib.SMTPSenderRefused as error:
            if error.smtp_code != _TOO_LARGE:
                raise Unreachable(_sentence(error)) from error
            refused = dict.fromkeys(recipients, _code_and_text(error))
        except (smtplib.SMTPException, OSError) as error:
            raise Unreachable(_sentence(error)) from error
        reasons = {address: (code, _reply(code, text)) for address, (code, text) in refused.items()}
        later = {address: why for address, (code, why) in reasons.items() if code < 500}
        never = {address: why for address, (code, why) in reasons.items() if code >= 500}
        return later, never


@contextmanager
def connected(settings: Mail) -> Iterator[Courier]:
    """A connection to the mail server of the settings.

    Raises:
        Unreachable: why there is none.
    """
    server: smtplib.SMTP | None = None
    try:
        server = _open(settings)
    except (smtplib.SMTPException, OSError) as error:
        raise Unreachable(f"{settings.host}: {_sentence(error)}", todo=_hint(settings, error)) from error
    try:
        yield Courier(server, settings.sender or "")
    finally:
        # The letters are delivered or not; nothing that a server says to a farewell changes it.
        with suppress(smtplib.SMTPException, OSError):
            server.quit()
        server.close()


def _open(settings: Mail) -> smtplib.SMTP:
    host, port = settings.host or "", settings.port or _PORTS[settings.security]
    # Without a name of ours the library asks the DNS for one, which may take long.
    ours, timeout = socket.gethostname(), settings.timeout
    if settings.security is Security.TLS:
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, ours, timeout=timeout, context=_trust(settings))
    else:
        server = smtplib.SMTP(host, port, ours, timeout=timeout)
    try:
        if settings.security is Security.STARTTLS:
            server.starttls(context=_trust(settings))
        if settings.username is not None and settings.password is not None:
            server.login(settings.username, settings.password.get_secret_value())
    except BaseException:
        server.close()
        raise
    return server


def _trust(settings: Mail) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.ca_file)


def _code_and_text(error: smtplib.SMTPResponseException) -> tuple[int, bytes]:
    text = error.smtp_error
    return error.smtp_code, text if isinstance(text, bytes) else text.encode()


def _reply(code: int, text: bytes) -> str:
    return f"{code} {' '.join(text.decode('utf-8', 'replace').split())}"


def _sentence(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{_reply(*_code_and_text(error))}."
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}."
    if isinstance(error, TimeoutError):
        return "no answer in time."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    return f"{str(error).rstrip('.') or type(error).__name__}."


def _hint(settings: Mail, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "Name the certificate of whoever vouches for it in [mail] ca_file."
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "See [mail] username, and KORE_INBOX_MAIL__PASSWORD in .env."
    return f'See [mail] host, port and security (now "{settings.security}").'
