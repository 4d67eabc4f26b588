"""A real mail server that keeps what it gets, on a port of its own.

The port is taken when the server is made, and nothing listens there until it is started: a mail server that
is away, and whose place nobody else can take meanwhile.
"""

import asyncio
import email
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass(frozen=True)
class Got:
    """A letter that was taken."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    secured: bool


class MailServer:
    """Started by `with` or `start`.

    Attributes:
        got: the letters, in order.
        answer_recipient, answer_data: replies other than 250, by recipient and to the letter as a whole.
    """

    def __init__(
        self,
        *,
        context: ssl.SSLContext | None = None,
        implicit: bool = False,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.got: list[Got] = []
        self.answer_recipient: Callable[[str], str] = lambda _: "250 OK"
        self.answer_data: Callable[[], str] = lambda: "250 OK"
        self._context = context
        self._implicit = implicit
        self._login = login
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "MailServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; returns when it does."""
        ready = threading.Event()

        async def serve() -> None:
            self._stop = asyncio.Event()
            listening = self._context if self._implicit else None
            server = await self._loop.create_server(self._session, sock=self._socket, ssl=listening)
            ready.set()
            await self._stop.wait()
            server.close()

        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(serve()))
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """Close the port; what is being taken is cut."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
        self._socket.close()

    def _session(self) -> SMTP:
        options: dict[str, Any] = {}
        if self._context is not None and not self._implicit:
            options |= {"tls_context": self._context, "require_starttls": True}
        if self._login is not None:
            # The library takes only what STARTTLS has secured for secured.
            options |= {"authenticator": self._check, "auth_require_tls": not self._implicit}
        return SMTP(self, loop=self._loop, enable_SMTPUTF8=False, hostname="mail.test", **options)

    def _check(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _kind: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == self._login, handled=False)

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        answer = self.answer_recipient(address)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = self.answer_data()
        if answer.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            message = email.message_from_bytes(content, policy=SMTP_POLICY)
            assert isinstance(message, EmailMessage)
            secured = session.ssl is not None or self._implicit
            self.got.append(Got(envelope.mail_from or "", list(envelope.rcpt_tos), message, secured))
        return answer
