"""Commands that look into the ledger: what there is, and why."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from loaders import corrections
from loaders.rejects import Reject
from server import absence, drop_troubles, overview, report, views
from server.admin import Inbox
from server.cli import context
from server.cli.options import MOMENTS, File, Json, Limit, Source
from server.journal import LedgerLost
from server.ledger import now_utc
from server.mail import desk
from server.output import say, say_json, show
from server.states import State
from server.wording import counted, for_people

commands = typer.Typer()


@commands.command()
def status(
    json: Json = False,
    fail_on_exceptions: Annotated[
        bool, typer.Option("--fail-on-exceptions", help="Exit with 1 if there is an open exception.")
    ] = False,
) -> None:
    """What the inbox waits for, streams with their next number, gaps, files by state, exceptions."""
    inbox = context.inbox_beside_its_database()
    found = inbox.status()
    found["drop_folders"] = [asdict(said) for said in drop_troubles.read(inbox.spool)]
    if json:
        say_json([found])
    else:
        for line in overview.lines(found):
            say(line)
    if fail_on_exceptions and found["exceptions"]:
        raise typer.Exit(1)


@commands.command()
def files(
    state: Annotated[list[State] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    source: Source = None,
    api: Annotated[list[str] | None, typer.Option(help="Only of this API; may be repeated.")] = None,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List files in the order in which they came."""
    wanted = views.Filter(states=state or (), sources=source or (), apis=api or (), limit=limit)
    with context.inbox().database.read() as connection:
        records = views.files(connection, wanted)
    columns = ("id", "name", "state", "received_at", "rows_loaded", "rows_rejected", "rows_parked", "reason")
    empty = "No such file has arrived." if state or source or api else "No file has arrived yet."
    show(records, columns, json_wanted=json, empty=empty)


@commands.command("report")
def report_command(
    since: Annotated[
        datetime | None, typer.Option(help="Of what happened then or later, UTC.", formats=MOMENTS)
    ] = None,
    mail: Annotated[
        bool, typer.Option("--mail", help="Mail it to the recipients of the settings instead.")
    ] = False,
    json: Json = False,
) -> None:
    """What came in the last 24 hours, what became of it, and what waits."""
    report_to(context.inbox(), since, by_mail=mail, json_wanted=json)


def report_to(inbox: Inbox, since: datetime | None, *, by_mail: bool, json_wanted: bool) -> None:
    """Print the report, of the last 24 hours unless something else is said, or mail it to the recipients."""
    now = now_utc()
    with inbox.database.read() as connection:
        found = report.report(connection, since or now - report.DAY, now)
    if by_mail:
        recipients = desk.send(inbox.settings.mail, [], "Report", report.lines(found))
        say(f"sent to {', '.join(recipients)}")
    elif json_wanted:
        say_json([found])
    else:
        for line in report.lines(found):
            say(line)


@commands.command("show")
def show_file(file: File, json: Json = False) -> None:
    """One file's whole history."""
    inbox = context.inbox()
    with inbox.database.read() as connection:
        row = inbox.find(connection, file)
        receipt = inbox.spool.read(row.receipt)
        record = {**row._mapping, "proofs": receipt.proofs if receipt else {}}
        events = views.history(connection, row)
    if json:
        say_json([{**record, "history": events}])
        return
    proofs = record.pop("proofs")
    for key, value in for_people(record).items():
        if value is not None:
            say(f"{key.replace('_', ' ')}: {value}")
    for name, proof in proofs.items():
        say(f"{name}: {proof}")
    show(events, ("at", "event", "state", "done_by", "reason"), json_wanted=False, empty="")


@commands.command()
def why(file: File, json: Json = False) -> None:
    """What a file waits for, since when, and what would release it."""
    told = context.inbox().why(file)
    if json:
        say_json([{"file": file, "why": told}])
    else:
        for line in told:
            say(line)


@commands.command()
def gaps(json: Json = False) -> None:
    """Missing numbers by stream, with their age and what they hold back."""
    with context.inbox().database.read() as connection:
        records = views.missing(connection)
    columns = ("stream", "first", "last", "numbers", "since", "age", "holds_back")
    show(records, columns, json_wanted=json, empty="No number is missing.")


@commands.command()
def rejects(
    file: File,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write them there, to be corrected and sent as NAME.fix.")
    ] = None,
    json: Json = False,
) -> None:
    """Rows of a file that were refused: line, field, reason, raw row."""
    inbox = context.inbox()
    with inbox.database.read() as connection:
        row = inbox.find(connection, file)
        records = views.rejects(connection, row)
    if output is not None:
        codec = inbox.settings.reading(row.source).codec
        output.write_bytes(corrections.as_bytes((Reject(**record) for record in records), codec))
        say(f"{counted(len(records), 'row')} of {row.name} written to {output}.")
        return
    show(records, ("line", "field", "reason", "raw"), json_wanted=json, empty="No row was rejected.")


@commands.command()
def parked(limit: Limit = None, json: Json = False) -> None:
    """Rows that wait until their parents come."""
    with context.inbox().database.read() as connection:
        records = views.parked(connection, limit)
    columns = ("name", "line", "waits_table", "waits_key", "parked_at", "raw")
    show(records, columns, json_wanted=json, empty="No row is parked.")


@commands.command()
def exceptions(
    everything: Annotated[bool, typer.Option("--all", help="Those of the past too.")] = False,
    json: Json = False,
) -> None:
    """What needs a person: what happened, what was kept, what to do.

    While the database is away only that can be listed; then the exit code is 1.
    """
    columns = ["kind", "subject", "first_seen", "count", "happened", "kept", "todo"]
    columns += ["closed_at"] if everything else []
    try:
        with context.inbox().database.read() as connection:
            records = views.incidents(connection, closed=everything)
    except (DBAPIError, LedgerLost):
        inbox = context.inbox_beside_its_database()
        if (notice := absence.now_away(inbox.spool, inbox.settings, now_utc())) is not None:
            show([views.noticed(notice)], columns, json_wanted=json, empty="")
        raise
    show(records, columns, json_wanted=json, empty="There is no open exception.")
