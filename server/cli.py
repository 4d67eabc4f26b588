"""`kore-inbox`: words to functions of `admin` and `views`, results to `output`.

Exit codes: 0 done, 1 found something wrong, 2 usage or settings. Nothing foreseeable ends in a traceback.
"""

import sys
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from loaders import corrections
from loaders.rejects import Reject
from server import catalog_views, migrate, setup, simulator, specification, supervisor, users, views
from server.admin import Decision, Inbox, Touched
from server.apis import load_catalog
from server.certificate import Pair, make_self_signed
from server.check import Desk, Subject
from server.config import conf_folder, load_settings, must_exist
from server.database import Database, is_away, passes_by_itself
from server.errors import InboxError, SettingsError, UsageError
from server.names import FIRST_SEQUENCE, LAST_SEQUENCE
from server.output import as_json, complain, say, show
from server.sequence import parse_range
from server.states import State
from server.wording import counted

app = typer.Typer(
    help="An FTP inbox for ERP exports that loads what it receives.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
user_app = typer.Typer(help="FTP users.", no_args_is_help=True)
sequence_app = typer.Typer(help="The numbers of a stream.", no_args_is_help=True)
app.add_typer(user_app, name="user")
app.add_typer(sequence_app, name="sequence")

Json = Annotated[bool, typer.Option("--json", help="An array of objects, for machines.")]
Limit = Annotated[int | None, typer.Option(min=1, help="The last so many only.")]
Source = Annotated[list[str] | None, typer.Option("--source", help="Only of this source; may be repeated.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Reason = Annotated[str, typer.Option(help="Why; it is written down.")]
By = Annotated[str | None, typer.Option(help="Who decides; default: the login name.")]
Files = Annotated[list[str] | None, typer.Argument(metavar="FILE…", help="Names, in any spelling, or ids.")]
Stream = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="The source, or whatever counts by itself (setting `scope`): see `status`."
    ),
]
File = Annotated[str, typer.Argument(metavar="FILE", help="A name, in any spelling, or an id.")]

NO_REASON = "no reason was given"
# How long `serve` waits for a database, in which it looks for what the catalog cannot have.
_LOOK_SECONDS = 3


class _Conf:
    """The settings folder that the command line names."""

    folder: Path = Path("conf")


@app.callback()
def _main(
    conf: Annotated[
        Path | None, typer.Option(help="Settings folder; else KORE_INBOX_CONF, else ./conf.")
    ] = None,
) -> None:
    _Conf.folder = conf_folder(conf)


def main() -> None:
    """The command's entrance."""
    try:
        code = app(standalone_mode=False)
    except (SettingsError, UsageError) as error:
        complain(str(error))
        code = 2
    except InboxError as error:
        complain(str(error))
        code = 1
    except typer.Abort:
        code = 130
    except DBAPIError as error:
        if not (is_away(error) or passes_by_itself(error)):
            raise
        complain(
            f"The database does not answer: {error.orig}. Nothing was changed. Try again when it is back."
        )
        code = 1
    except BrokenPipeError:
        code = 0
    except OSError as error:
        complain(f"{error.filename or 'The system'}: {error.strerror}.")
        code = 1
    except Exception as error:
        # click's own, which standalone mode would print and exit with.
        if not hasattr(error, "format_message"):
            raise
        complain(f"{error.format_message().replace('Value error, ', '')} See --help.")
        code = 2
    sys.exit(code or 0)


def _conf() -> Path:
    """The settings folder, which every command but `init` needs."""
    return must_exist(_Conf.folder)


def _inbox() -> Inbox:
    return Inbox.open(_conf(), waiting=lambda what: complain(f"waiting for: {what}"))


def _decision(reason: str, by: str | None, dry_run: bool) -> Decision:
    return Decision(reason=reason, dry_run=dry_run, **({} if by is None else {"by": by}))


def _show_touched(touched: list[Touched], json_wanted: bool, dry_run: bool) -> None:
    columns = ("id", "name", "was", "becomes")
    show([asdict(file) for file in touched], columns, json_wanted=json_wanted, empty="No file is concerned.")
    if dry_run:
        complain("Only tried; nothing was changed.")


def _show_numbers(
    records: list[views.Record], columns: tuple[str, ...], json_wanted: bool, empty: str
) -> None:
    """Records with numbers of files, which people see in seven digits and machines as numbers."""
    said = records if json_wanted else [views.for_people(record) for record in records]
    show(said, columns, json_wanted=json_wanted, empty=empty)


# --- set up and run -------------------------------------------------------------------------------------


@app.command()
def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Default: the settings folder.")
    ] = None,
    self_signed: Annotated[
        bool, typer.Option("--self-signed", help="With a certificate and a key, to try FTPS with.")
    ] = False,
) -> None:
    """Make a settings folder that runs as it stands; nothing is overwritten."""
    place = _Conf.folder if folder is None else folder.resolve()
    made = setup.make_conf(place)
    pair = Pair(place / "certificate.pem", place / "key.pem")
    if self_signed:
        made += make_self_signed(pair.certificate, pair.key, datetime.now(UTC))
    for path in made:
        say(f"made {path}")
    load_settings(place)
    if pair.certificate in made:
        names = (f"{place.name}/{path.name}" for path in (pair.certificate, pair.key))
        say('For FTPS set in [ftp]: tls = "required", certificate = "{}", key = "{}".'.format(*names))
    say(f"{place} is ready; make a user with `kore-inbox user add NAME --source SOURCE`.")


