"""The HTML part of a letter: one column that a phone can show, nothing loaded from elsewhere. Pure text.

Everything is escaped first (contract X4); then what stands between backticks, which is where sentences put
commands, becomes code. Styles are inline, as many mail programs drop style sheets.
"""

import re
from collections.abc import Iterator, Sequence
from html import escape

from server.mail.enclosure import Enclosure
from server.mail.plan import Told
from server.process import escaped
from server.wording import age, counted

_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_MONO = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:14px"
# Whatever has no blanks, such as a name or a command, is broken rather than widening the page.
_BREAK = "overflow-wrap:anywhere;word-break:break-word"
_OPEN, _OVER = "#b3261e", "#1b6e3c"
_LABEL = (
    "padding:6px 12px 6px 0;text-align:left;vertical-align:top;color:#5f6368;font-weight:normal;width:88px"
)
_SHEET = f"max-width:640px;margin:0 auto;padding:20px;background:#ffffff;{_BREAK}"
_FOOT = "margin:24px 0 0;color:#5f6368;font-size:13px"
_VALUE = f"padding:6px 0;text-align:left;vertical-align:top;{_BREAK}"
_CELL = f"padding:6px 8px;border-top:1px solid #dadce0;text-align:left;vertical-align:top;{_BREAK}"


def facts(incident: Told) -> Iterator[tuple[str, str]]:
    """What there is to say of an incident, with a label for each; the same in text and in HTML."""
    yield "Happened", incident.happened
    if incident.closed_at is None:
        yield "Kept", incident.kept
        yield "To do", incident.todo
    else:
        lasted = age((incident.closed_at - incident.first_seen).total_seconds())
        yield (
            "Over",
            f"{incident.closed_at:%Y-%m-%d %H:%M:%S} UTC, after {lasted}. There is nothing left to do.",
        )
    yield "First seen", f"{incident.first_seen:%Y-%m-%d %H:%M:%S} UTC"
    if incident.count > 1:
        yield (
            "Last seen",
            f"{incident.last_seen:%Y-%m-%d %H:%M:%S} UTC, {counted(incident.count, 'time')} in all",
        )


def page(
    heading: str,
    parts: Sequence[tuple[str, Sequence[Told]]],
    enclosure: Enclosure | None,
    closing: str,
    name: str,
) -> str:
    """A whole page.

    Args:
        heading: what it is about.
        parts: incidents under their titles; one without a title stands for itself.
        enclosure: the refused rows that are attached.
        closing: last sentences, each on a line of its own.
        name: of the inbox.
    """
    incidents = [incident for _, those in parts for incident in those]
    colour = _OVER if all(incident.is_over for incident in incidents) else _OPEN
    body = [f'<h1 style="margin:0 0 16px;font-size:20px;line-height:1.3;{_BREAK}">{_plain(heading)}</h1>']
    for title, those in parts:
        if title:
            body.append(f'<h2 style="margin:24px 0 8px;font-size:16px">{_plain(title)}</h2>')
        body += [_incident(incident, is_titled=bool(title)) for incident in those]
    if enclosure is not None:
        body += _sample(enclosure)
    body += [f'<p style="margin:16px 0 0;{_BREAK}">{_said(line)}</p>' for line in closing.splitlines()]
    content = "\n".join(body)
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_plain(heading)}</title>
</head>
<body style="margin:0;padding:16px;background:#f1f3f4;color:#202124;{_FONT};font-size:16px;line-height:1.5">
<div role="article" lang="en" style="{_SHEET};border-top:4px solid {colour}">
{content}
<p style="{_FOOT}">{_plain(name)} · sent by a program that reads no answers</p>
</div>
</body>
</html>
"""


def _incident(incident: Told, *, is_titled: bool) -> str:
    caption = ""
    if is_titled:
        name = _plain(f"{incident.kind}: {incident.subject}")
        caption = (
            f'<caption style="text-align:left;font-weight:bold;padding:8px 0 2px;{_BREAK}">{name}</caption>'
        )
    rows = "\n".join(
        f'<tr><th scope="row" style="{_LABEL}">{label}</th><td style="{_VALUE}">{_said(value)}</td></tr>'
        for label, value in facts(incident)
    )
    return (
        f'<table style="width:100%;border-collapse:collapse;table-layout:fixed">{caption}\n{rows}\n</table>'
    )


def _sample(enclosure: Enclosure) -> Iterator[str]:
    columns = ("Where", "Reason", "Row")
    head = "".join(f'<th scope="col" style="{_CELL}">{column}</th>' for column in columns)
    rows = "\n".join(
        f'<tr><td style="{_CELL}">{_plain(place)}</td><td style="{_CELL}">{_plain(reason)}</td>'
        f'<td style="{_CELL};{_MONO}">{_plain(row)}</td></tr>'
        for place, reason, row in enclosure.sample
    )
    yield f'<p style="margin:24px 0 8px;{_BREAK}">{_said(str(enclosure))}</p>'
    yield (
        '<table style="width:100%;border-collapse:collapse;table-layout:fixed;font-size:14px">'
        '<caption style="text-align:left;font-weight:bold;padding:0 0 6px">The first of them</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    )


def _plain(text: str) -> str:
    return escape(escaped(text))


def _said(text: str) -> str:
    """A sentence, with its commands as code."""
    return re.sub(
        r"`([^`]*)`", rf'<code style="{_MONO};background:#f1f3f4;padding:1px 3px">\1</code>', _plain(text)
    )
