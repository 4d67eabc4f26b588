"""Commands by which a person decides; each says what it touches, and only says it with --dry-run."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from loaders.full import Loss
from server import sweeping, views
from server.admin import Corrected, Decision, Touched, TriedRow
from server.cli import context
from server.cli.options import MOMENTS, NO_REASON, By, DryRun, File, Json, Reason, Source
from server.errors import UsageError
from server.ledger import now_utc
from server.output import Record, complain, say, say_json, show
from server.sequence import parse_range
from server.states import State
from server.sweeping import Original

commands = typer.Typer()
sequence = typer.Typer(name="sequence", help="The numbers of a stream.", no_args_is_help=True)

_ONLY_TRIED = "Only tried; nothing was changed."

Files = Annotated[list[str], typer.Argument(metavar="FILE…")]
Stream = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="The source, or whatever counts by itself (setting `scope`): see `status`."
    ),
]


@commands.command()
def replay(
    file: Annotated[
        list[str] | None, typer.Argument(metavar="FILE…", help="Names, in any spelling, or ids.")
    ] = None,
    held: Annotated[bool, typer.Option("--held", help="All held files.")] = False,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="All quarantined files.")] = False,
    loaded: Annotated[bool, typer.Option("--loaded", help="All loaded files.")] = False,
    with_copy: Annotated[
        Path | None,
        typer.Option("--with", help="A corrected copy of the one FILE, or corrected rows of it (*.fix)."),
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Only refused and parked rows, of these loaded files or of all.")
    ] = False,
    state: Annotated[
        list[State] | None, typer.Option(help="All files in this state; may be repeated.")
    ] = None,
    source: Source = None,
    api: Annotated[list[str] | None, typer.Option(help="Only of this API; may be repeated.")] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Only what was received then or later, UTC.", formats=MOMENTS)
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            help="Only what was received then or before, UTC; a day is its beginning.", formats=MOMENTS
        ),
    ] = None,
    reason: Reason = NO_REASON,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Judge held files anew, try quarantined ones again, load loaded ones again.

    What will load is listed in the order in which it loads. --source, --api, --since and --until choose among
    the files of the states that are given; files that are named are replayed in any case.

    With --rows, only rows that were refused or are parked are judged again, at once, and the other rows of
    their files stay as they are. The loader waits meanwhile.
    """
    chosen = {State.HELD: held, State.QUARANTINED: quarantined, State.LOADED: loaded}
    states = [*(state or []), *(flag for flag, wanted in chosen.items() if wanted)]
    decision = _decision(reason, by, dry_run)
    if rows:
        if with_copy is not None or set(states) - {State.LOADED}:
            raise UsageError("--rows goes with loaded files, and not with --with.")
        wanted = views.Filter(sources=source or [], apis=api or [], since=since, until=until)
        _tell_rows(context.inbox().replay_rows(file or [], wanted, decision), json, dry_run)
        return
    if not file and not states:
        raise UsageError("Name files, or give --held, --quarantined, --loaded, --rows or --state.")
    if with_copy is not None:
        if states or len(file or []) != 1:
            raise UsageError("--with goes with one FILE.")
        _tell_copy(context.inbox().replace_with((file or [])[0], with_copy, decision), json, dry_run)
        return
    touched = context.inbox().replay(
        file or [], states, source or [], decision, apis=api or [], since=since, until=until
    )
    _tell_touched(touched, json, dry_run)
    if touched and not any(_came_about(file) for file in touched):
        raise typer.Exit(1)