@app.command()
def serve() -> None:
    """Run the inbox in the foreground until SIGTERM or SIGINT."""
    settings = load_settings(_conf())
    catalog = load_catalog(settings)
    if (pair := Pair.of(settings.ftp)) is not None:
        pair.context()
    database = Database(settings.database_url, timeout_seconds=_LOOK_SECONDS)
    with suppress(DBAPIError):
        # The receiver needs no database; where there is none, the loader finds out by itself (contract A4).
        migrate.to_add(database, catalog)
    database.close()
    supervisor.serve(_conf(), settings)


@user_app.command("add")
def user_add(
    name: str,
    source: Annotated[
        list[str], typer.Option("--source", help="A source that the user may send; repeatable.")
    ],
    unsequenced: Annotated[
        bool,
        typer.Option(
            "--unsequenced", help="Take names without source and sequence from him too, e.g. ORDERS.net."
        ),
    ] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Add an FTP user, or give him a new password and new sources."""
    conf = _conf()
    password = _password(password_stdin, confirm=True)
    user = users.add_user(conf, name, password, source, unsequenced=unsequenced)
    too = ", also under names without source and sequence" if unsequenced else ""
    say(f"user {name} may send files of {', '.join(user.sources)}{too}.")


@user_app.command("list")
def user_list(json: Json = False) -> None:
    """List FTP users and the sources that they may send."""
    records = [
        {"name": user.name, "sources": list(user.sources), "unsequenced": user.unsequenced}
        for user in users.list_users(_conf())
    ]
    show(records, ("name", "sources", "unsequenced"), json_wanted=json, empty="There are no users.")


@user_app.command("remove")
def user_remove(name: str) -> None:
    """Remove an FTP user; his files stay."""
    users.remove_user(_conf(), name)
    say(f"user {name} is removed.")


# --- looking --------------------------------------------------------------------------------------------


@app.command()
def status(
    json: Json = False,
    fail_on_exceptions: Annotated[
        bool, typer.Option("--fail-on-exceptions", help="Exit with 1 if there is an open exception.")
    ] = False,
) -> None:
    """Streams with their next number, gaps with age, counts by state, oldest ready, last load, exceptions."""
    with _inbox().database.read() as connection:
        found = views.status(connection)
    if json:
        say_json([found])
    else:
        for line in views.status_lines(found):
            say(line)
    if fail_on_exceptions and found["exceptions"]:
        raise typer.Exit(1)


@app.command()
def files(
    state: Annotated[list[State] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    source: Source = None,
    api: Annotated[list[str] | None, typer.Option(help="Only of this API; may be repeated.")] = None,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List files in the order in which they came."""
    wanted = views.Filter(states=state or (), sources=source or (), apis=api or (), limit=limit)
    with _inbox().database.read() as connection:
        records = views.files(connection, wanted)
    columns = ("id", "name", "state", "received_at", "rows_loaded", "rows_rejected", "rows_parked", "reason")
    show(records, columns, json_wanted=json, empty="No such file has arrived.")


@app.command("show")
def show_file(file: File, json: Json = False) -> None:
    """One file's whole history."""
    inbox = _inbox()
    with inbox.database.read() as connection:
        row = inbox.find(connection, file)
        receipt = inbox.spool.read(row.receipt)
        record = {**row._mapping, "proofs": receipt.proofs if receipt else {}}
        events = views.history(connection, row)
    if json:
        say_json([{**record, "history": events}])
        return
    proofs = record.pop("proofs")
    for key, value in views.for_people(record).items():
        if value is not None:
            say(f"{key.replace('_', ' ')}: {value}")
    for name, proof in proofs.items():
        say(f"{name}: {proof}")
    show(events, ("at", "event", "state", "done_by", "reason"), json_wanted=False, empty="")


@app.command()
def why(file: File, json: Json = False) -> None:
    """What a file waits for, since when, and what would release it."""
    told = _inbox().why(file)
    if json:
        say_json([{"file": file, "why": told}])
    else:
        for line in told:
            say(line)


@app.command()
def gaps(json: Json = False) -> None:
    """Missing numbers by stream, with their age and what they hold back."""
    with _inbox().database.read() as connection:
        records = views.missing(connection)
    columns = ("stream", "first", "last", "numbers", "since", "age", "holds_back")
    _show_numbers(records, columns, json, empty="No number is missing.")


@app.command()
def rejects(
    file: File,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write them there, to be corrected and sent as NAME.fix.")
    ] = None,
    json: Json = False,
) -> None:
    """Rows of a file that were refused: line, field, reason, raw row."""
    inbox = _inbox()
    with inbox.database.read() as connection:
        row = inbox.find(connection, file)
        records = views.rejects(connection, row)
    if output is not None:
        codec = inbox.settings.reading(row.source).codec
        lines = corrections.written(Reject(**record) for record in records)
        output.write_bytes("".join(f"{line}\n" for line in lines).encode(codec, "backslashreplace"))
        say(f"{counted(len(records), 'row')} of {row.name} written to {output}.")
        return
    show(records, ("line", "field", "reason", "raw"), json_wanted=json, empty="No row was rejected.")


