"""The ledger under anything that can happen, against an oracle that is a few dictionaries.

Files arrive in any order, twice, in conflict, late, cut, bad; fixes come before or after them; operators
skip, withdraw and replay; the loader dies between any two steps; the ledger is lost and made anew. After each
of these the inbox is left to itself, and then every file is in the one state that the oracle says, and so is
the table (contract S1 to S5, A6, A7, L1, L4, L7.1, E3).
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection, select

from server import ledger, schema, streams
from server.admin import Decision
from server.config import Load
from server.database import Database
from server.sequence import Version
from server.settings.source import Source
from server.states import State
from tests.support.inboxes import Bench, lose_ledger

NUMBERS = st.integers(1, 7)
TOP = 12


def _content(number: int, kind: str) -> bytes:
    """Versions compete for three keys; `bad` has a row that is refused, `long` begins with all of `short`.

    So does `worse`, but with a row that is refused.
    """
    row = f"K{number % 3}\tname {number}"
    return {
        "short": f"{row}\n",
        "long": f"{row}\nEXTRA\tfrom {number}\n",
        "other": f"{row} too\n",
        "worse": f"{row}\nW{number}\t{'x' * 31}\n",
        "bad": f"B{number}\t{'x' * 31}\n{row}\n",
    }[kind].encode()


_KINDS = ["short", "long", "other", "bad", "worse"]
_BEGINS = {("short", "long"), ("short", "worse")}


def _fix(number: int, kind: str) -> bytes:
    """Corrects the row that is refused of a bad file: under its key, under another, or in vain."""
    key, name = _CORRECTED.get(kind, ("B", "y" * 31))
    return f"line\tfield\treason\trow\n1\t\t\t{key}{number}\t{name}\n".encode()


_CORRECTED = {"mended": ("B", "mended"), "mended better": ("B", "better"), "moved": ("M", "moved")}
_FIXES = st.sampled_from([*_CORRECTED, "wrong"])


def _rows(number: int, kind: str) -> dict[str, tuple[str, int, int]]:
    """Key to name, version and line."""
    found = {}
    for line, text in enumerate(_content(number, kind).decode().splitlines(), 1):
        key, name = text.split("\t")
        found[key] = (name, number, line)
    return found


@dataclass
class Told:
    """A file as the oracle knows it."""

    number: int
    kind: str
    state: str = "waiting"


class Oracle:
    """What has to be, by the plain reading of the contract."""

    def __init__(self) -> None:
        self.files: dict[str, Told] = {}
        self.holders: dict[int, Told] = {}
        self.skipped: set[int] = set()
        self.loaded: list[Told] = []
        self.fixes: dict[int, list[Told]] = {}
        self.turned_away: dict[int, Told] = {}

    def fixes_of(self, number: int) -> list[Told]:
        return [fix for fix in self.fixes.get(number, []) if fix.state in ("held", "loaded")]

    def all_fixes(self, state: str) -> list[Told]:
        return [fix for fixes in self.fixes.values() for fix in fixes if fix.state == state]

    def correction(self, number: int) -> tuple[str, str] | None:
        """Key and name that a bad file's first row has: those of the first fix that is right."""
        right = [_CORRECTED[fix.kind] for fix in self.fixes_of(number) if fix.kind in _CORRECTED]
        return (f"{right[0][0]}{number}", right[0][1]) if right else None

    def arrive_fix(self, fix: Told) -> None:
        if any(other.kind == fix.kind for other in self.fixes_of(fix.number)):
            fix.state = "duplicate"
            return
        fix.state = "held"
        # One that was withdrawn comes after those that came meanwhile.
        before = [other for other in self.fixes.get(fix.number, []) if other is not fix]
        self.fixes[fix.number] = [*before, fix]
        holder = self.holders.get(fix.number)
        if holder is not None and holder.state == "quarantined":
            holder.state = "waiting"
        self.settle()

    def arrive(self, file: Told) -> None:
        holder = self.holders.get(file.number)
        if holder is None:
            self.holders[file.number] = file
        elif holder.kind == file.kind:
            file.state = "duplicate"
        elif (holder.kind, holder.state, file.kind) == ("short", "loaded", "worse"):
            # It cannot be loaded, and the first keeps its number.
            known = self.turned_away.setdefault(file.number, file)
            file.state = "quarantined" if known is file else "duplicate"
        elif holder.state in ("quarantined", "withdrawn") or (holder.kind, file.kind) in _BEGINS:
            holder.state = "replaced"
            if file.number in self.turned_away:
                self.turned_away.pop(file.number).state = "replaced"
            if (holder.kind, file.kind) not in _BEGINS:
                for fix in self.fixes_of(file.number):
                    fix.state = "replaced"
            self.holders[file.number] = file
        else:
            file.state = "refused"
        self.settle()

    @property
    def expected(self) -> int:
        return next(n for n in range(1, TOP + 9) if n not in self.holders and n not in self.skipped)

    def settle(self) -> None:
        for number, file in self.holders.items():
            if file.state in ("waiting", "held"):
                if number > self.expected:
                    file.state = "held"
                elif file.kind == "worse" or (file.kind == "bad" and self.correction(number) is None):
                    file.state = "quarantined"
                else:
                    file.state = "loaded"
                    self.loaded.append(file)
            if file.state == "loaded":
                for fix in self.fixes_of(number):
                    fix.state = "loaded"

    def table(self) -> dict[str, tuple[str, int, int]]:
        best: dict[str, tuple[str, int, int]] = {}
        for file in sorted(self.loaded, key=lambda file: file.number):
            rows = _rows(file.number, file.kind)
            if file.kind == "bad" and (corrected := self.correction(file.number)):
                del rows[f"B{file.number}"]
                rows[corrected[0]] = (corrected[1], file.number, 1)
            for key, row in rows.items():
                if key not in best or best[key][1:] <= row[1:]:
                    best[key] = row
        return best


