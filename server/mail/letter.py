"""A letter's words and headers, ready to be sent (RFC 5322). Pure text.

Nothing that came from outside can forge a header, a line or a tag (contract X4): control characters are
escaped everywhere, and what HTML gives a meaning to in the HTML part. Times are UTC.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from server.mail import markup
from server.mail.enclosure import Enclosure
from server.mail.plan import Planned, Purpose, Told
from server.process import escaped
from server.wording import counted

# All bytes are ASCII, whatever the mail server can take.
_POLICY = SMTP.clone(cte_type="7bit")

# So many incidents a digest speaks of in full.
MOST_TOLD = 50
# Mail programs follow a thread by its first letters.
_MOST_REFERENCES = 20
LONGEST_SUBJECT = 120

_HEADINGS: tuple[tuple[str, Callable[[Told], bool]], ...] = (
    ("New", lambda incident: not incident.told and not incident.is_over),
    ("Seen again", lambda incident: incident.told > 0 and not incident.is_over),
    ("Over", lambda incident: incident.is_over),
)


@dataclass(frozen=True)
class From:
    """Whose letters they are: an address, and the inbox's name, which subjects begin with."""

    address: str
    name: str


@dataclass(frozen=True)
class Letter:
    """What goes into the queue: `message` is all of it, in ASCII."""

    message_id: str
    subject: str
    message: bytes
    planned: Planned


def write(planned: Planned, sender: From, now: datetime, enclosure: Enclosure | None = None) -> Letter:
    """Write a letter.

    Args:
        planned: for whom, and about what.
        sender: whose it is.
        now: UTC; its date.
        enclosure: what goes with it.
    """
    subject = _subject(planned)
    message = _envelope(sender, planned.recipients, subject, now)
    message_id = _message_id(planned, sender, now)
    message["Message-ID"] = message_id
    if planned.purpose is not Purpose.OPENED:
        known = [opened_id(incident, sender) for incident in planned.about if incident.told]
        if known:
            message["In-Reply-To"] = known[0]
            message["References"] = " ".join(known[:_MOST_REFERENCES])
    if planned.purpose is Purpose.DIGEST:
        parts = [
            (f"{title} ({len(those)})", those)
            for title, belongs in _HEADINGS
            if (those := [incident for incident in planned.about[:MOST_TOLD] if belongs(incident)])
        ]
    else:
        parts = [("", list(planned.about))]
    more = len(planned.about) - MOST_TOLD
    closing = f"And {counted(more, 'more exception')}: `kore-inbox exceptions --all`." if more > 0 else ""
    message.set_content("\n".join(_text(subject, parts, enclosure, closing)) + "\n")
    message.add_alternative(markup.page(subject, parts, enclosure, closing, sender.name), subtype="html")
    if enclosure is not None:
        message.add_attachment(
            enclosure.content,
            maintype="text",
            subtype="tab-separated-values",
            params={"charset": enclosure.charset},
            filename=enclosure.name,
        )
    return Letter(message_id, subject, message.as_bytes(), planned)


def note(
    sender: From, recipients: tuple[str, ...], subject: str, said: Iterable[str], now: datetime
) -> bytes:
    """A letter that is about no exception: a test, a report; `said` are its sentences, one a line."""
    kind = subject.lower()
    text = "\n".join(map(escaped, said))
    message = _envelope(sender, recipients, subject, now)
    message["Message-ID"] = f"<{_digest(kind, *recipients, now.isoformat())}.{kind}@{_domain(sender)}>"
    message.set_content(f"{text}\n")
    message.add_alternative(markup.page(subject, [], None, text, sender.name), subtype="html")
    return message.as_bytes()


def opened_id(incident: Told, sender: From) -> str:
    """The Message-ID of the first letter about an incident, to which later ones refer."""
    return f"<{_incident_digest(incident)}.{Purpose.OPENED}@{_domain(sender)}>"


def _message_id(planned: Planned, sender: From, now: datetime) -> str:
    if planned.purpose is Purpose.DIGEST:
        return f"<{_digest(*planned.recipients, now.isoformat())}.{Purpose.DIGEST}@{_domain(sender)}>"
    return f"<{_incident_digest(planned.about[0])}.{planned.purpose}@{_domain(sender)}>"


def _incident_digest(incident: Told) -> str:
    return _digest(incident.kind, incident.subject, incident.first_seen.isoformat())


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _domain(sender: From) -> str:
    return sender.address.rpartition("@")[2]


def _envelope(sender: From, recipients: tuple[str, ...], subject: str, now: datetime) -> EmailMessage:
    message = EmailMessage(policy=_POLICY)
    message["From"] = Address(sender.name, addr_spec=sender.address)
    message["To"] = [Address(addr_spec=recipient) for recipient in recipients]
    message["Subject"] = f"[{sender.name}] {subject}"
    message["Date"] = format_datetime(now.replace(tzinfo=UTC))
    # No answers by absent people's programs (RFC 3834, and what Exchange goes by).
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    return message


def _subject(planned: Planned) -> str:
    if planned.purpose is Purpose.DIGEST:
        return f"Digest: {counted(len(planned.about), 'exception')}"
    incident = planned.about[0]
    about = escaped(f"{incident.kind}: {incident.subject}")
    cut = about if len(about) <= LONGEST_SUBJECT else f"{about[:LONGEST_SUBJECT]}…"
    return f"Over: {cut}" if incident.is_over else cut


def _text(
    heading: str, parts: list[tuple[str, list[Told]]], enclosure: Enclosure | None, closing: str
) -> Iterator[str]:
    yield heading
    for title, incidents in parts:
        if title:
            yield from ("", f"== {title} ==")
        for incident in incidents:
            if title:
                yield from ("", escaped(f"{incident.kind}: {incident.subject}"))
            yield ""
            for label, value in markup.facts(incident):
                yield f"{label + ':':<11} {escaped(value)}"
    if enclosure is not None:
        yield from ("", escaped(str(enclosure)))
        yield from (escaped(f"  {place}: {reason}") for place, reason, _ in enclosure.sample)
    if closing:
        yield from ("", closing)
