"""Acceptance: from the last byte of an upload to the promise that it is in (contract section 3).

    bytes durable ─► name ─► number ─► receipt durable, last look at the sender ─► rename into new/ ─► answer
                       │        │
                       └────────┴──► refused: bytes kept once per digest, receipt with the reason

It needs no database: what the ledger says is asked for and may be missing (A4). It knows no FTP either; the
receiver calls it on worker threads, the drop folders on theirs (A11). All of it is safe in any thread.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from server import answers, proofs, unnumbered
from server.answers import Answer, failure, printable, shown
from server.config import Settings
from server.leftovers import Leftovers
from server.names import (
    FileName,
    Mode,
    NameRefused,
    is_temporary,
    is_unsequenced,
    parse,
    parse_accepted,
    parse_unsequenced,
)
from server.nudges import nudge
from server.outlook import Outlook, View
from server.pending import Entry, Pending
from server.receipt import Receipt
from server.sent import SHOWN_AT_MOST, SHOWN_SECONDS, Sent
from server.sequence import Arrival, Holder, Verdict, Version, advance, is_taken, judge
from server.spool import Spool, Undone, utc_now
from server.states import Cause, State
from server.upload import Upload, UploadCut
from server.uploads import Uploads
from server.users import User

T = TypeVar("T")

log = logging.getLogger("server.acceptance")

# What was staged and never renamed, cut and never resumed, and bytes of uploads that died, is kept so long.
KEPT_SECONDS = 86_400.0

# Of a client that is killed its system closes one connection after the other, and may do other work between:
# on a busy machine with a quick disk one file in twenty was accepted before (measured).
DOUBT_SECONDS = 0.05

_LONGEST_TEMPORARY_NAME = 255


def _nobody_leaves() -> None:
    """The last look of those whose senders cannot be seen."""


LastLook = Callable[[], None]


class Acceptance:
    """Accepts uploads into one spool.

    Args:
        spool: exists already.
        settings: limits, temporary names, integrations, scope of the streams.
        outlook: what the ledger says.
        known_apis: the catalog's APIs, asked for each time.
    """

    def __init__(
        self, spool: Spool, settings: Settings, outlook: Outlook, known_apis: Callable[[], frozenset[str]]
    ) -> None:
        self.sent = Sent()
        self.uploads = Uploads(spool, settings.inbox, self.sent)
        self._spool = spool
        self._settings = settings
        self._inbox = settings.inbox
        self._scope = settings.sequence.scope
        self._outlook = outlook
        self._known_apis = known_apis
        self._pending = Pending(spool, self._scope, self._name_of)
        self._leftovers = Leftovers(spool)
        self._turns = _Turns()

    def load(self) -> None:
        """Take up what an earlier receiver has left in the spool."""
        self._pending.load()
        for receipt in self._spool.recent(SHOWN_SECONDS, SHOWN_AT_MOST):
            if receipt.refusal is None:
                self.sent.accepted(receipt)
        notes = list(self._spool.staged_receipts())
        still_staged = self._spool.without_receipt(note.data for note in notes)
        for note in notes:
            if note.data not in still_staged:
                # It was accepted, and the receiver died before it forgot the note.
                self._spool.unstage(note.id)
            else:
                self.uploads.take_up(note)

    def finish(self, upload: Upload, user: User, last_look: LastLook = _nobody_leaves) -> Answer:
        """Decide about an upload whose bytes are complete, and make it durable. Waits for the disk.

        Args:
            upload: all bytes are written.
            user: who sends it.
            last_look: called just before the instant of acceptance; raises UploadCut if the sender has gone.

        Returns:
            226 if the file is in or staged, 553 if it is refused for good, 426 if it was cut after all, 451,
            452 or 552 if the disk will not take it. The bytes are discarded unless a receipt or a note speaks
            of them.
        """
        try:
            proto = self._proved(upload, user, seen=last_look is not _nobody_leaves)
            if is_temporary(proto.name, self._inbox.temporary_suffixes):
                answer = self._stage(proto, last_look)
            else:
                answer = self._take(proto, user, last_look)
        except UploadCut as error:
            return self.uploads.keep(upload, error)
        except OSError as error:
            if not isinstance(error, Undone):
                upload.discard()
            answer = _failed(upload.sender.name, error)
        else:
            # For any other error the bytes stay, for the sweep, which asks the receipts.
            if not answer.accepted:
                upload.discard()
        _afterwards(lambda: self.uploads.settle(upload))
        return answer

    def _proved(self, upload: Upload, user: User, *, seen: bool) -> Receipt:
        """Make the bytes durable, and ask what shows that they are all there.

        Args:
            upload: its data ended in order.
            user: who sends it.
            seen: whether the last look can see the sender.

        Raises:
            UploadCut: they are not.
            OSError: as `make_durable`.
        """
        proto, proved = upload.make_durable(), upload.proofs
        if seen:
            # If he has gone by the last look, no receipt comes to be that says otherwise.
            proved[proofs.SENDER] = proofs.passed("he was still connected")
        proved[proofs.SIZE] = proofs.of_size(proto.size_bytes, upload.announced)
        proved[proofs.LAST_LINE] = self._last_line(upload, proto, user)
        failure = proofs.failure(proved)
        if failure is not None:
            name, why = failure
            raise UploadCut(why, name)
        if seen and proofs.is_doubtful(proved):
            _let_him_leave()
        return replace(proto, proofs=dict(proved))

    def _last_line(self, upload: Upload, proto: Receipt, user: User) -> str:
        source = proto.name.partition("_")[0].upper()
        if not proto.size_bytes:
            return "none: it is empty"
        # A name that is temporary or has no source (N7) may begin with anything.
        end, before = upload.open_end(), upload.earlier
        if end and self._settings.source(source if source in user.sources else user.sources[0]).ragged:
            return "none: rows of this source may differ in width"
        proof = proofs.of_last_line(end)
        if proof.startswith("failed") and before is not None and before.sha256 == proto.sha256:
            # No two cuts fall on the same byte; the row is refused when it is loaded (L3).
            return "none: it has no line end and too few cells, but came twice"
        return proof

    def rename(
        self, user: User, address: str, old: str, new: str, last_look: LastLook = _nobody_leaves
    ) -> Answer:
        """Give a staged file its real name, which accepts it, or another temporary one (contract N6).

        What is refused, or could not be made durable, stays staged under its old name.

        Returns:
            as `finish`, with 250 for 226, and 550 if nothing is staged under the old name.
        """
        # Taken away first: an upload of the same name meanwhile must not discard what is being accepted.
        note = self.sent.take_staged(user.name, old)
        if note is None:
            return Answer(550, f"{shown(old)} is not staged; there is nothing to rename.")
        try:
            is_gone = self.uploads.still_there(note) is None
        except OSError as error:
            return _failed(new, error)
        if is_gone:
            return Answer(550, f"{shown(old)} is gone from the inbox's disk; send it again.")
        proto = replace(note, name=new, address=address, received_at=utc_now().isoformat())
        answer = Answer(451, "")
        try:
            if is_temporary(new, self._inbox.temporary_suffixes):
                answer = self._stage(proto, last_look)
            else:
                answer = self._take(proto, user, last_look)
        except (UploadCut, OSError) as error:
            return _failed(new, error)
        finally:
            if answer.accepted:
                _afterwards(lambda: self._spool.unstage(note.id))
            elif not self.sent.put_back(note):
                _afterwards(lambda: self.uploads.forget(note))
        return replace(answer, code=250) if answer.accepted else answer

    def tidy(self) -> None:
        """Sweep what was never renamed or resumed and what died, after a day; to be called now and then."""
        for note in self.sent.take_staged_before(time.time() - KEPT_SECONDS):
            self.uploads.forget(note)
            fate = "cut a day ago and never resumed" if note.cut else "staged a day ago and never renamed"
            _say("sweep", f"{shown(note.name)} was {fate}; it is swept", note)
        swept = self._leftovers.sweep(KEPT_SECONDS)
        with self._turns.hold("refused"):
            swept += self._leftovers.sweep_refused(KEPT_SECONDS)
        for data in swept:
            log.info("%s, of an upload that died, is swept", data, extra={"action": "sweep"})

    def _take(self, proto: Receipt, user: User, last_look: LastLook) -> Answer:
        """Accept or refuse durable bytes under a name that is not temporary."""
        try:
            name = self._name(proto.name, user)
        except NameRefused as error:
            return self._refuse(proto, shown(proto.name), Cause.BAD_NAME, str(error), last_look)
        if name.source not in user.sources:
            reason = answers.not_allowed(user.name, name.source)
            return self._refuse(proto, str(name), Cause.NOT_ALLOWED, reason, last_look)
        proto = replace(proto, source=None if name.sequence else name.source)
        # One at a time per number: a second copy must not hear "already received" of what is not durable yet.
        with self._turns.hold((name.source, name.sequence if name.has_own_number else str(name))):
            verdict, sentence = self._judge(Entry.of(name, proto))
            if verdict is Verdict.CONFLICT:
                return self._refuse(proto, str(name), Cause.CONFLICT, sentence, last_look)
            receipt = replace(proto, id=self._spool.new_id(proto.data))
            self._spool.accept(receipt, last_look)
            _afterwards(lambda: self._pending.add(name, receipt.id))
        _afterwards(lambda: self.sent.accepted(receipt))
        _afterwards(lambda: self.uploads.forget_cut(receipt.user, receipt.name))
        _afterwards(lambda: nudge(self._spool.root))
        _say("accept", sentence, receipt)
        return Answer(226, sentence)

    def _name(self, text: str, user: User) -> FileName:
        """A name as a user may give it (contract N4, N7).

        Raises:
            NameRefused: it is none, or one that he may not give.
        """
        try:
            return parse(text)
        except NameRefused as error:
            if not is_unsequenced(text):
                raise
            if not user.unsequenced:
                more = "names without source and sequence are for users added with --unsequenced"
                raise NameRefused(f"{error}; {more}") from None
        return parse_unsequenced(text, user.sources[0], self._known_apis())

    def _name_of(self, receipt: Receipt) -> FileName:
        return parse_accepted(receipt.name, receipt.source, self._known_apis())

    def _judge(self, entry: Entry) -> tuple[Verdict, str]:
        """What an arrival means and what its sender hears; for a conflict, the reason (contract A6, A7)."""
        if not entry.name.has_own_number:
            return self._judge_unnumbered(entry)
        name = entry.name
        waiting = self._pending.of(name)
        view = self._look(name)
        # With the database away only what waits under the same number is known (A4).
        here = Version(0, name.sequence)
        version, expected, holder = (view.version, view.expected, view.holder) if view else (here, here, None)
        for earlier in waiting:
            if judge(version, self._arrival(earlier, holder), expected, holder) not in _CHANGES_NOTHING:
                holder = self._as_holder(earlier)
        due = self._due(name, view) if view else here
        verdict = judge(version, self._arrival(entry, holder), due, holder)
        stranger = self._stranger(name)
        if verdict is Verdict.CONFLICT and holder is not None:
            return verdict, answers.conflict(name, holder.name)
        if stranger and verdict is not Verdict.DUPLICATE:
            return verdict, answers.quarantined(name, stranger)
        if view is None and holder is None:
            return verdict, answers.database_away(name)
        state = None if holder is None else holder.state
        window = self._settings.window(name.source) if name.mode is Mode.FULL else None
        now = utc_now()
        opens = None if window is None or window.is_open(now) else window.opens_next(now)
        return verdict, answers.accepted(name, verdict, due, state, self._scope, opens=opens)

    def _judge_unnumbered(self, entry: Entry) -> tuple[Verdict, str]:
        """The same for a name that takes no number of its sender's (contract E3, N7)."""
        name = entry.name
        # The spool first: what is registered in between is then seen at least once.
        waiting = [earlier.sha256_lf for earlier in self._pending.of(name)]
        to_mend = self._pending.of(name.mended) if name.is_fix else []
        view = self._look(name)
        if name.is_fix:
            holders = [view.holder if view else None, *map(self._as_holder, to_mend)]
            holder = next((holder for holder in holders if holder is not None), None)
            if holder is not None and is_taken(holder, str(name.mended)):
                return Verdict.CONFLICT, answers.conflict(name, holder.name)
        if unnumbered.came_before(name, entry.sha256_lf, waiting, view):
            return Verdict.DUPLICATE, answers.already_received(name)
        return Verdict.IN_TURN, unnumbered.sentence(name, self._stranger(name), view)

    def _arrival(self, entry: Entry, holder: Holder | None) -> Arrival:
        begins_with_holder = (
            holder is not None
            and holder.name == str(entry.name)
            and entry.size_bytes > holder.size_bytes
            and entry.sha256_lf != holder.sha256_lf
            and self._spool.begins_with(entry.data, holder.size_bytes, holder.sha256)
        )
        return Arrival(str(entry.name), entry.sha256_lf, begins_with_holder)

    def _as_holder(self, entry: Entry) -> Holder:
        state = State.QUARANTINED if self._stranger(entry.name) else State.RECEIVED
        return Holder(str(entry.name), state, entry.sha256_lf, entry.size_bytes, entry.sha256)

    def _stranger(self, name: FileName) -> str:
        """What of a name is unknown here, or nothing (contract N5)."""
        if name.api not in self._known_apis():
            return f"the API {name.api}"
        known = self._inbox.integrations
        if not known or not name.integration or name.integration in known:
            return ""
        return f"the integration {name.integration}"

    def _look(self, name: FileName) -> View | None:
        return _asked(lambda: self._outlook.look(name))

    def _due(self, name: FileName, view: View) -> Version:
        """The version that is due in a file's stream, by the ledger and what waits here together.

        The ledger is asked again only where what it has behind that can change what the sender hears.
        """
        runs = self._pending.runs(name, view.expected)
        due = advance(view.expected, (), runs)
        if not view.expected < due < view.version:
            return due
        return _asked(lambda: self._outlook.due(name, due, runs)) or due

    def _stage(self, proto: Receipt, last_look: LastLook) -> Answer:
        if len(proto.name) > _LONGEST_TEMPORARY_NAME or not proto.name.isprintable():
            reason = f"a temporary name has at most {_LONGEST_TEMPORARY_NAME} characters, all printable"
            return self._refuse(proto, shown(proto.name), Cause.BAD_NAME, reason, last_look)
        note = replace(proto, id=self._spool.new_id(proto.data))
        self._spool.stage(note, last_look)
        _afterwards(lambda: self.uploads.show(note))
        sentence = f"{shown(note.name)} staged; it is accepted when it is renamed to its real name."
        _say("stage", sentence, note)
        return Answer(226, sentence)

    def _refuse(self, proto: Receipt, name: str, cause: Cause, reason: str, last_look: LastLook) -> Answer:
        """Say no for good, and keep the bytes for the operator within the quota (contract N4)."""
        with self._turns.hold("refused"):
            data = self._spool.keep_refused(proto.data, proto.sha256, self._inbox.refused_quota)
            receipt = replace(proto, id=self._spool.new_id(data), data=data, refusal=reason, cause=cause)
            self._spool.accept(receipt, last_look)
        _afterwards(lambda: nudge(self._spool.root))
        fate = (
            "it is kept for the operator" if data else "it is not kept, the quota for refused files is full"
        )
        sentence = f"{name} refused: {reason}; {fate}."
        _say("refuse", sentence, receipt)
        return Answer(553, printable(sentence))


