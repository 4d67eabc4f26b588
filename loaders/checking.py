"""The verdict on a file: each row is checked, and the refused ones decide whether the file is taken at all.

A load and the command `check` read files through here, so that they cannot differ (contract L3, L4).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
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
    `rejects` are these rows and those that had no readable shape, by line. Those for which there are
    corrections come at the end of the file, if none of these is right.
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

    `max_rejected` is how many rows may be refused before the whole file is (L4). `corrections` has, fix by
    fix, what refused rows say now, by line (E3). At the end of the file each is held against the rows that
    are still refused then; `tried` has, by fix, the lines that it changed of these, and which went in.
    With `lines` only the rows that stand there, or are corrected, are checked; the others are but counted.
    """

    def __init__(
        self,
        api: Api,
        options: SourceOptions,
        max_rejected: int,
        corrections: Sequence[Mapping[int, str]] = (),
        lines: Collection[int] | None = None,
    ) -> None:
        self.rows_read = 0
        self.rows_rejected = 0
        self.tried: list[Mapping[int, bool]] = []
        self._corrections = corrections
        self._correctable = frozenset(line for rows in corrections for line in rows)
        self._lines = None if lines is None else self._correctable.union(lines)
        # Rows that are refused so far, by line, and all that was refused under these lines.
        self._open: dict[int, Reject] = {}
        self._seen: set[tuple[int, str]] = set()
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
                wanted = batch if self._lines is None else batch.only(self._lines)
                self.rows_read += len(batch) - len(wanted)
                yield self._checked(wanted, are_corrections=False)
            yield from self._corrected(layout)
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

    def _corrected(self, layout: tabular.Layout | None) -> Iterator[Checked]:
        """The corrected rows, in the layout of the file; if not one of its rows was readable, in theirs.

        One fix after the other, each for what those before it left refused: so what one has put in stays as
        it is, whatever comes after it (L7).
        """
        for rows in self._corrections:
            # A row that comes back as it was mends nothing; one that was escaped would go in as escaped.
            lines = [
                line for line in sorted(self._open.keys() & rows) if (line, rows[line]) not in self._seen
            ]
            if lines:
                texts = [rows[line] for line in lines]
                layout = layout or tabular.Layout.of(texts[0], self._names)
                fields, ragged = len(self._names), self._options.ragged
                for line in lines:
                    del self._open[line]
                yield self._checked(
                    tabular.taken_apart(lines, texts, (), layout, fields=fields, ragged=ragged),
                    are_corrections=True,
                )
            self.tried.append({line: line not in self._open for line in lines})
        if self._open:
            rejects = [self._open[line] for line in sorted(self._open)]
            self._count(len(rejects), rejects)
            yield Checked((), (), [()] * len(self._names), (), {}, rejects, are_corrections=True)

    def _checked(self, batch: tabular.Batch, *, are_corrections: bool) -> Checked:
        columns, refusals = self._checker.check(batch.columns)
        rejects = batch.refused
        if refusals:
            wrong = [
                Reject(batch.numbers[i], refusal.field, refusal.reason, batch.texts[i])
                for i, refusal in refusals.items()
            ]
            rejects = sorted([*rejects, *wrong], key=lambda reject: reject.line)
        rows = len(batch)
        if self._correctable and rejects:
            still_open = {reject.line: reject for reject in rejects if reject.line in self._correctable}
            self._open |= still_open
            self._seen |= {(line, reject.raw) for line, reject in still_open.items()}
            rejects = [reject for reject in rejects if reject.line not in still_open]
            rows -= len(still_open)
        self._count(rows, rejects)
        return Checked(
            numbers=batch.numbers,
            texts=batch.texts,
            columns=columns,
            extras=batch.extras,
            refusals=refusals,
            rejects=rejects,
            are_corrections=are_corrections,
        )

    def _count(self, rows: int, rejects: Sequence[Reject]) -> None:
        self.rows_read += rows
        self.rows_rejected += len(rejects)
        for reject in rejects:
            if len(self._kept) >= _KEPT_REJECTS or self._kept_characters >= _KEPT_CHARACTERS:
                break
            self._kept.append(reject)
            self._kept_characters += len(reject.raw)
