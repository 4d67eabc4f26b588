"""A corrected copy from an operator's disk: in the place of a whole file, or corrected rows of one (A7, E3).

It goes the way of all that is received, as if its sender had sent it. Corrected rows are tried first, and not
taken if none of them would go in.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row

from loaders import corrections
from loaders.checking import Examination
from loaders.corrections import Corrections
from loaders.shapes import Api, Catalog
from server import fixes
from server.config import Settings
from server.decisions import Corrected, Decision, Touched
from server.errors import InboxError, UsageError
from server.names import parse_shown
from server.nudges import nudge
from server.sequence import REPLACEABLE
from server.spool import Spool
from server.states import State
from server.upload import Sender, Upload

_BLOCK_BYTES = 256 * 1024


def take(
    connection: Connection,
    row: Row[Any],
    path: Path,
    *,
    settings: Settings,
    spool: Spool,
    catalog: Catalog,
    decision: Decision,
) -> Touched:
    """Accept a corrected copy.

    Args:
        connection: for reading.
        row: the file of the ledger that it corrects.
        path: the whole file, or corrected rows of it if it ends in `.fix`.
        settings: limits, and how the source writes.
        spool: where it goes.
        catalog: by which corrected rows are tried.
        decision: who and why.

    Returns:
        a `Corrected` for corrected rows.

    Raises:
        UsageError: the file has no number, or one that no corrected copy can take.
        OSError: the copy cannot be read, or the spool cannot be written.
    """
    name = None if row.api is None else parse_shown(row.name)
    if name is None or not row.holder:
        raise UsageError(f"{row.name} (file {row.id}) has no number that a corrected copy could take.")
    touched = Touched(row.id, row.name, row.state, State.REPLACED, None)
    if path.suffix.lower() == ".fix":
        name = name.fix
        options = settings.reading(row.source)
        with path.open("rb") as handle:
            fix = corrections.read(handle, options)
        earlier = fixes.of(connection, row, spool, options)
        touched = _tried(row, fix, earlier, settings=settings, spool=spool, api=catalog.get(row.api))
        if not touched.comes_about:
            return touched
    elif row.state not in REPLACEABLE:
        raise UsageError(
            f"{row.name} (file {row.id}) is {row.state}, and another file cannot take its number.",
            todo="Corrected rows of it can come in a file that ends in .fix.",
        )
    if not decision.dry_run:
        _accept(path, str(name), settings, spool, decision)
    return touched


def _tried(
    row: Row[Any],
    fix: Corrections,
    earlier: list[fixes.Fix],
    *,
    settings: Settings,
    spool: Spool,
    api: Api | None,
) -> Corrected:
    """What corrected rows would do to a file that other fixes have been accepted for."""
    data = spool.data_path(row.data)
    if api is None or not data.is_file():
        # Nobody can say before the catalog knows the API.
        found = fix.rows_read, len(fix.rows), list(fix.refused)
    else:
        mending = [*earlier, fixes.Fix(0, fix)]
        rows = [each.corrections.rows for each in mending]
        options = settings.reading(row.source)
        examination = Examination(api, options, settings.max_rejected(api), rows)
        with data.open("rb") as handle:
            found = fixes.attempt(row.name, handle, examination, mending)
    becomes = State.READY if found[1] and fixes.loads_again(row) else row.state
    return Corrected(row.id, row.name, row.state, becomes, None, *found)


def _accept(path: Path, name: str, settings: Settings, spool: Spool, decision: Decision) -> None:
    with path.open("rb") as copied:
        upload = Upload(spool, Sender(decision.by, "", name), settings.inbox.max_file_size)
        try:
            for block in iter(lambda: copied.read(_BLOCK_BYTES), b""):
                upload.write(block)
            receipt = upload.make_durable()
        except (OSError, InboxError):
            upload.discard()
            raise
    spool.accept(replace(receipt, id=spool.new_id(receipt.data)))
    nudge(spool.root)
