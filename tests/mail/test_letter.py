"""A letter says what is said, to a mail program and in a browser, and nothing in it is taken for more."""

import email
import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from loaders import corrections
from loaders.options import SourceOptions
from loaders.rejects import Reject
from server.mail.enclosure import Enclosure, pack
from server.mail.letter import From, opened_id, write
from server.mail.plan import Planned, Purpose, Told
from server.process import escaped

NOW = datetime.fromisoformat("2026-03-01T12:00:00.000005")
SENDER = From("inbox@example.com", "kore-inbox Köln")
OPS = ("ops@example.com", "b@example.com")
ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=200)


def _told(
    subject: str = "DT_0000001_KS_CATEGORY.NET", happened: str = "It happened.", **more: object
) -> Told:
    facts = {"kept": "Kept.", "todo": "See `kore-inbox rejects 1`.", "first_seen": NOW, "last_seen": NOW}
    return Told("rejected rows", subject, happened, **(facts | more))  # type: ignore[arg-type] # by name


def _read(planned: Planned, enclosure: Enclosure | None = None) -> EmailMessage:
    sent = write(planned, SENDER, NOW, enclosure).message
    assert sent.isascii()
    assert b"\n" not in sent.replace(b"\r\n", b"")
    assert max(map(len, sent.split(b"\r\n"))) <= 998, "RFC 5322, section 2.1.1"
    message = email.message_from_bytes(sent, policy=SMTP)
    assert isinstance(message, EmailMessage)
    return message


def _part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content())


class _Words(HTMLParser):
    """What a browser shows, and by which tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [
            value or "" for name, value in attrs if name in ("src", "href", "background", "action")
        ]

    def handle_data(self, data: str) -> None:
        self.words += data


@settings(max_examples=60)
@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_nothing_that_came_from_outside_forges_a_header_a_line_or_a_tag(
    subject: str, happened: str, row: str
) -> None:
    """X4."""
    rejects = [Reject(2, "Category ID", happened, row)]
    enclosure = pack(1, "DT_0000001_KS_CATEGORY.NET", rejects, total=1, codec="utf-8", limit_bytes=10**6)
    message = _read(Planned(Purpose.OPENED, OPS, (_told(subject, happened),)), enclosure)
    assert message["To"] == "ops@example.com, b@example.com"
    assert set(message.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"),
        *("Auto-Submitted", "X-Auto-Response-Suppress"),
    }
    shown = escaped(f"rejected rows: {subject}")
    said = message["Subject"].removeprefix(f"[{SENDER.name}] ")
    assert said == shown or (said.endswith("…") and shown.startswith(said[:-1]))
    text = _part(message, "plain")
    assert f"{'Happened:':<11} {escaped(happened)}" in text.splitlines()
    html = _Words()
    html.feed(_part(message, "html"))
    assert html.tags <= {
        *("html", "head", "meta", "title", "body", "div", "h1", "p", "code"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td"),
    }
    assert html.links == [], "nothing is loaded from elsewhere"
    assert escaped(happened).replace("`", "") in html.words.replace("`", "")


def test_headers_say_who_when_and_that_a_program_wrote_it() -> None:
    message = _read(Planned(Purpose.OPENED, OPS, (_told(),)))
    assert message["From"] == "kore-inbox Köln <inbox@example.com>"
    assert message["Date"].datetime == NOW.replace(microsecond=0, tzinfo=UTC)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == opened_id(_told(), SENDER)
    assert message["In-Reply-To"] is None


def test_what_is_over_and_what_goes_on_answers_the_first_letter() -> None:
    first = _told(told=1)
    over = _told(told=1, closed_at=NOW + timedelta(hours=1, minutes=5))
    said = _read(Planned(Purpose.OVER, OPS, (over,)))
    assert said["In-Reply-To"] == opened_id(first, SENDER)
    assert said["Subject"] == "[kore-inbox Köln] Over: rejected rows: DT_0000001_KS_CATEGORY.NET"
    assert "2026-03-01 13:05:00 UTC, after 1 h 5 min" in _part(said, "plain")
    assert "kore-inbox rejects" not in _part(said, "plain"), "there is nothing left to do"
    again = _told("another", told=1, count=4)
    digest = _read(Planned(Purpose.DIGEST, OPS, (first, again, _told("a new one"))))
    assert digest["References"].split() == [opened_id(first, SENDER), opened_id(again, SENDER)]
    assert digest["Subject"] == "[kore-inbox Köln] Digest: 3 exceptions"


def test_a_long_digest_says_how_much_it_leaves_out() -> None:
    message = _read(Planned(Purpose.DIGEST, OPS, tuple(_told(f"file {number}") for number in range(400))))
    assert "And 350 more exceptions: `kore-inbox exceptions --all`." in _part(message, "plain")


@given(
    st.lists(st.builds(Reject, st.integers(1, 10**6), st.none(), st.just("bad"), ANY_TEXT), max_size=8),
    st.data(),
)
def test_refused_rows_are_attached_whole_as_far_as_they_fit_and_come_back_as_they_were(
    rejects: list[Reject], data: st.DataObject
) -> None:
    """E2, E3."""
    limit = data.draw(st.integers(0, 2000))
    enclosure = pack(7, "X.NET", rejects, total=len(rejects), codec="utf-8", limit_bytes=limit)
    message = _read(Planned(Purpose.OPENED, OPS, (_told(),)), enclosure)
    [attached] = message.iter_attachments()
    assert attached.get_filename() == "X.NET.rejects.txt"
    assert attached.get_content_type() == "text/tab-separated-values"
    content = attached.get_payload(decode=True)
    assert content == enclosure.content
    assert len(enclosure.content) <= limit
    wanted = "".join(f"{line}\n" for line in corrections.written(rejects)).encode()
    assert wanted.startswith(enclosure.content)
    assert enclosure.rows == len(rejects) or "`kore-inbox rejects 7`" in _part(message, "plain")


def test_an_attachment_is_in_the_encoding_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "X.fix"
    row = Reject(2, None, "bad", "A\tGröße")
    path.write_bytes(pack(7, "X.NET", [row], total=1, codec="cp1252", limit_bytes=1000).content)
    with path.open("rb") as handle:
        assert corrections.read(handle, SourceOptions(encoding="cp1252")).rows == {2: "A\tGröße"}


# --- in a browser ---

_MEASURE = """
<script>
const hostile = document.querySelector("[onerror], script[src], img, b");
const all = [...document.querySelectorAll("*")];
const wide = all.filter(e => e.getBoundingClientRect().right > innerWidth + 1);
const cells = [...document.querySelectorAll("td, th")];
document.documentElement.dataset.seen = JSON.stringify({
    width: innerWidth, scrolls: document.documentElement.scrollWidth, wide: wide.map(e => e.tagName),
    hostile: hostile && hostile.tagName, ran: window.ran || null,
    rows: document.querySelectorAll("tbody tr td").length, heading: document.querySelector("h1").innerText,
    smallest: Math.min(...cells.map(e => parseFloat(getComputedStyle(e).fontSize))),
    labels: [...document.querySelectorAll("th[scope=row]")].map(e => e.innerText).join()});
