"""`check`: the verdict that a load would give on a file, without loading it (contract section 8).

The rows go through the same `Examination` as in a load. Whether their parents are there, and what a FULL
would make inactive, only a database can tell: where that is wanted, the file is loaded in a transaction that
is never committed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select

from loaders.checking import Examination, Quarantine
from loaders.full import objection
from loaders.load import Delivery, NeedsApproval, load
from loaders.records import parked_row
from loaders.rejects import Reject, shown
from loaders.shapes import Api, Catalog, ReferenceKind
from server import fixes, streams
from server.config import Settings
from server.database import Database
from server.errors import UsageError
from server.intake import stranger
from server.names import (
    FIRST_SEQUENCE,
    FileName,
    Mode,
    NameRefused,
    is_unsequenced,
    parse_shown,
    parse_unsequenced,
    split,
)
from server.sequence import stream_of, version_of
from server.spool import Spool
from server.states import State

# The ledger counts from 1, so these are nobody's.
_NO_FILE = 0
_NO_STREAM = 0

Found = Callable[[Reject], None]


@dataclass(frozen=True)
class Subject:
    """A file to be checked: where its bytes are, and what it is taken for.

    `name` is there if its number tells where it belongs among others. `verdict` is there if its name alone
    decides, so that nobody would look at its rows. `corrections` are the accepted ones, fix by fix.
    """

    file: str
    path: Path
    api: str = ""
    source: str = ""
    mode: Mode = Mode.NET
    name: FileName | None = None
    is_approved: bool = False
    corrections: Sequence[Mapping[int, str]] = ()
    verdict: "Verdict | None" = None


@dataclass(frozen=True)
class Verdict:
    """What would become of a file; `rows_parked` is None where the tables were not looked at."""

    file: str
    api: str | None
    source: str
    state: State
    reason: str | None = None
    rows_read: int = 0
    rows_loaded: int = 0
    rows_rejected: int = 0
    rows_parked: int | None = None

    def __str__(self) -> str:
        if self.state is not State.LOADED:
            return f"{self.file} would be {self.state}: {self.reason}"
        parked = "" if self.rows_parked is None else f", parked: {self.rows_parked:,}"
        counts = f"rows read: {self.rows_read:,}, rejected: {self.rows_rejected:,}{parked}"
        return f"{self.file} would be loaded; {counts}."


class _Undone(Exception):
    """Ends the transaction of a load that was only tried."""


@dataclass(frozen=True)
class Desk:
    """Where files are checked, by the settings and the catalog of an inbox."""

    settings: Settings
    catalog: Catalog

    def on_disk(self, path: Path, api: str | None = None, source: str | None = None) -> Subject:
        """A file that has not been sent yet; its name says what it is, unless an API is given.

        Raises:
            UsageError: it is a folder, or the catalog has no such API.
        """
        if path.is_dir():
            raise UsageError(f"{path} is a folder.", todo="Name the files in it.")
        if path.suffix.lower() == ".fix" and api is None:
            raise UsageError(
                f"{path.name} holds corrected rows, which mean nothing without their file.",
                todo=f"`kore-inbox replay FILE --with {path.name} --dry-run` says what would become of them.",
            )
        # A path can hold bytes that are no text, and nothing that shows or writes it would stand them.
        shown_path = str(path).encode("utf-8", "backslashreplace").decode()
        return self._subject(shown_path, path, path.name, api, source)

    def received(
        self, connection: Connection, row: Row[Any], spool: Spool, api: str | None, source: str | None
    ) -> Subject:
        """A file of the ledger, with the fixes that its next load would take into account.

        Raises:
            UsageError: its bytes are gone, or the catalog has no such API.
        """
        path = spool.data_path(row.data)
        if not path.is_file():
            raise UsageError(f"The bytes of {row.name} (file {row.id}) are not in the spool any more.")
        subject = self._subject(row.name, path, row.name, api, source)
        mending = fixes.of(connection, row, spool, self.settings.reading(subject.source))
        corrections = [fix.corrections.rows for fix in mending]
        return replace(subject, is_approved=bool(row.approved), corrections=corrections)

    def _subject(self, file: str, path: Path, name: str, api: str | None, source: str | None) -> Subject:
        try:
            known = self._known(name, source)
        except NameRefused as error:
            if api is None:
                verdict = Verdict(file, None, (source or "").upper(), State.REFUSED, f"{error}.")
                return Subject(file, path, verdict=verdict)
            known = FileName(source or "", FIRST_SEQUENCE, "", api, _mode(name))
        if known.is_fix and api is None:
            raise UsageError(
                f"{file} holds corrected rows, which mean nothing without their file.",
                todo="Send it: what of it is wrong is told as before.",
            )
        known = replace(known, source=(source or known.source).upper(), api=(api or known.api).upper())
        own = known if api is None and source is None else None
        subject = Subject(file, path, known.api, known.source, known.mode, own)
        reason = stranger(known, self.catalog, self.settings.inbox.integrations) if api is None else ""
        if reason:
            verdict = Verdict(file, known.api, known.source, State.QUARANTINED, f"{reason}.")
            return replace(subject, verdict=verdict)
        if known.api not in self.catalog:
            raise UsageError(f"The catalog has no API {known.api}.", todo="See `kore-inbox catalog`.")
        return subject

    def _known(self, name: str, source: str | None) -> FileName:
        """What a name says; without source and sequence it needs the one that is given (contract N7)."""
        if source and is_unsequenced(name):
            return parse_unsequenced(name, source.upper(), self.catalog)
        return split(parse_shown(name), self.catalog)

    def check(self, subject: Subject, found: Found) -> Verdict:
        """Check a file's rows by themselves; each refused one is told to `found`."""
        if subject.verdict is not None:
            return subject.verdict
        api = self._api(subject)
        options, limit = self.settings.reading(subject.source), self.settings.max_rejected(api)
        examination = Examination(api, options, limit, subject.corrections)
        state, reason = State.LOADED, None
        try:
            with subject.path.open("rb") as data:
                for batch in examination.batches(data):
                    for reject in batch.rejects:
                        found(reject)
        except Quarantine as fault:
            state, reason = State.QUARANTINED, fault.reason
        read, rejected = examination.rows_read, examination.rows_rejected
        loaded = read - rejected if state is State.LOADED else 0
        if state is State.LOADED and subject.mode is Mode.FULL and not subject.is_approved:
            # What it would make inactive takes a database; that it holds nothing does not.
            reason = objection([], good_rows=loaded, unreadable_keys=0, limit_percent=0) or None
            state = State.DEFERRED if reason else state
        return Verdict(subject.file, subject.api, subject.source, state, reason, read, loaded, rejected)

    def check_tables(
        self,
        subject: Subject,
        verdict: Verdict,
        database: Database,
        found: Found,
        waiting: Callable[[str], None] | None,
    ) -> Verdict:
        """Check a file that would be loaded against the tables; each row that had to wait is told to `found`.

        A FULL may turn out to need approval. It takes a writer's turn, so meanwhile the loader waits; nothing
        is committed.
        """
        if verdict.state is not State.LOADED:
            return verdict
        with suppress(_Undone), database.write(f"checking {subject.file}", waiting) as connection:
            try:
                rows_parked = self._try(connection, subject)
            except NeedsApproval as fault:
                verdict = replace(verdict, state=State.DEFERRED, reason=fault.reason, rows_loaded=0)
                raise _Undone from fault
            waits = select(parked_row).where(parked_row.c.file_id == _NO_FILE).order_by(parked_row.c.line)
            for row in connection.execute(waits):
                field = _referring(self._api(subject), row.waits_table)
                found(Reject(row.line, field, f"{row.waits_table} has no {shown(row.waits_key)}", row.raw))
            loaded = verdict.rows_loaded - rows_parked
            verdict = replace(verdict, rows_parked=rows_parked, rows_loaded=loaded)
            raise _Undone
        return verdict

    def _try(self, connection: Connection, subject: Subject) -> int:
        """Load the file under its number, else above all others; returns how many rows were parked."""
        api = self._api(subject)
        ranks = streams.places(connection)
        stream_id, version = _NO_STREAM, 0
        if subject.name is not None:
            own = streams.by_name(connection, stream_of(subject.name, self.settings.sequence.scope))
            if own is not None:
                stream_id, version = own.id, int(version_of(subject.name.sequence, own.expected))
        delivery = Delivery(
            file_id=_NO_FILE,
            api=api.name,
            mode=subject.mode,
            stream=stream_id,
            version=version,
            ranks={**ranks, _NO_STREAM: max(ranks.values(), default=0) + 1},
            options=self.settings.reading(subject.source),
            max_rejected=self.settings.max_rejected(api),
            shrink_limit_percent=self.settings.load.full_shrink_limit,
            is_approved=subject.is_approved,
            corrections=subject.corrections,
        )
        with subject.path.open("rb") as data:
            return load(connection, self.catalog, delivery, data).rows_parked

    def needs_tables(self, subject: Subject) -> bool:
        """Whether a part of the verdict depends on what the tables hold."""
        if subject.verdict is not None:
            return False
        return subject.mode is Mode.FULL or bool(self._api(subject).referring(ReferenceKind.PARK))

    def _api(self, subject: Subject) -> Api:
        return self.catalog[subject.api]


def _mode(name: str) -> Mode:
    """By its ending, what a file is whose name says nothing else."""
    ending = name.rpartition(".")[2].upper()
    return Mode(ending) if ending in Mode.__members__ else Mode.NET


def _referring(api: Api, parent: str) -> str | None:
    """The field that names a row of a table."""
    columns = {r.columns[0] for r in api.referring(ReferenceKind.PARK) if r.parent == parent}
    return next((field.name for field in api.fields if field.column in columns), None)
