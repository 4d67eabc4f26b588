"""`check`: what a load would say of files."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from loaders.rejects import Reject
from server.apis import load_catalog
from server.check import Desk, Subject
from server.cli import context
from server.cli.options import Json
from server.errors import UsageError
from server.output import complain, say, say_json

commands = typer.Typer()


@commands.command()
def check(
    file: Annotated[
        list[str], typer.Argument(metavar="FILE…", help="Paths, or names or ids of files that were received.")
    ],
    api: Annotated[
        str | None,
        typer.Option(
            help="What the files are, if their names do not say so; NET, unless a name ends in .FULL."
        ),
    ] = None,
    source: Annotated[str | None, typer.Option(help="By whose settings they are read.")] = None,
    database: Annotated[
        bool,
        typer.Option(
            "--database", help="Look into the tables too. The loader waits meanwhile; nothing is written."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Try files, each by itself, without loading them: every finding with line, field, reason.

    A file that was received is tried with the corrections of it that have been accepted.
    """
    settings = context.settings()
    desk = Desk(settings, load_catalog(settings))
    subjects = [_subject(desk, name, api, source) for name in file]
    inbox = context.inbox() if database else None
    records = []
    for subject in subjects:
        findings: list[Reject] = []
        found = findings.append if json else partial(_say_finding, subject)
        verdict = desk.check(subject, found)
        if inbox is not None:
            verdict = desk.check_tables(subject, verdict, inbox.database, found, inbox.waiting)
        records.append({**asdict(verdict), "findings": [asdict(finding) for finding in findings]})
        if not json:
            say(str(verdict))
    if json:
        say_json(records)
    if any(map(desk.needs_tables, subjects)):
        if inbox is None:
            complain(
                "Missing parents, and what a FULL makes inactive, were not looked for; --database does that."
            )
        elif len(subjects) > 1:
            complain("Each file was held against the tables by itself, as if the others had not come.")
    if any(record["rows_loaded"] < record["rows_read"] or record["reason"] for record in records):
        raise typer.Exit(1)


def _subject(desk: Desk, text: str, api: str | None, source: str | None) -> Subject:
    """A file on disk, else one that was received."""
    if Path(text).exists():
        return desk.on_disk(Path(text), api, source)
    inbox = context.inbox()
    with inbox.database.read() as connection:
        try:
            row = inbox.find(connection, text)
        except UsageError as error:
            raise UsageError(f"There is no file {text} here. {error}") from None
        return desk.received(connection, row, inbox.spool, api, source)


def _say_finding(subject: Subject, finding: Reject) -> None:
    say(f"{subject.file}: {finding}")
