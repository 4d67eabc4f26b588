"""Whether a row is active: the newest mention of its key against the newest FULL (contract L6, L7.2, L7.5).

A row is active when its stream's newest mention of its key is not below two things: the newest FULL of its
API and stream, if that API's FULLs make inactive what they do not hold; and the newest mention of its group,
if a NET replaces whole lines or headers. Both only ever grow, so it does not matter when a file comes.

Mostly the newest mention of a key is the row in the table. Where it is not (a parked row, a refused one of a
FULL) and for groups it is written down in `inbox_mention`.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import repeat

from sqlalchemy import Connection, TableClause, and_, column, func, or_, select, table, update

from loaders import dialects
from loaders.dialects import Upsert, Winner
from loaders.keys import BINDS, Key, among, as_written, chunks, key_of, row_key
from loaders.records import barrier, mention
from loaders.rows import Rows
from loaders.shapes import ACTIVE, MARKS, Api, Table

_NOTE = Upsert(
    table=mention.name,
    key=("table_name", "stream", "row_key"),
    columns=("table_name", "row_key", *MARKS),
    winner=Winner.HIGHEST,
    beaten=(),
)


class Activity:
    """Judges and corrects `active`, for one load or one decision of an operator."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._floors: dict[tuple[str, int], int] = {}

    def floor(self, api: Api, stream: int) -> int:
        """The version of the newest FULL in force; 0 where no FULL makes anything inactive."""
        if not api.deactivates:
            return 0
        known = self._floors.get((api.name, stream))
        if known is None:
            query = select(func.max(barrier.c.version)).where(
                barrier.c.api == api.name, barrier.c.stream == stream, barrier.c.lifted == 0
            )
            known = self.connection.execute(query).scalar_one() or 0
            self._floors[api.name, stream] = known
        return known

    def of(self, api: Api, target: Table, rows: Rows) -> Iterable[int]:
        """By row that is about to be written, whether a FULL leaves it active; groups are for `loaded`."""
        floor = self.floor(api, rows.stream)
        if min(rows.versions) >= floor:
            return repeat(1)
        keys = rows.keys(target.key)
        newest = self._mentions(target, rows.stream, set(keys))
        return [
            int(max(version, newest.get(key, 0)) >= floor)
            for key, version in zip(keys, rows.versions, strict=True)
        ]

    def loaded(self, api: Api, rows: Rows) -> None:
        """Rows were written: others of their groups may be active no more, or they themselves not."""
        if api.replaces_groups:
            self._note(api.most_specific, api.scope, rows)
            self._refresh(api, api.most_specific, rows.stream, api.scope, rows.keys(api.scope))

    def mentioned(self, api: Api, target: Table, rows: Rows) -> None:
        """Rows were read that are not in a table of the API, and yet count as mentions of their keys."""
        if not rows:
            return
        in_groups = api.replaces_groups and target is api.most_specific
        if not (api.deactivates or in_groups):
            return
        self._note(target, target.key, rows)
        group = api.scope if in_groups else target.key
        if in_groups:
            self._note(target, group, rows)
        self._refresh(api, target, rows.stream, group, rows.keys(group))

    def add_full(self, api: Api, stream: int, version: int) -> None:
        """Enter a FULL; one that was entered before stays as it is, lifted or not."""
        known = select(barrier.c.lifted).where(
            barrier.c.api == api.name, barrier.c.stream == stream, barrier.c.version == version
        )
        if self.connection.execute(known).first() is None:
            entered = barrier.insert().values(api=api.name, stream=stream, version=version, lifted=0)
            self.connection.execute(entered)
            self._floors.pop((api.name, stream), None)

    def deactivate(self, api: Api, target: Table, stream: int) -> int:
        """Make inactive what the newest FULL in force does not hold; returns how many rows that were."""
        floor = self.floor(api, stream)
        rows = _columns_of(target)
        lost = self.connection.execute(
            update(rows)
            .where(rows.c.stream == stream, rows.c.active == 1, rows.c.version < floor)
            .values(active=0)
        ).rowcount
        return lost - self._refresh_mentioned(api, target, stream, floor)

    def about_to_go(self, api: Api, target: Table, stream: int, at_most: int) -> list[Key]:
        """The first keys, in order, of the active rows that `deactivate` would make inactive now."""
        floor = self.floor(api, stream)
        rows = _columns_of(target)
        key = [rows.c[name] for name in target.key]
        mentioned = select(func.count()).where(
            mention.c.table_name == target.name, mention.c.stream == stream, mention.c.version >= floor
        )
        # No more than these can turn out to stay.
        enough = at_most + self.connection.execute(mentioned).scalar_one()
        query = (
            select(*key)
            .where(rows.c.stream == stream, rows.c.active == 1, rows.c.version < floor)
            .order_by(*key)
            .limit(enough)
        )
        keys = [tuple(map(as_written, row)) for row in self.connection.execute(query)]
        newest = self._mentions(target, stream, keys)
        return [key for key in keys if newest.get(key, 0) < floor][:at_most]

    def reactivate(self, api: Api, target: Table, stream: int) -> int:
        """Make active what a lifted FULL had made inactive; returns how many rows that were."""
        floor = self.floor(api, stream)
        group = _group(api, target)
        rows = _columns_of(target)
        query = (
            select(*(rows.c[name] for name in group))
            .where(rows.c.stream == stream, rows.c.active == 0, rows.c.version >= floor)
            .distinct()
        )
        groups = [tuple(map(as_written, key)) for key in self.connection.execute(query)]
        gained = self._refresh(api, target, stream, group, groups)
        return gained + self._refresh_mentioned(api, target, stream, floor)

    def count_active(self, target: Table, stream: int) -> int:
        """How many rows of a stream are active."""
        rows = _columns_of(target)
        query = select(func.count()).where(rows.c.stream == stream, rows.c.active == 1)
        return self.connection.execute(query).scalar_one()

    def _refresh_mentioned(self, api: Api, target: Table, stream: int, floor: int) -> int:
        """Judge anew the rows whose keys were mentioned apart from the table, since a version."""
        query = select(mention.c.row_key).where(
            mention.c.table_name == target.name, mention.c.stream == stream, mention.c.version >= floor
        )
        group = _group(api, target)
        texts = self.connection.execute(query).scalars().all()
        # A mention of a whole key is one of its group too.
        groups = {key_of(text)[: len(group)] for text in texts}
        return self._refresh(api, target, stream, group, groups)

    def _note(self, target: Table, columns: Sequence[str], rows: Rows) -> None:
        marks = rows.tuples(())
        newest = dict(zip(map(row_key, rows.keys(columns)), marks, strict=True))
        noted = [(target.name, key, *mark) for key, mark in newest.items()]
        dialects.run(self.connection, _NOTE, noted)

    def _mentions(self, target: Table, stream: int, keys: Collection[Key]) -> dict[Key, int]:
        """The versions of what is written down of some keys, or groups."""
        found: dict[Key, int] = {}
        for chunk in chunks(keys):
            texts = {row_key(key): key for key in chunk}
            query = select(mention.c.row_key, mention.c.version).where(
                mention.c.table_name == target.name,
                mention.c.stream == stream,
                mention.c.row_key.in_(texts),
            )
            found |= {texts[text]: version for text, version in self.connection.execute(query)}
        return found

    def _refresh(
        self, api: Api, target: Table, stream: int, group: Sequence[str], groups: Iterable[Key]
    ) -> int:
        """Judge the rows of some groups; returns how many more of them are active than before."""
        rows = _columns_of(target)
        is_key = tuple(group) == target.key
        places = [target.key.index(name) for name in group]
        gained = 0
        for chunk in chunks(dict.fromkeys(groups), BINDS // len(group)):
            floor = self.floor(api, stream)
            newest = {} if is_key else self._mentions(target, stream, chunk)
            # Nearly all rows are active and newer than all that could make them otherwise.
            doubtful = or_(rows.c.version < max(floor, *newest.values(), 0), rows.c.active == 0)
            for condition in among(rows, group, chunk):
                query = select(rows).where(condition, rows.c.stream == stream, doubtful)
                judged = [
                    (tuple(map(as_written, key)), version, active)
                    for *key, _, version, active in self.connection.execute(query)
                ]
                least = {
                    key: max(floor, newest.get(tuple(key[place] for place in places), 0))
                    for key, _, _ in judged
                }
                behind = [key for key, version, _ in judged if version < least[key]]
                mentioned = self._mentions(target, stream, behind)
                wrong: dict[int, list[Key]] = {0: [], 1: []}
                for key, version, active in judged:
                    right = int(max(version, mentioned.get(key, 0)) >= least[key])
                    if right != active:
                        wrong[right].append(key)
                for right, keys in wrong.items():
                    for these in among(rows, target.key, keys):
                        changed = (
                            update(rows).where(and_(these, rows.c.stream == stream)).values(active=right)
                        )
                        self.connection.execute(changed)
                gained += len(wrong[1]) - len(wrong[0])
        return gained


def _group(api: Api, target: Table) -> tuple[str, ...]:
    return api.scope if target is api.most_specific else target.key


def _columns_of(target: Table) -> TableClause:
    return table(target.name, *map(column, (*target.key, "stream", "version", ACTIVE)))