@app.command()
def parked(limit: Limit = None, json: Json = False) -> None:
    """Rows that wait until their parents come."""
    with _inbox().database.read() as connection:
        records = views.parked(connection, limit)
    columns = ("name", "line", "waits_table", "waits_key", "parked_at", "raw")
    show(records, columns, json_wanted=json, empty="No row is parked.")


@app.command()
def exceptions(
    everything: Annotated[bool, typer.Option("--all", help="Those of the past too.")] = False,
    json: Json = False,
) -> None:
    """What needs a person: what happened, what was kept, what to do."""
    with _inbox().database.read() as connection:
        records = views.incidents(connection, closed=everything)
    columns = ["kind", "subject", "first_seen", "count", "happened", "kept", "todo"]
    columns += ["closed_at"] if everything else []
    show(records, columns, json_wanted=json, empty="There is no open exception.")


@app.command()
def check(
    file: Annotated[
        list[str], typer.Argument(metavar="FILE…", help="Paths, or names or ids of files that were received.")
    ],
    api: Annotated[str | None, typer.Option(help="What the files are, if their names do not say so.")] = None,
    source: Annotated[str | None, typer.Option(help="By whose settings they are read.")] = None,
    database: Annotated[
        bool,
        typer.Option(
            "--database", help="Look into the tables too. The loader waits meanwhile; nothing is written."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Try files, each by itself, without loading them: every finding with line, field, reason."""
    settings = load_settings(_conf())
    desk = Desk(settings, load_catalog(settings))
    subjects = [_subject(desk, name, api, source) for name in file]
    inbox = _inbox() if database else None
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
    if inbox is None and any(map(desk.needs_tables, subjects)):
        complain(
            "Missing parents, and what a FULL makes inactive, were not looked for; --database does that."
        )
    if any(record["rows_loaded"] < record["rows_read"] or record["reason"] for record in records):
        raise typer.Exit(1)


def _subject(desk: Desk, text: str, api: str | None, source: str | None) -> Subject:
    """A file on disk, else one that was received."""
    if Path(text).exists():
        return desk.on_disk(Path(text), api, source)
    inbox = _inbox()
    try:
        with inbox.database.read() as connection:
            row = inbox.find(connection, text)
    except UsageError as error:
        raise UsageError(f"There is no file {text} here. {error}") from None
    return desk.received(row, inbox.spool, api, source)


def _say_finding(subject: Subject, finding: Reject) -> None:
    say(f"{subject.file}: {finding}")


@app.command()
def catalog(
    api: Annotated[str | None, typer.Argument(help="One API's fields, keys and references.")] = None,
    json: Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="A specification to print, for whoever writes the export.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="What the next start will add to the tables of the database.")
    ] = False,
) -> None:
    """The APIs by level of precedence, or one of them; what a start will change in the database."""
    settings = load_settings(_conf())
    found = load_catalog(settings)
    if dry_run:
        changes = catalog_views.changes(migrate.to_add(Database(settings.database_url), found))
        shown = ("change", "table", "columns", "was", "becomes")
        show(changes, shown, json_wanted=json, empty="The tables have all that the catalog wants.")
        return
    if markdown:
        for line in specification.lines(found, api):
            say(line)
        return
    if api is None:
        overview = ("level", "api", "fields", "tables", "purpose")
        show(catalog_views.apis(found), overview, json_wanted=json, empty="The catalog is empty.")
        return
    columns = ("ordinal", "name", "type", "key", "required", "codes", "reference", "origin")
    show(catalog_views.fields(found, api), columns, json_wanted=json, empty="The API has no fields.")


# --- deciding -------------------------------------------------------------------------------------------


@app.command()
def replay(
    file: Files = None,
    held: Annotated[bool, typer.Option("--held", help="All held files.")] = False,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="All quarantined files.")] = False,
    loaded: Annotated[bool, typer.Option("--loaded", help="All loaded files.")] = False,
    with_copy: Annotated[
        Path | None,
        typer.Option("--with", help="A corrected copy of the one FILE, or corrected rows of it (*.fix)."),
    ] = None,
    source: Source = None,
    reason: Reason = NO_REASON,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Judge held files anew, try quarantined ones again, load loaded ones again."""
    chosen = {State.HELD: held, State.QUARANTINED: quarantined, State.LOADED: loaded}
    states = [state for state, wanted in chosen.items() if wanted]
    if not file and not states:
        raise UsageError("Name files, or give --held, --quarantined or --loaded.")
    decision = _decision(reason, by, dry_run)
    if with_copy is not None:
        if states or len(file or []) != 1:
            raise UsageError("--with goes with one FILE.")
        _show_touched([_inbox().replace_with((file or [])[0], with_copy, decision)], json, dry_run)
        return
    _show_touched(_inbox().replay(file or [], states, source or [], decision), json, dry_run)


@app.command()
def withdraw(
    file: Annotated[list[str], typer.Argument(metavar="FILE…")],
    reason: Reason = NO_REASON,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Set files aside that shall not load."""
    _show_touched(_inbox().withdraw(file, _decision(reason, by, dry_run)), json, dry_run)


@app.command()
def approve(
    file: Annotated[list[str], typer.Argument(metavar="FILE…")],
    reason: Reason = NO_REASON,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Let FULLs load that wait because they would make much inactive."""
    _show_touched(_inbox().approve(file, _decision(reason, by, dry_run)), json, dry_run)


@app.command()
def undo(
    file: File, reason: Reason = NO_REASON, by: By = None, dry_run: DryRun = False, json: Json = False
) -> None:
    """Make active again what a FULL made inactive."""
    rows = _inbox().undo(file, _decision(reason, by, dry_run))
    show([{"file": file, "rows_reactivated": rows}], ("file", "rows_reactivated"), json_wanted=json, empty="")
    if dry_run:
        complain("Only tried; nothing was changed.")


@app.command()
def skip(
    source: Stream,
    numbers: Annotated[str, typer.Argument(metavar="N[-M]", help="A number, or the first and the last.")],
    reason: Reason = NO_REASON,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Give up missing numbers, so that what waits for them can load."""
    try:
        first, last = parse_range(numbers)
    except ValueError as error:
        raise UsageError(str(error)) from None
    given_up = _inbox().skip(source, first, last, _decision(reason, by, dry_run))
    records = [
        {"stream": source.upper(), "first": part.first.sequence, "last": part.last.sequence}
        for part in given_up
    ]
    empty = "All of these numbers have arrived or were given up before; nothing was skipped."
    _show_numbers(records, ("stream", "first", "last"), json, empty=empty)
    if dry_run:
        complain("Only tried; nothing was changed.")


@sequence_app.command("set")
def sequence_set(
    source: Stream,
    number: Annotated[int, typer.Argument(metavar="N", help="The number that is due.")],
    reason: Reason = NO_REASON,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Say which number is due: forwards skips what is missing, backwards opens a new epoch."""
    due = _inbox().set_sequence(source, number, _decision(reason, by, dry_run))
    record = {"stream": source.upper(), "next": due.sequence, "epoch": due.epoch}
    _show_numbers([record], ("stream", "next", "epoch"), json, empty="")
    if dry_run:
        complain("Only tried; nothing was changed.")


# --- trying it out --------------------------------------------------------------------------------------


@app.command()
def simulate(
    folder: Annotated[Path | None, typer.Option("--folder", help="Write the files there.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Push the files over FTP as this user.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    count: Annotated[int, typer.Option("--files", min=1, help="How many files.")] = 120,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of each NET file.")] = 50,
    days: Annotated[int, typer.Option("--days", min=1, help="Days that the files spread over.")] = 3,
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
            help="The first number; default: 1 in a folder, the one that is due in this inbox.",
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
        raise UsageError("Say where the files go: --folder DIR, or --user NAME to push them over FTP.")
    _conf()
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
    inbox = _inbox() if user is not None else None
    due = first or (inbox.due(plan.source, plan.integration) if inbox else FIRST_SEQUENCE)
    plan = replace(plan, first_sequence=due)
    catalog = inbox.catalog if inbox else load_catalog(load_settings(_conf()))
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
        server = simulator.Server(ftp.host, ftp.port, user, _password(password_stdin, confirm=False))
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


def _password(from_stdin: bool, *, confirm: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    prompted: str = typer.prompt("Password", hide_input=True, confirmation_prompt=confirm)
    return prompted


def say_json(value: object) -> None:
    """Print JSON as it is; it needs no escaping for a terminal beyond its own."""
    print(as_json(value))  # noqa: T201 - results go to standard output


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