# Of what waits under one number, these do not take it over.
_CHANGES_NOTHING = frozenset({Verdict.DUPLICATE, Verdict.CONFLICT})


class _Turns:
    """A lock per key, kept only while someone holds it or waits for it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Hashable, tuple[threading.Lock, int]] = {}

    @contextmanager
    def hold(self, key: Hashable) -> Iterator[None]:
        with self._guard:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks.pop(key)
                if users > 1:
                    self._locks[key] = (lock, users - 1)


def _failed(name: str, error: UploadCut | OSError) -> Answer:
    """What a sender hears of a file that could not be made safe."""
    if isinstance(error, UploadCut):
        log.warning("%s not accepted: %s", shown(name), error.happened, extra={"action": "cut"})
        return Answer(426, f"{shown(name)} not accepted: {error.happened}.")
    log.error("%s not accepted: %s", shown(name), error, extra={"action": "fault"})
    return failure(name, error)


def _let_him_leave() -> None:
    """Give a sender of whom nothing shows that he has sent all the time to be gone at the last look."""
    time.sleep(DOUBT_SECONDS)


def _asked(question: Callable[[], T | None]) -> T | None:
    """What the ledger says; nothing of it is needed for a promise (A4)."""
    try:
        return question()
    except Exception:
        log.exception("looking at the ledger failed; the file is accepted without", extra={"action": "look"})
        return None


def _afterwards(step: Callable[[], object]) -> None:
    """Do what follows a promise: its failure must not break the promise."""
    try:
        step()
    except Exception:
        log.exception("the file is safe, but what follows failed", extra={"action": "fault"})


def _say(action: str, sentence: str, receipt: Receipt) -> None:
    log.info(
        "%s",
        sentence,
        extra={
            "action": action,
            "user": receipt.user,
            "address": receipt.address,
            "receipt": receipt.id,
            "size_bytes": receipt.size_bytes,
        },
    )
