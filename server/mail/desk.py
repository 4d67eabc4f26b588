"""What operators do with mail: try it, and look at what has not been sent."""

from collections.abc import Iterable, Sequence
from typing import Any

from server.database import Database
from server.errors import InboxError, UsageError
from server.ledger import now_utc
from server.mail import queue
from server.mail.courier import connected
from server.mail.letter import From, note
from server.settings.mail import Mail, check_address

_OFF = "Mail is off: [mail] has no host."
_TRIAL = "Mail from this inbox arrives. Nothing is wrong, and there is nothing to do."


def send_trial(mail: Mail, to: Sequence[str]) -> tuple[str, ...]:
    """Send a test letter, by which an operator sees that letters arrive; see `send`."""
    return send(mail, to, "Test", [_TRIAL])


def send(mail: Mail, to: Sequence[str], subject: str, said: Iterable[str]) -> tuple[str, ...]:
    """Send a letter at once, past the queue; returns who has got it.

    Args:
        mail: the settings.
        to: addresses; none for the settings' recipients.
        subject: a word,
        said: and sentences.

    Raises:
        UsageError: mail is off.
        InboxError: the mail server cannot be talked to, or refuses one of them.
    """
    if not mail.is_on:
        raise UsageError(_OFF, todo="Set host, sender and recipients in [mail].")
    try:
        recipients = tuple(map(check_address, to)) or mail.recipients
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    with connected(mail) as courier:
        message = note(From(mail.sender or "", mail.name), recipients, subject, said, now_utc())
        later, never = courier.deliver(message, recipients)
    if refused := {**later, **never}:
        told = "; ".join(f"{address}: {why}" for address, why in refused.items())
        raise InboxError(f"{mail.host} does not take mail for {told}.")
    return recipients


def letters(database: Database, *, everything: bool) -> list[dict[str, Any]]:
    """The queue: what has not been sent, or all letters of the last week."""
    with database.read() as connection:
        return queue.listing(connection, everything=everything)
