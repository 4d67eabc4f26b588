"""Intake: what is new in the spool enters the ledger, judged by name and number.

Runs in the loader process, many receipts in one transaction. The decisions are `sequence`'s; here they are
carried out. The same functions judge a file anew when it is replayed.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from loaders import records
from server import answers, fixes, ledger, schema, streams
from server.answers import printable
from server.config import Settings
from server.names import FileName, NameRefused, parse, parse_accepted, parse_shown, split
from server.receipt import Receipt
from server.sequence import Arrival, Holder, Verdict, Version, is_taken, judge, stream_of, version_of
from server.spool import Spool
from server.states import Cause, Event, State


@dataclass(frozen=True)
class _Case:
    """A file that asks for its number."""

    file_id: int
    name: FileName
    version: Version
    sha256_lf: str
    size_bytes: int
    data: str
    sender: str


@dataclass(frozen=True)
class Intake:
    """Judges files.

    Attributes:
        settings: scope of sequences, integrations, ranks.
        known_apis: the catalog's, asked for each time.
        spool: where the bytes are, to see whether a file begins with another.
        may_push: whether a user, from an address, may send files of a source by now; asked where that was
            the trouble.
    """

    settings: Settings
    known_apis: Callable[[], frozenset[str]]
    spool: Spool
    may_push: Callable[[str, str, str], bool] = lambda _user, _address, _source: False

    def register(self, connection: Connection, receipts: Sequence[Receipt], now: datetime) -> list[str]:
        """Enter receipts and decide about their files; a receipt that is known already changes nothing.

        Returns:
            the data that is needed no more, since another file holds the same bytes; that of known receipts
            too, as whoever entered them may have died before the data was gone.
        """
        known = ledger.registered(connection, [receipt.id for receipt in receipts])
        copies = [receipt.data for receipt in receipts if known.get(receipt.id) == State.DUPLICATE]
        spare = set(copies) - ledger.shared(connection, copies)
        opened: dict[str, streams.Stream] = {}
        return [
            receipt.data
            for receipt in receipts
            if (
                receipt.data in spare
                if receipt.id in known
                else self._register(connection, receipt, opened, now)
            )
        ]

    def _register(
        self, connection: Connection, receipt: Receipt, opened: dict[str, streams.Stream], now: datetime
    ) -> bool:
        """Enter one receipt; whether its data is needed no more.

        Args:
            opened: the streams that this transaction has opened, and so has locked, as they are now.
        """
        try:
            name = self._name(receipt)
        except NameRefused as error:
            file_id = ledger.add_file(connection, receipt, None, now)
            _refuse(connection, file_id, Cause.BAD_NAME, receipt.refusal or str(error), now)
            return False
        if receipt.refusal is not None:
            file_id = ledger.add_file(connection, receipt, name, now)
            _refuse(connection, file_id, Cause(receipt.cause or Cause.CONFLICT), receipt.refusal, now)
            return False
        key = stream_of(name, self.settings.sequence.scope)
        stream = opened.get(key) or self._open_stream(connection, name, now)
        if not name.sequence:
            is_spare, opened[key] = self._number(connection, receipt, name, stream, now)
            return is_spare
        version = version_of(name.sequence, stream.expected)
        if name.is_fix:
            opened[key] = stream
            file_id = ledger.add_file(connection, receipt, name, now, stream_id=stream.id, version=version)
            return self._place_fix(connection, ledger.file_by_id(connection, file_id), name, now)
        holding = ledger.holder(connection, stream.id, version)
        file_id = ledger.add_file(
            connection,
            receipt,
            name,
            now,
            stream_id=stream.id,
            version=version,
            holder=1 if holding is None else None,
        )
        case = _Case(
            file_id, name, version, receipt.sha256_lf, receipt.size_bytes, receipt.data, receipt.user
        )
        is_spare, opened[key] = self._judge(connection, case, stream, holding, now)
        return is_spare

    def rejudge(self, connection: Connection, row: Row[Any], now: datetime, *, by: str, reason: str) -> None:
        """Judge a file anew as if it had just come (contract A6, section 8 `replay`).

        Args:
            connection: in a write transaction.
            row: of `inbox_file`, in any state but duplicate or replaced.
            now: UTC.
            by: who wants it.
            reason: why.
        """
        fix = fixes.name_of(row)
        if fix is not None and row.state in (State.HELD, State.LOADED):
            self._load_mended(connection, row, now, by=by, reason=reason)
            return
        if row.state == State.HELD:
            stream = streams.by_id(connection, row.stream_id, lock=True)
            streams.move_on(connection, stream, now)
            return
        state = ledger.move(connection, row.id, Event.REPLAYED, now, by=by, reason=reason, retry_at=None)
        if state is State.RECEIVED:
            self._judge_again(connection, row, fix, now)

    def _judge_again(
        self, connection: Connection, row: Row[Any], fix: FileName | None, now: datetime
    ) -> None:
        """Judge a file that is as if it had just come; the name is that of a fix, if it is one."""
        if row.api is None and row.cause == Cause.INTERNAL:
            ledger.move(connection, row.id, Event.BAD_CONTENT, now, reason=row.reason)
            return
        if row.api is None:
            _refuse(connection, row.id, Cause.BAD_NAME, self._refusal(row), now)
            return
        if row.cause == Cause.NOT_ALLOWED and not self.may_push(row.sender, row.address, row.source):
            _refuse(connection, row.id, Cause.NOT_ALLOWED, answers.not_allowed(row.sender, row.source), now)
            return
        if fix is not None:
            self._place_fix_anew(connection, row, fix, now)
            return
        name = split(parse_shown(row.name), self.known_apis())
        if row.holder:
            # Its own, whatever counts together by now.
            stream = streams.by_id(connection, row.stream_id, lock=True)
            version = Version.of(row.version)
        else:
            stream = self._open_stream(connection, name, now)
            version = version_of(name.sequence, stream.expected)
        case = _Case(row.id, name, version, row.sha256_lf, row.size_bytes, row.data, row.sender)
        if row.holder:
            # The catalog may tell the two apart in another way than it did.
            ledger.change(connection, row.id, integration=name.integration, api=name.api)
            self._place(connection, case, stream, now)
        else:
            holding = ledger.holder(connection, stream.id, version)
            ledger.change(
                connection,
                row.id,
                stream_id=stream.id,
                version=int(version),
                holder=1 if holding is None else None,
            )
            self._judge(connection, case, stream, holding, now)

    def _refusal(self, row: Row[Any]) -> str:
        """Why a file was refused for its name; what an operator wrote since then is no reason."""
        receipt = self.spool.read(row.receipt)
        if receipt is not None and receipt.refusal is not None:
            return receipt.refusal
        try:
            parse(row.name)
        except NameRefused as error:
            return str(error)
        return row.reason or ""

    def _place_fix_anew(self, connection: Connection, row: Row[Any], fix: FileName, now: datetime) -> None:
        """Place a fix anew; one that was refused at the door has no place in a stream yet."""
        stream = self._open_stream(connection, fix, now)
        version = Version.of(row.version) if row.version else version_of(fix.sequence, stream.expected)
        ledger.change(connection, row.id, stream_id=stream.id, version=int(version), cause=None)
        self._place_fix(connection, ledger.file_by_id(connection, row.id), fix, now)

    def _name(self, receipt: Receipt) -> FileName:
        """The name of a file that has come; NameRefused if it is none."""
        if receipt.refusal is not None and receipt.source is None:
            # A sender may not claim a name that the inbox has given.
            return parse(receipt.name)
        return parse_accepted(receipt.name, receipt.source, self.known_apis())

    def _number(
        self, connection: Connection, receipt: Receipt, name: FileName, stream: streams.Stream, now: datetime
    ) -> tuple[bool, streams.Stream]:
        """Give a file the next number, unless it repeats the one just before it (contract N7).

        Returns:
            whether its data is needed no more, and the stream as it is then.
        """
        for before in ledger.last_of(connection, stream.id, name):
            if before.sha256_lf == receipt.sha256_lf:
                named = replace(name, sequence=before.sequence)
                file_id = ledger.add_file(connection, receipt, named, now, stream_id=stream.id)
                reason = f"the same bytes as file {before.id}, which came just before"
                ledger.move(connection, file_id, Event.SAME_AGAIN, now, reason=reason)
                is_spare = not self._brings_back(connection, before, file_id)
                if before.state == State.QUARANTINED:
                    self.rejudge(connection, before, now, by=receipt.user, reason="it came again")
                return is_spare, stream
        due = stream.expected
        named = replace(name, sequence=due.sequence)
        file_id = ledger.add_file(connection, receipt, named, now, stream_id=stream.id, version=due, holder=1)
        case = _Case(file_id, named, due, receipt.sha256_lf, receipt.size_bytes, receipt.data, receipt.user)
        return False, self._count(connection, case, stream, now)

    def _open_stream(self, connection: Connection, name: FileName, now: datetime) -> streams.Stream:
        rank = self.settings.source(name.source).rank
        return streams.open_stream(connection, stream_of(name, self.settings.sequence.scope), rank, now)

    def _judge(
        self,
        connection: Connection,
        case: _Case,
        stream: streams.Stream,
        holding: Row[Any] | None,
        now: datetime,
    ) -> tuple[bool, streams.Stream]:
        """Decide about a file; it has its number already if no other file, `holding`, has it.

        Returns:
            whether its data is needed no more, and the stream as it is then.
        """
        is_spare = False
        holder = None if holding is None else ledger.as_holder(holding)
        arrival = self._arrival(case, holder)
        verdict = judge(case.version, arrival, stream.expected, holder)
        turned_away = [] if holding is None else ledger.turned_away(connection, holding)
        for other in turned_away:
            if other.sha256_lf == case.sha256_lf:
                verdict, holding = Verdict.DUPLICATE, other
        if holding is None:
            stream = self._count(connection, case, stream, now)
        elif verdict is Verdict.REPLACEMENT:
            ledger.move(
                connection,
                holding.id,
                Event.REPLACED,
                now,
                reason=f"replaced by file {case.file_id}",
                holder=None,
            )
            if holding.loaded_at is None:
                # What is loaded stays until this one is.
                records.forget_rows(connection, holding.id)
            for other in turned_away:
                ledger.move(
                    connection, other.id, Event.REPLACED, now, reason=f"replaced by file {case.file_id}"
                )
                records.forget_rows(connection, other.id)
            if not arrival.begins_with_holder:
                self._drop_fixes(connection, holding, now)
            ledger.change(connection, case.file_id, holder=1)
            stream = self._count(connection, case, stream, now)
        elif verdict is Verdict.DUPLICATE:
            reason = f"the same bytes as file {holding.id}"
            ledger.move(connection, case.file_id, Event.SAME_AGAIN, now, reason=reason)
            is_spare = not self._brings_back(connection, holding, case.file_id)
            if holding.state == State.QUARANTINED:
                self.rejudge(connection, holding, now, by=case.sender, reason="it came again")
        else:
            reason = (
                f"number {case.name.sequence:07d} belongs to {holding.name} (file {holding.id}), which came "
                "first and has other content; that one stays"
            )
            _refuse(connection, case.file_id, Cause.CONFLICT, reason, now)
        return is_spare, stream

    def _brings_back(self, connection: Connection, row: Row[Any], copy_id: int) -> bool:
        """Let a file whose bytes are lost have those of a copy that has come; whether it needs them."""
        copy = ledger.file_by_id(connection, copy_id)
        if copy.data == row.data:
            # A rename that its sender took for failed, and repeated.
            return True
        if self.spool.has_data(row.data):
            return False
        same = {name: getattr(copy, name) for name in ("data", "size_bytes", "sha256", "sha256_lf")}
        ledger.change(connection, row.id, **same)
        ledger.note(
            connection, copy.registered_at, event="bytes back", file_id=row.id, reason=f"from file {copy_id}"
        )
        return True

    def _place_fix(self, connection: Connection, row: Row[Any], name: FileName, now: datetime) -> bool:
        """Let a fix wait for its file, and load that if it can be; whether its data is needed no more.

        Where another file has the number for good, none can come that the fix would correct (contract A7).
        """
        holding = ledger.holder(connection, row.stream_id, Version.of(row.version))
        if holding is not None and is_taken(ledger.as_holder(holding), str(name.mended)):
            reason = (
                f"number {name.sequence:07d} belongs to {holding.name} (file {holding.id}), so there is no "
                f"{name.mended} to correct"
            )
            _refuse(connection, row.id, Cause.CONFLICT, reason, now)
            return False
        for other in ledger.fixes(connection, row.name, row.stream_id, row.version):
            if other.sha256_lf == row.sha256_lf:
                reason = f"the same bytes as file {other.id}"
                ledger.move(connection, row.id, Event.SAME_AGAIN, now, reason=reason)
                if not self._brings_back(connection, other, row.id):
                    return True
                self._load_mended(connection, row, now, by=row.sender, reason="corrected rows came back")
                return False
        ledger.move(connection, row.id, Event.TOO_EARLY, now, reason=f"it goes in with {name.mended}")
        self._load_mended(connection, row, now, by=row.sender, reason="corrected rows came")
        return False

    def _load_mended(
        self, connection: Connection, row: Row[Any], now: datetime, *, by: str, reason: str
    ) -> None:
        """Load the file of a fix once more, if it has been loaded or had too many refused rows."""
        holding = fixes.mended(connection, row)
        if holding is None:
            return
        # The fix may be for one that was to take the place of a loaded file, and had too many.
        newest = [holding, *ledger.turned_away(connection, holding)][-1]
        if fixes.loads_again(newest):
            self.rejudge(connection, newest, now, by=by, reason=reason)

    def _drop_fixes(self, connection: Connection, row: Row[Any], now: datetime) -> None:
        """The fixes of a file mean nothing for the lines of one that takes its place with other bytes."""
        if row.api is None:
            return
        for fix in ledger.fixes(connection, str(parse_shown(row.name).fix), row.stream_id, row.version):
            ledger.move(connection, fix.id, Event.REPLACED, now, reason=f"{row.name} was sent anew")
            records.forget_rows(connection, fix.id)

    def _arrival(self, case: _Case, holder: Holder | None) -> Arrival:
        begins = (
            holder is not None
            and holder.name == str(case.name)
            and case.size_bytes > holder.size_bytes
            and self.spool.begins_with(case.data, holder.size_bytes, holder.sha256)
        )
        return Arrival(str(case.name), case.sha256_lf, begins)

    def _count(
        self, connection: Connection, case: _Case, stream: streams.Stream, now: datetime
    ) -> streams.Stream:
        """Go on in the stream if the file was due, and place it; returns the stream as it is then."""
        if case.version == stream.expected:
            stream, _ = streams.move_on(connection, stream, now)
        self._place(connection, case, stream, now)
        return stream

    def _place(self, connection: Connection, case: _Case, stream: streams.Stream, now: datetime) -> None:
        """Ready, held or quarantined, for a file that has its number."""
        reason = stranger(case.name, self.known_apis(), self.settings.inbox.integrations)
        if reason:
            ledger.move(
                connection, case.file_id, Event.UNKNOWN_API, now, reason=reason, cause=Cause.UNKNOWN_API
            )
            ledger.reinstate(connection, ledger.file_by_id(connection, case.file_id), now)
        elif case.version > stream.expected:
            ledger.move(connection, case.file_id, Event.TOO_EARLY, now, cause=None)
        else:
            ledger.move(connection, case.file_id, Event.IN_TURN, now, cause=None)


def set_aside(connection: Connection, receipt: Receipt, reason: str, now: datetime) -> None:
    """Quarantine a file that cannot be registered as what it is; it takes no number (contract E1)."""
    file_id = ledger.add_file(connection, replace(receipt, name=printable(receipt.name)), None, now)
    said = f"it cannot be registered ({reason}); when that is mended, have it sent again"
    ledger.move(connection, file_id, Event.BAD_CONTENT, now, reason=said, cause=Cause.INTERNAL)


def stranger(name: FileName, apis: Container[str], integrations: Sequence[str]) -> str:
    """Why a name's API or integration is not known here, or nothing (contract N5).

    Args:
        name: of a file.
        apis: that the catalog has.
        integrations: that the settings have; none for all.
    """
    if name.api not in apis:
        return f"the catalog has no API {name.api}; the file is judged anew when it has one"
    if integrations and name.integration and name.integration not in integrations:
        return f"the settings have no integration {name.integration}; it is judged anew when they have"
    return ""


def strangers(connection: Connection) -> list[Row[Any]]:
    """The files that are quarantined for their API or integration, in order of arrival."""
    query = (
        select(schema.file)
        .where(schema.file.c.state == State.QUARANTINED, schema.file.c.cause == Cause.UNKNOWN_API)
        .order_by(schema.file.c.id)
    )
    return list(connection.execute(query))


def _refuse(connection: Connection, file_id: int, cause: str, reason: str, now: datetime) -> None:
    ledger.move(connection, file_id, Event.REFUSED, now, reason=reason, cause=cause)
