"""`simulate`: an ERP, to try the inbox out."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from server import simulator, users
from server.apis import load_catalog
from server.certificate import Pair
from server.cli import context
from server.cli.options import PasswordStdin
from server.errors import UsageError
from server.names import FIRST_SEQUENCE, LAST_SEQUENCE
from server.output import complain, say, say_json
from server.settings.ftp import Tls

commands = typer.Typer()


@commands.command()
def simulate(
    folder: Annotated[Path | None, typer.Option("--folder", help="Write the files there.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Push the files over FTP as this user.")] = None,
    password_stdin: PasswordStdin = False,
    count: Annotated[int, typer.Option("--files", min=1, help="How many files.")] = 120,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of each NET file.")] = 50,
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="Days that the files span.")] = 3,
    fulls: Annotated[bool, typer.Option("--fulls", help="Every night, FULLs of all master data.")] = False,
    header: Annotated[bool, typer.Option("--header", help="Begin files with the fields' names.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Another seed makes another company.")] = 1,
    source: Annotated[str, typer.Option("--source", help="The source of the file names.")] = "DT",
    first: Annotated[
        int | None,
        typer.Option(
            "--first",
            min=FIRST_SEQUENCE,
            max=LAST_SEQUENCE,
            help="The first number; default: 1 in a folder, the one behind the highest that has come here.",
        ),
    ] = None,
    connections: Annotated[int, typer.Option("--connections", min=1, help="Sessions at once.")] = 1,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Push in an order drawn from the seed.")] = False,
    gaps: Annotated[int, typer.Option("--gaps", min=0, help="So many numbers are never sent.")] = 0,
    duplicates: Annotated[int, typer.Option("--duplicates", min=0, help="So many files are sent twice.")] = 0,
    conflicts: Annotated[
        int, typer.Option("--conflicts", min=0, help="So many numbers are sent again with other bytes.")
    ] = 0,
    late: Annotated[int, typer.Option("--late", min=0, help="So many files are sent after all others.")] = 0,
    bad_rows: Annotated[
        int, typer.Option("--bad-rows", min=0, help="So many rows are bad, in all the ways there are.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="What was done, for machines.")] = False,
) -> None:
    """An ERP: make coherent exports of all APIs, and write them to a folder or push them to this inbox.

    It begins with everything of each API, as NETs; then come net changes. What is sent again or late lies in
    the folder's own folder `afterwards`. Pushing ends with 1 if a file was refused that should not have been.
    """
    if (folder is None) == (user is None):
        raise UsageError("Say where the files go: either --folder DIR, or --user NAME to push them over FTP.")
    if folder is not None and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"There are files in {folder}.", todo="Name a folder that is new or empty.")
    conf = context.conf()
    if user is not None and all(known.name != user for known in users.list_users(conf)):
        raise UsageError(f"There is no user `{user}`.", todo="Add one with `kore-inbox user add`.")
    plan = simulator.Plan(
        seed=seed,
        source=source.upper(),
        files=count,
        rows_per_file=rows,
        days=days,
        fulls=fulls,
        header=header,
    )
    mishaps = simulator.Mishaps(gaps, duplicates, conflicts, late, bad_rows)
    inbox = context.inbox() if user is not None else None
    number = first or (inbox.next_number(plan.source, plan.integration) if inbox else FIRST_SEQUENCE)
    plan = replace(plan, first_sequence=number)
    catalog = inbox.catalog if inbox else load_catalog(context.settings())
    try:
        disturbed = simulator.Disturbed(plan, mishaps, catalog)
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    told = complain if json else say
    if inbox is None or user is None:
        run = simulator.into_folder(disturbed, folder or Path())
        told(f"{run.sent} files are in {folder}.")
    else:
        ftp = inbox.settings.ftp
        pair = Pair.of(ftp)
        server = simulator.Server(
            ftp.host,
            ftp.port,
            user,
            context.password(password_stdin, confirm=False),
            tls=None if pair is None else pair.client_context(),
            implicit=ftp.tls is Tls.IMPLICIT,
        )
        run = simulator.over_ftp(
            disturbed, server, connections, seed if shuffle else None, on_reply=lambda reply: told(reply.text)
        )
        refused = run.refused + run.conflicts_refused
        told(f"{run.sent - refused} files accepted, {refused} not.")
    if json:
        say_json([run.record()])
    for line in [] if json else run.lines():
        say(line)
    if run.refused:
        raise typer.Exit(1)
