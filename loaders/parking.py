"""Rows that wait for a parent, and how they get in (contract L5, L7.4).

A row whose parent is missing is written down with all that is needed to put it in later. Whenever tables gain
rows, those that waited for them go in, under their own marks and whatever file or stream they came from; what
that adds may let others in, until nothing moves. A row that is overtaken, because one of its key with a
higher mark is in, is void: it counts as loaded, as any outdated row does.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    column,
    delete,
    exists,
    insert,
    select,
    table,
    update,
)

from loaders.activity import Activity
from loaders.fields import Value
from loaders.join import Join
from loaders.keys import Key, among, as_written, chunks, row_key
from loaders.records import parked_row
from loaders.references import References
from loaders.rows import Rows
from loaders.shapes import Api, Catalog

# Keys written by a load up to which the rows that wait are looked for key by key; beyond, table by table.
_KEYS_BY_NAME = 10_000
# What is held of the rows that can go in: their ids, 4 MB of them.
_IDS_AT_ONCE = 100_000


class Parking:
    """Puts rows in or parks them, for one load.

    `parked` counts what this load parked, `left` by file_id what waits no longer: it went in, or is void.
    """

    def __init__(self, connection: Connection, catalog: Catalog, join: Join, activity: Activity) -> None:
        self.parked = 0
        self.left: Counter[int] = Counter()
        self._connection = connection
        self._catalog = catalog
        self._join = join
        self._activity = activity
        self._references = References(connection, catalog)
        # By table, the keys written since somebody looked who waits for them; None for too many to name.
        self._written: dict[str, set[Value] | None] = {}
        self._has_parked: dict[str, bool] = {}

    def receive(self, api: Api, rows: Rows) -> None:
        """Write the rows that have their parents, and park the others."""
        waits = self._references.missing(api, rows)
        self._put_in(api, rows.without(waits))
        if waits:
            parked = rows.only(waits)
            self._park(api, parked, [waits[i] for i in sorted(waits)])
            for target in api.tables:
                self._activity.mentioned(api, target, parked)

    def settle(self) -> None:
        """Put in all that waited for what has been written, until nothing moves."""
        while self._written:
            name, keys = self._written.popitem()
            for page in self._ready(name, keys):
                self._take_out(page)

    def _put_in(self, api: Api, rows: Rows) -> None:
        if not rows:
            return
        self._join.write(api, rows)
        for target in api.tables:
            if len(target.key) == 1:
                keys = set(rows.columns[target.key[0]])
                self._references.wrote(target.name, keys)
                written = self._written.setdefault(target.name, set())
                if written is not None:
                    written |= keys
                    if len(written) > _KEYS_BY_NAME:
                        self._written[target.name] = None
        if self._are_parked(api):
            self._drop_overtaken(api, rows)

    def _park(self, api: Api, rows: Rows, waits: list[tuple[str, str]]) -> None:
        keys = rows.keys(api.most_specific.key)
        present = self._marks(api, keys)
        now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        records = [
            {
                "file_id": rows.file_ids[i],
                "api": api.name,
                "stream": rows.stream,
                "version": rows.versions[i],
                "line": rows.lines[i],
                "row_key": row_key(key),
                "waits_table": parent,
                "waits_key": parent_key,
                "row_values": json.dumps(
                    {name: values[i] for name, values in rows.columns.items()}, ensure_ascii=False
                ),
                "raw": rows.texts[i],
                "parked_at": now,
            }
            for i, (key, (parent, parent_key)) in enumerate(zip(keys, waits, strict=True))
            if not self._is_overtaken((rows.stream, rows.versions[i], rows.lines[i]), present.get(key))
        ]
        if records:
            self._connection.execute(insert(parked_row), records)
            self.parked += len(records)
            self._has_parked[api.name] = True

    def _is_overtaken(self, mark: tuple[int, int, int], present: tuple[int, int, int] | None) -> bool:
        return present is not None and self._join.is_above(present, mark)

    def _marks(self, api: Api, keys: list[Key]) -> dict[Key, tuple[int, int, int]]:
        """The marks of those keys that are in the API's most specific table."""
        specific = api.most_specific
        wanted = (*specific.key, "stream", "version", "line")
        target = table(specific.name, *map(column, wanted))
        found: dict[Key, tuple[int, int, int]] = {}
        for condition in among(target, specific.key, dict.fromkeys(keys)):
            for *key, stream, version, line in self._connection.execute(select(target).where(condition)):
                found[tuple(map(as_written, key))] = (stream, version, line)
        return found

    def _are_parked(self, api: Api) -> bool:
        """Whether rows of an API are parked; asked once per load, since most of the time none are."""
        if api.name not in self._has_parked:
            query = select(parked_row.c.id).where(parked_row.c.api == api.name).limit(1)
            self._has_parked[api.name] = self._connection.execute(query).first() is not None
        return self._has_parked[api.name]

    def _drop_overtaken(self, api: Api, rows: Rows) -> None:
        """Delete what is parked under the keys just written, unless its mark is above the one written."""
        marks = {
            row_key(key): (rows.stream, version, line)
            for key, version, line in zip(
                rows.keys(api.most_specific.key), rows.versions, rows.lines, strict=True
            )
        }
        c = parked_row.c
        for chunk in chunks(marks):
            query = select(c.id, c.file_id, c.row_key, c.stream, c.version, c.line).where(
                c.api == api.name, c.row_key.in_(chunk)
            )
            found = self._connection.execute(query).all()
            void = [
                r for r in found if not self._join.is_above((r.stream, r.version, r.line), marks[r.row_key])
            ]
            self._remove(void)

    def _remove(self, records: Sequence[Row[*tuple[Any, ...]]]) -> None:
        for chunk in chunks(record.id for record in records):
            self._connection.execute(delete(parked_row).where(parked_row.c.id.in_(chunk)))
        self.left.update(record.file_id for record in records)

    def _ready(self, name: str, keys: set[Value] | None) -> Iterator[Sequence[Row[Any]]]:
        """What waits for keys of a table that are there, by pages, each to be dealt with before the next."""
        c = parked_row.c
        waiting = select(c.id).where(c.waits_table == name)
        if self._connection.execute(waiting.limit(1)).first() is None:
            return
        key = self._catalog.tables[name].key[0]
        parent = table(name, column(key))
        if keys is None:
            there = exists().select_from(parent).where(parent.c[key] == c.waits_key)
            conditions: list[ColumnElement[bool]] = [there]
        else:
            conditions = [c.waits_key.in_(chunk) for chunk in chunks(keys)]
        for condition in conditions:
            # Rows of an API that has left the catalog go on waiting.
            known = c.api.in_(self._catalog)
            query = waiting.where(known, condition).limit(_IDS_AT_ONCE)
            # The ids first: asking for page after page instead, MariaDB walks over all that it has just
            # deleted each time (measured: 100,000 rows took twice as long).
            while ids := self._connection.execute(query).scalars().all():
                for page in chunks(ids):
                    yield self._connection.execute(select(parked_row).where(c.id.in_(page))).all()

    def _take_out(self, page: Sequence[Row[Any]]) -> None:
        """Put in the parked rows that have all their parents now; the others wait for their next one."""
        ready: list[tuple[Api, Rows]] = []
        gone: list[Row[Any]] = []
        moved: list[dict[str, Any]] = []
        in_order = sorted(page, key=lambda r: (r.api, r.stream, r.version, r.line))
        for (name, _stream), group in groupby(in_order, key=lambda r: (r.api, r.stream)):
            api, records = self._catalog[name], list(group)
            rows = _rows(api, records)
            waits = self._references.missing(api, rows)
            ready.append((api, rows.without(waits)))
            gone += [record for i, record in enumerate(records) if i not in waits]
            moved += [
                {"parked_id": records[i].id, "waits_table": parent, "waits_key": key}
                for i, (parent, key) in waits.items()
            ]
        if moved:
            self._connection.execute(
                update(parked_row).where(parked_row.c.id == bindparam("parked_id")), moved
            )
        # All of the page is taken out before any of it is written: rows of it may overtake each other.
        self._remove(gone)
        for api, rows in ready:
            self._put_in(api, rows)


def _rows(api: Api, records: Sequence[Row[Any]]) -> Rows:
    """Parked rows of one API and stream as they were when they came; later columns are NULL in them."""
    held = [json.loads(record.row_values) for record in records]
    return Rows(
        stream=records[0].stream,
        columns={name: [values.get(name) for values in held] for name in api.columns},
        versions=[record.version for record in records],
        lines=[record.line for record in records],
        file_ids=[record.file_id for record in records],
        texts=[record.raw for record in records],
    )
