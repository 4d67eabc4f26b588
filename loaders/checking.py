"""The verdict on a file: each row is checked, and the refused ones decide whether the file is taken at all.

A load and the command `check` read files through here, so that they cannot differ (contract L3, L4).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from loaders import tabular
from loaders.fields import Checker, Refusal, Value
from loaders.options import SourceOptions
from loaders.rejects import Reject
from loaders.shapes import Api

# What a file that is not loaded carries of its refused rows: those written down go with its transaction.
_KEPT_REJECTS = 1000
_KEPT_CHARACTERS = 4_000_000


class NotLoaded(Exception):
    """The file is not loaded as it is; the caller rolls back, so that nothing of it stays.

    `reason` is a sentence for a person. `rows_rejected` counts all refused rows, `rejects` holds the first of
    them: at most 1,000.
    """

    def __init__(
        self, reason: str, rejects: Sequence[Reject] = (), rows_read: int = 0, rows_rejected: int = 0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.rejects = tuple(rejects)
        self.rows_read = rows_read
        self.rows_rejected = rows_rejected


class Quarantine(NotLoaded):
    """Only another file can mend what is wrong with this one."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Some consecutive rows of a file, checked, column by column in the order of the API's fields.

    `refusals` has, by position, why a row was refused; its values are None where they were at fault.
    `rejects` are these rows and those that had no readable shape, by line, but for those that were corrected.
    """

    numbers: Sequence[int]
    texts: Sequence[str]
    columns: Sequence[Sequence[Value]]
    extras: Sequence[str | None]
    refusals: Mapping[int, Refusal]
    rejects: Sequence[Reject]
    are_corrections: bool


class Examination:
    """Goes once through a file of an API, row after row, and counts what it finds.

    `max_rejected` is how many rows may be refused before the whole file is (L4). Where a refused row has been
    corrected (E3), `corrections` has what it says now, by line; such rows come last, and `mended` has the
    lines that were refused as they came.
    """

    def __init__(
        self,
        api: Api,
        options: SourceOptions,
        max_rejected: int,
        corrections: Mapping[int, str] | None = None,
    ) -> None:
        self.rows_read = 0
        self.rows_rejected = 0
        self.mended: list[int] = []
        self._corrections = corrections or {}
        self._names = [field.name for field in api.fields]
        self._checker = Checker(api.fields, options)
        self._options = options
        self._max_rejected = max_rejected
        self._kept: list[Reject] = []
        self._kept_characters = 0

    @property
    def is_refused(self) -> bool:
        """Whether so many rows are refused by now that nothing of the file can be loaded."""
        return self.rows_rejected > self._max_rejected

    def batches(self, data: BinaryIO) -> Iterator[Checked]:
        """Yield all rows, also those of a file that is refused; for that one, raise Quarantine at its end."""
        try:
            layout = None
            for batch in tabular.read(data, self._names, self._options):
                layout = batch.layout
                yield self._checked(batch, self._corrections)
            if self.mended:
                yield self._checked(self._corrected(layout), None)
        except tabular.FileRefused as error:
            raise self.not_loaded(Quarantine, f"{error}.") from error
        if self.is_refused:
            raise self.not_loaded(
                Quarantine,
                f"{self.rows_rejected:,} of {self.rows_read:,} rows rejected, more than max_rejected"
                f" ({self._max_rejected:,}); the first: {self._kept[0]}.",
            )

    def not_loaded(self, kind: type[NotLoaded], reason: str) -> NotLoaded:
        """What to raise for a file that is not loaded, with what was found in it so far."""
        return kind(reason, self._kept, self.rows_read, self.rows_rejected)

    def _corrected(self, layout: tabular.Layout | None) -> tabular.Batch:
        """The corrected rows, in the layout of the file; if not one of its rows was readable, in theirs."""
        self.mended.sort()
        texts = [self._corrections[line] for line in self.mended]
        layout = layout or tabular.Layout.of(texts[0], self._names)
        fields, ragged = len(self._names), self._options.ragged
        return tabular.taken_apart(self.mended, texts, (), layout, fields=fields, ragged=ragged)

    def _checked(self, batch: tabular.Batch, corrections: Mapping[int, str] | None) -> Checked:
        columns, refusals = self._checker.check(batch.columns)
        rejects = batch.refused
        if refusals:
            wrong = [
                Reject(batch.numbers[i], refusal.field, refusal.reason, batch.texts[i])
                for i, refusal in refusals.items()
            ]
            rejects = sorted([*rejects, *wrong], key=lambda reject: reject.line)
        rows = len(batch.numbers) + len(batch.refused)
        if corrections and rejects:
            # A row that comes back as it was mends nothing; one that was escaped would go in as escaped.
            mended = {r.line for r in rejects if corrections.get(r.line, r.raw) != r.raw}
            self.mended += mended
            rejects = [reject for reject in rejects if reject.line not in mended]
            rows -= len(mended)
        self._count(rows, rejects)
        return Checked(
            numbers=batch.numbers,
            texts=batch.texts,
            columns=columns,
            extras=batch.extras,
            refusals=refusals,
            rejects=rejects,
            are_corrections=corrections is None,
        )

    def _count(self, rows: int, rejects: Sequence[Reject]) -> None:
        self.rows_read += rows
        self.rows_rejected += len(rejects)
        for reject in rejects:
            if len(self._kept) >= _KEPT_REJECTS or self._kept_characters >= _KEPT_CHARACTERS:
                break
            self._kept.append(reject)
            self._kept_characters += len(reject.raw)