</script>
"""
_COLLECT = "document.body.dataset.all = Array.from(frames, f => f.document.documentElement.dataset.seen)"


def test_a_browser_shows_a_letter_as_wide_as_a_phone_and_as_a_window(tmp_path: Path) -> None:
    hostile = "<img src=x onerror='window.ran=1'><script>window.ran=2</script><b>"
    rejects = [Reject(2, "Category ID", f"{hostile} is too long", "X" * 300), Reject(3, None, "bad", hostile)]
    enclosure = pack(1, "DT_0000001_KS_CATEGORY.NET", rejects, total=2, codec="utf-8", limit_bytes=10**6)
    told = _told(f"{'W' * 200}{hostile}", f"Größe 中文 {hostile} {'Y' * 400}")
    html = _part(_read(Planned(Purpose.OPENED, OPS, (told,)), enclosure), "html")
    frames = ""
    for width in (375, 800):
        page = tmp_path / f"{width}.html"
        page.write_text(html.replace("</body>", f"{_MEASURE}</body>"), encoding="utf-8")
        # In a frame, because a window of the browser cannot be as narrow as a phone's.
        frames += f'<iframe src="{page.name}" width="{width}" height="900" style="border:0"></iframe>'
    both = tmp_path / "both.html"
    both.write_text(f'<!DOCTYPE html><body onload="{_COLLECT}">{frames}</body>', encoding="utf-8")
    done = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--dump-dom", both.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'data-all="([^"]*)"', done.stdout)
    assert found, done.stdout + done.stderr
    seen = json.loads(f"[{unescape(found[1])}]")
    assert [look["width"] for look in seen] == [375, 800]
    for look in seen:
        assert look["scrolls"] <= look["width"]
        assert look["wide"] == []
        assert (look["hostile"], look["ran"]) == (None, None)
        assert look["labels"] == "Happened,Kept,To do,First seen"
        assert look["smallest"] >= 14
        assert look["heading"].startswith("rejected rows: WWW")
