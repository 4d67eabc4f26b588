"""The one way in: the bytes of an accepted file become rows of the target tables (contract L1 to L8).

A load happens inside the caller's transaction and never ends it, so that the file's new state can be part of
it (L1). It may be repeated and it may come late: what it leaves does not depend on that (L7).

`checking` finds and checks the rows, `join` makes parents and writes rows, `parking` keeps those that wait,
`activity` and `full` say which rows count. Refused rows are written down as they are found
(`records`), so memory does not grow with them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from sqlalchemy import Connection

from loaders import dialects
from loaders.activity import Activity
from loaders.checking import Checked, Examination, NotLoaded, Quarantine
from loaders.full import Full, Loss, objection
from loaders.join import Join
from loaders.keys import row_key
from loaders.options import SourceOptions
from loaders.parking import Parking
from loaders.records import forget_rows, reject_rows
from loaders.rejects import Stray
from loaders.routing import routed
from loaders.rows import Rows
from loaders.shapes import EXTRA, Api, Catalog, ReferenceKind

__all__ = ["Delivery", "NeedsApproval", "NotLoaded", "Outcome", "Quarantine", "SourceOptions", "load"]

FULL = "FULL"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A file to be loaded: whose it is, and how it is to be read.

    `ranks` has the rank of every stream that ever wrote a row, by stream id; the higher one wins (L7.1).
    `max_rejected` is how many rows may be refused before the whole file is (L4). `shrink_limit_percent` is
    the share of the active rows that a FULL may make inactive unless it `is_approved` (L6). `corrections`
    has, fix by fix in order of acceptance, what refused rows say now, by line (E3). Of the rows that a FULL
    makes inactive so many by table are named in the outcome as `named_keys` says.

    With `lines`, a file that is in is loaded again in these lines only: those of all its refused and parked
    rows. Its other rows stay as they are, and count as loaded.
    """

    file_id: int
    api: str
    mode: str
    stream: int
    version: int
    ranks: Mapping[int, int]
    options: SourceOptions
    max_rejected: int
    shrink_limit_percent: float
    is_approved: bool
    corrections: Sequence[Mapping[int, str]]
    named_keys: int = 0
    lines: Collection[int] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file's rows: `rows_read` is the sum of the other three.

    Outdated rows and rows that changed nothing count as loaded. `unparked` has, by file_id, the rows of other
    files that no longer wait; `tried`, by fix, the lines whose refused rows it changed, and which went in;
    `losses`, of a FULL, what it made inactive.
    """

    rows_read: int
    rows_loaded: int
    rows_rejected: int
    rows_parked: int
    unparked: Mapping[int, int]
    tried: Sequence[Mapping[int, bool]]
    losses: Sequence[Loss] = ()


class NeedsApproval(NotLoaded):
    """A FULL would make so much inactive that a person has to look first (contract L6)."""


def load(connection: Connection, catalog: Catalog, delivery: Delivery, data: BinaryIO) -> Outcome:
    """Load one file within the connection's open transaction.

    Raises NotLoaded, which says what has to be done about the file; KeyError for an API that the catalog does
    not know; UnsafeSettings if the database would alter values. Errors of the database are not caught: after
    them, as after NotLoaded, the caller rolls back (contract L9).
    """
    return _Load(connection, catalog, delivery).run(data)


class _Load:
    def __init__(self, connection: Connection, catalog: Catalog, delivery: Delivery) -> None:
        self._connection = connection
        self._catalog = catalog
        self._delivery = delivery
        self._api: Api = catalog[delivery.api]
        self._examination = Examination(
            self._api, delivery.options, delivery.max_rejected, delivery.corrections, delivery.lines
        )
        self._activity = Activity(connection)
        self._join = Join(connection, delivery.ranks, self._activity)
        self._parking = Parking(connection, catalog, self._join, self._activity)
        self._keys_unreadable = 0
        # By line, the keys that refused rows told: as they came, or corrected in vain.
        self._keys_read: dict[int, str] = {}

    def run(self, data: BinaryIO) -> Outcome:
        dialects.check(self._connection)
        forget_rows(self._connection, self._delivery.file_id)
        delivery = self._delivery
        full = None
        # What a FULL that is in has made inactive is so still, or was undone.
        if delivery.mode == FULL and delivery.lines is None:
            full = Full(
                self._activity, self._api, delivery.stream, delivery.version, named_keys=delivery.named_keys
            )
        for batch in self._examination.batches(data):
            self._take(batch)
        # Before older rows go in that waited for these: they are not active yet, and none is lost.
        losses = [] if full is None else self._finish(full)
        self._parking.settle()
        dialects.finish(self._connection)
        examined = self._examination
        left = self._parking.left
        rows_parked = self._parking.parked - left.pop(self._delivery.file_id, 0)
        return Outcome(
            rows_read=examined.rows_read,
            rows_loaded=examined.rows_read - examined.rows_rejected - rows_parked,
            rows_rejected=examined.rows_rejected,
            rows_parked=rows_parked,
            unparked=dict(left),
            tried=examined.tried,
            losses=losses,
        )

    def _take(self, batch: Checked) -> None:
        """Load a batch; once the file is refused, there is nothing to do but to go on to its end."""
        if self._examination.is_refused:
            return
        columns, refusals = batch.columns, batch.refusals
        fields = {field.column: values for field, values in zip(self._api.fields, columns, strict=True)}
        all_rows = Rows(
            stream=self._delivery.stream,
            columns={**routed(self._api.derived, fields), EXTRA: batch.extras},
            versions=[self._delivery.version] * len(batch.numbers),
            lines=batch.numbers,
            file_ids=[self._delivery.file_id] * len(batch.numbers),
            texts=batch.texts,
        )
        if batch.are_corrections:
            self._join.start_over()
        self._keys_read |= self._keys_of_refused(all_rows, batch)
        reject_rows(self._connection, self._delivery.file_id, batch.rejects, self._keys_read)
        if self._delivery.mode == FULL:
            # A blank row hides no key: had it been somebody's, it would say whose.
            self._keys_unreadable += sum(
                not isinstance(reject, Stray) and reject.line not in self._keys_read
                for reject in batch.rejects
            )
        rows = all_rows.without(refusals)
        if rows:
            for reference in self._api.referring(ReferenceKind.CREATE):
                self._join.make_parent(reference, self._catalog.created[reference.parent], rows)
            self._parking.receive(self._api, rows)

    def _keys_of_refused(self, rows: Rows, batch: Checked) -> dict[int, str]:
        """By line the keys, in the most specific table, of the refused rows of which they can be read.

        Such a row of a FULL counts as held by it (contract L6). So does one that was corrected, whether the
        correction came before or after it.
        """
        readable: set[int] = set()
        for table in self._api.tables if batch.refusals else ():
            readable = {i for i, refusal in batch.refusals.items() if refusal.columns.isdisjoint(table.key)}
            if self._delivery.mode == FULL:
                self._activity.mentioned(self._api, table, rows.only(readable))
        key = [rows.columns[name] for name in self._api.most_specific.key]
        return {rows.lines[i]: row_key([values[i] for values in key]) for i in readable}

    def _finish(self, full: Full) -> list[Loss]:
        losses = full.finish()
        why_not = objection(
            losses,
            good_rows=self._examination.rows_read - self._examination.rows_rejected,
            unreadable_keys=self._keys_unreadable,
            limit_percent=self._delivery.shrink_limit_percent,
        )
        if why_not and not self._delivery.is_approved:
            raise self._examination.not_loaded(NeedsApproval, why_not)
        return losses