class Died(BaseException):
    """The process is gone."""


class Mortal(Database):
    """A database whose process dies at a chosen step: before a transaction, before or after its commit."""

    steps_left = -1

    def _step(self) -> None:
        if self.steps_left == 0:
            raise Died
        self.steps_left -= 1

    @contextlib.contextmanager
    def write(self, purpose: str, waiting: Any = None) -> Iterator[Connection]:
        self._step()
        with super().write(purpose, waiting) as connection:
            yield connection
            self._step()
        self._step()


class LedgerMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name)
        self.bench = Bench.make(
            path,
            f"sqlite:///{path / 'inbox.sqlite'}",
            lambda settings: settings.model_copy(
                update={"load": Load(max_rejected=0), "sources": {"DT": Source()}}
            ),
        )
        self.bench.database.close()
        self.bench.database = self.database = Mortal(self.bench.database.url)
        self.oracle = Oracle()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.database.close()
            self.folder.cleanup()

    def _arrive(self, number: int, kind: str) -> None:
        file = Told(number, kind)
        receipt = self.bench.arrive(f"DT_{number:07d}_KS_CATEGORY.NET", _content(number, kind))
        self.oracle.files[receipt.id] = file
        self.oracle.arrive(file)

    def _arrive_fix(self, number: int, kind: str) -> None:
        fix = Told(number, kind)
        receipt = self.bench.arrive(f"DT_{number:07d}_KS_CATEGORY.NET.fix", _fix(number, kind))
        self.oracle.files[receipt.id] = fix
        self.oracle.arrive_fix(fix)

    @rule(number=NUMBERS, kind=_FIXES)
    def arrive_a_fix(self, number: int, kind: str) -> None:
        self._arrive_fix(number, kind)
        self.bench.work()

    @rule(kinds=st.lists(_FIXES, min_size=1, max_size=3), pauses=st.sets(st.integers(0, 2)))
    def arrive_fixes_of_what_needs_them(self, kinds: list[str], pauses: set[int]) -> None:
        number = next((n for n, file in self.oracle.holders.items() if file.kind == "bad"), None)
        if number is None:
            number = self.oracle.expected
            self._arrive(number, "bad")
        for place, kind in enumerate(kinds):
            if place in pauses:
                self.bench.work()
            self._arrive_fix(number, kind)
        self.bench.work()

    @precondition(lambda self: self.oracle.all_fixes("held"))
    @rule(data=st.data())
    def withdraw_a_fix(self, data: st.DataObject) -> None:
        fix = data.draw(st.sampled_from(self.oracle.all_fixes("held")))
        self.bench.inbox.withdraw([str(self._id(fix))], Decision(by="me"))
        fix.state = "withdrawn"

    @precondition(lambda self: self.oracle.all_fixes("withdrawn"))
    @rule(data=st.data())
    def replay_a_withdrawn_fix(self, data: st.DataObject) -> None:
        fix = data.draw(st.sampled_from(self.oracle.all_fixes("withdrawn")))
        self.bench.inbox.replay([str(self._id(fix))], [], [], Decision(by="me"))
        self.oracle.arrive_fix(fix)
        self.bench.work()

    @rule(number=NUMBERS, kind=st.sampled_from(_KINDS))
    def arrive(self, number: int, kind: str) -> None:
        self._arrive(number, kind)
        self.bench.work()

    @rule(
        burst=st.lists(st.tuples(NUMBERS, st.sampled_from(_KINDS)), max_size=6),
        steps=st.integers(0, 14),
    )
    def die_at_some_step_of_a_burst(self, burst: list[tuple[int, str]], steps: int) -> None:
        for number, kind in burst:
            # Whether a cut file is in before its whole one comes is a matter of time; not in a burst.
            if number not in self.oracle.holders:
                self._arrive(number, kind)
        self.database.steps_left = steps
        with contextlib.suppress(Died):
            self.bench.work()
        self.database.steps_left = -1
        self.bench.work()

    @rule(first=NUMBERS, more=st.integers(0, 3))
    def skip(self, first: int, more: int) -> None:
        self.bench.inbox.skip("DT", first, first + more, Decision(by="me", reason="lost"))
        for number in range(first, first + more + 1):
            if number not in self.oracle.holders and number >= self.oracle.expected:
                self.oracle.skipped.add(number)
        self.oracle.settle()
        self.bench.work()

    @precondition(lambda self: any(f.state in ("held", "quarantined") for f in self.oracle.holders.values()))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        file = self._choose(data, ("held", "quarantined"))
        self.bench.inbox.withdraw([str(self._id(file))], Decision(by="me"))
        file.state = "withdrawn"

    @precondition(lambda self: bool(self.oracle.files))
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        states = ("held", "quarantined", "loaded", "withdrawn")
        if not any(file.state in states for file in self.oracle.holders.values()):
            return
        file = self._choose(data, states)
        self.bench.inbox.replay([str(self._id(file))], [], [], Decision(by="me"))
        if file.state in ("quarantined", "withdrawn"):
            file.state = "waiting"
        self.oracle.settle()
        self.bench.work()

    @precondition(lambda self: any(f.state == "refused" for f in self.oracle.files.values()))
    @rule(data=st.data())
    def replay_a_refused_one(self, data: st.DataObject) -> None:
        refused = [file for file in self.oracle.files.values() if file.state == "refused"]
        file = data.draw(st.sampled_from(refused))
        self.bench.inbox.replay([str(self._id(file))], [], [], Decision(by="me"))
        file.state = "waiting"
        self.oracle.arrive(file)
        self.bench.work()

    @precondition(lambda self: self.bench.spool.has_registered())
    @rule(tables_too=st.booleans())
    def lose_the_ledger_and_make_it_anew(self, tables_too: bool) -> None:
        lose_ledger(self.bench, tables_too=tables_too)
        self.bench.inbox.rebuild(Decision(by="me", reason="lost"), lambda _done, _total: None)
        self.bench.work()

    def _choose(self, data: st.DataObject, states: tuple[str, ...]) -> Told:
        return data.draw(st.sampled_from([f for f in self.oracle.holders.values() if f.state in states]))

    def _id(self, file: Told) -> int:
        receipt = next(receipt for receipt, told in self.oracle.files.items() if told is file)
        with self.database.read() as connection:
            query = select(schema.file.c.id).where(schema.file.c.receipt == receipt)
            found: int = connection.execute(query).scalar_one()
            return found

    @invariant()
    def every_file_is_in_the_state_that_the_oracle_says(self) -> None:
        if not hasattr(self, "oracle"):
            return
        with self.database.read() as connection:
            found = dict(connection.execute(select(schema.file.c.receipt, schema.file.c.state)).all())
        assert found == {receipt: file.state for receipt, file in self.oracle.files.items()}
        assert self.bench.spool.pending_ids() == []

    @invariant()
    def the_stream_expects_what_the_oracle_says(self) -> None:
        if not hasattr(self, "oracle"):
            return
        with self.database.read() as connection:
            stream = streams.by_name(connection, "DT")
        assert (stream.expected if stream else Version(0, 1)).sequence == self.oracle.expected

    @invariant()
    def the_table_holds_what_the_oracle_says(self) -> None:
        if not hasattr(self, "oracle"):
            return
        found = {
            row["category_id"]: (row["category_name"], row["version"], row["line"])
            for row in self.bench.rows("category")
        }
        assert found == self.oracle.table()

    @invariant()
    def one_holder_for_each_number_and_no_file_loads_twice_at_once(self) -> None:
        if not hasattr(self, "oracle"):
            return
        with self.database.read() as connection:
            query = select(schema.file.c.version).where(schema.file.c.holder == 1)
            versions = connection.execute(query).scalars().all()
            loading = ledger.files_in(connection, State.LOADING)
        assert len(versions) == len(set(versions))
        assert not loading


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=25, stateful_step_count=16, deadline=None)