@commands.command()
def withdraw(
    file: Files,
    reason: Reason = NO_REASON,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Set files aside that shall not load."""
    _tell_touched(context.inbox().withdraw(file, _decision(reason, by, dry_run)), json, dry_run)


@commands.command()
def dismiss(
    file: Files,
    reason: Reason = NO_REASON,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Close the exception of refused rows that nobody will send again."""
    _tell_touched(context.inbox().dismiss(file, _decision(reason, by, dry_run)), json, dry_run)


@commands.command()
def approve(
    file: Files,
    reason: Reason = NO_REASON,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Let FULLs load that wait because they would make much inactive, or put one in force that was undone.

    With --dry-run, how much that is now, and the first keys; meanwhile the loader waits.
    """
    approved = context.inbox().approve(file, _decision(reason, by, dry_run))
    _tell_touched(approved, json, dry_run)
    if not json:
        for full in approved:
            for loss in full.losses:
                say(f"{full.name}: {_loss(loss)}")


@commands.command()
def release(
    file: Files,
    reason: Reason = NO_REASON,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Let FULLs load at once that wait for their hours."""
    _tell_touched(context.inbox().release(file, _decision(reason, by, dry_run)), json, dry_run)


@commands.command()
def undo(
    file: File, reason: Reason = NO_REASON, by: By = None, dry_run: DryRun = False, json: Json = False
) -> None:
    """Make active again what a FULL made inactive."""
    rows = context.inbox().undo(file, _decision(reason, by, dry_run))
    _tell([{"file": file, "rows_reactivated": rows}], ("file", "rows_reactivated"), json, dry_run)
    complain(f"It stays undone when it is loaded again; `kore-inbox approve {file}` puts it in force.")


@commands.command()
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
    given_up = context.inbox().skip(source, first, last, _decision(reason, by, dry_run))
    records = [
        {"stream": source.upper(), "first": part.first.sequence, "last": part.last.sequence}
        for part in given_up
    ]
    empty = "All of these numbers have arrived or were given up before; nothing was skipped."
    _tell(records, ("stream", "first", "last"), json, dry_run, empty=empty)


@commands.command()
def rebuild(reason: Reason = NO_REASON, by: By = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Make a lost ledger anew, while the inbox is stopped; the next start loads everything again."""
    inbox = context.inbox(may_be_lost=True)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("Reading the journal", total=None)
        rebuilt = inbox.rebuild(
            _decision(reason, by, dry_run), lambda done, total: bar.update(task, completed=done, total=total)
        )
    if json:
        say_json([asdict(rebuilt)])
        return
    for line in rebuilt.lines():
        say(line)
    complain("Only tried; nothing was changed." if dry_run else "The next `kore-inbox serve` loads them.")


@commands.command()
def adopt(reason: Reason = NO_REASON, by: By = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Go on with the spool of the settings, when the one that the ledger had is lost."""
    inbox = context.inbox(any_spool=True)
    before = inbox.adopt(_decision(reason, by, dry_run))
    records = [] if before is None else [{"spool": str(inbox.spool.root), "instead_of": before}]
    empty = f"The ledger has no other spool than {inbox.spool.root}."
    _tell(records, ("spool", "instead_of"), json, dry_run, empty=empty)


@sequence.command("set")
def sequence_set(
    source: Stream,
    number: Annotated[int, typer.Argument(metavar="N", help="The number that is due.")],
    reason: Reason = NO_REASON,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Say which number is due: forwards skips what is missing, backwards opens a new epoch."""
    setting = context.inbox().set_sequence(source, number, _decision(reason, by, dry_run))
    record = {
        "stream": setting.stream,
        "was_next": setting.was.sequence,
        "next": setting.due.sequence,
        "epoch": setting.due.epoch,
        "given_up": [{"first": part.first.sequence, "last": part.last.sequence} for part in setting.given_up],
        "files_released": setting.released,
    }
    if json:
        say_json([record])
    else:
        told = {**record, "given_up": ", ".join(map(str, setting.given_up)) or "nothing"}
        show([told], tuple(told), json_wanted=False, empty="")
    if setting.due.epoch > setting.was.epoch:
        complain(
            f"Epoch {setting.due.epoch} of {setting.stream} begins: its files are newer than all that came "
            "before, whatever their numbers."
        )
    if dry_run:
        complain(_ONLY_TRIED)


def _decision(reason: str, by: str | None, dry_run: bool) -> Decision:
    return Decision(reason=reason, dry_run=dry_run, **({} if by is None else {"by": by}))


def _tell_touched(touched: Sequence[Touched], json: bool, dry_run: bool) -> None:
    records = [asdict(file) for file in touched]
    columns = ("id", "name", "was", "becomes", "reason")
    _tell(records, columns, json, dry_run, empty="No file is concerned.")


@commands.command()
def sweep(dry_run: DryRun = False, json: Json = False) -> None:
    """Remove the originals in `taken/` of drop folders that are older than `retention`."""
    gone = sweeping.sweep(context.settings(), now_utc(), dry_run=dry_run)
    tell_swept(gone, json_wanted=json, dry_run=dry_run)


def tell_swept(gone: Sequence[Original], *, json_wanted: bool, dry_run: bool) -> None:
    """What has gone, or would go."""
    columns = ("folder", "name", "size_bytes", "taken_at")
    _tell([asdict(one) for one in gone], columns, json_wanted, dry_run, empty="Nothing is old enough to go.")


def _tell(
    records: Sequence[Record], columns: Sequence[str], json: bool, dry_run: bool, *, empty: str = ""
) -> None:
    show(records, columns, json_wanted=json, empty=empty)
    if dry_run:
        complain(_ONLY_TRIED)


def _tell_copy(touched: Touched, json: bool, dry_run: bool) -> None:
    """What became of a corrected copy; the exit code is 1 if any of its rows corrects nothing."""
    if not isinstance(touched, Corrected):
        _tell_touched([touched], json, dry_run)
        return
    columns = ("id", "name", "was", "becomes", "rows_read", "rows_loaded", "rows_rejected")
    record = {**asdict(touched), "rows_rejected": touched.rows_read - touched.rows_loaded}
    show([record], columns, json_wanted=json, empty="")
    for reject in touched.rejects:
        complain(str(reject))
    if not touched.comes_about:
        complain("None of its rows would go in; it was not taken.")
    elif dry_run:
        complain(_ONLY_TRIED)
    if touched.rejects or not touched.comes_about:
        raise typer.Exit(1)


def _tell_rows(tried: Sequence[TriedRow], json: bool, dry_run: bool) -> None:
    """What became of rows; the exit code is 1 if there were some and nothing came of it."""
    columns = ("name", "line", "was", "becomes", "field", "reason")
    _tell([asdict(row) for row in tried], columns, json, dry_run, empty="No row is refused or parked.")
    if tried and all(row.becomes == row.was for row in tried):
        raise typer.Exit(1)


def _came_about(file: Touched) -> bool:
    """Whether a replay has changed anything for a file."""
    return file.becomes != file.was and file.becomes not in (State.REFUSED, State.QUARANTINED)


def _loss(loss: Loss) -> str:
    counts = f"{loss.made_inactive:,} of the {loss.active_before:,} active rows that its stream has in"
    keys = ", ".join(" / ".join(map(str, key)) for key in loss.keys)
    more = ", …" if loss.made_inactive > len(loss.keys) else ""
    return f"{counts} {loss.table} become inactive" + (f": {keys}{more}" if keys else ".")
