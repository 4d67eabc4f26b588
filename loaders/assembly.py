"""Where the files of the catalog meet: from checked drafts to one catalog.

Do references lead to a table that exists and loads earlier, do all who make a table agree on it, can the keys
be indexed? What does not fit is noted in the draft that says it.
"""

from collections.abc import Iterable
from dataclasses import replace

from loaders.catalog_file import ApiDraft, ReferenceDraft, TableDraft
from loaders.shapes import (
    Api,
    Catalog,
    Derived,
    Field,
    FieldType,
    ForeignKey,
    NetScope,
    Reference,
    ReferenceKind,
    Table,
)

# `inbox_parked_row` indexes both as text: InnoDB's 3,072 bytes, 4 to a character, must hold them.
LONGEST_PARENT_KEY = 255
LONGEST_ROW_KEY = 700
# What the JSON of a row's key takes at most: for each character of a text, and for a number or a day.
_LONGEST_ESCAPE = 6
_LONGEST_NUMBER = 40


class Assembly:
    """The drafts of all files, made into one catalog; what does not fit is noted in its draft."""

    def __init__(self, drafts: list[ApiDraft]) -> None:
        self._drafts = drafts
        self._owners: dict[str, tuple[ApiDraft, TableDraft]] = {}
        self._created: dict[str, Table] = {}

    def catalog(self) -> Catalog:
        """The catalog, usable only if no draft has a mistake."""
        apis: dict[str, Api] = {}
        for draft in self._drafts:
            for table in draft.tables:
                if table.name in self._owners:
                    draft.wrong(
                        "table", f"{table.name!r} is a table of {self._owners[table.name][0].file} too"
                    )
                self._owners[table.name] = (draft, table)
        for draft in self._drafts:
            if draft.name in apis:
                draft.wrong("api", f"{draft.name!r} has a file already")
            apis[draft.name] = self._api(draft)
        for draft in self._drafts:
            for table in draft.tables:
                if table.name in self._created:
                    draft.wrong("table", f"{table.name!r} is made by a reference too")
        return Catalog(apis, self._created)

    def _api(self, draft: ApiDraft) -> Api:
        derived = _derived(draft)
        tables = [_with_derived(table, derived) for table in self._tables(draft)]
        references = [r for written in draft.references for r in self._reference(draft, written, tables)]
        _check_row_key(draft, tables)
        _check_net_scope(draft, tables)
        return Api(
            name=draft.name,
            file=draft.file,
            purpose=draft.purpose,
            level=draft.level,
            fields=tuple(sorted(draft.fields.values(), key=lambda field: field.ordinal)),
            derived=tuple(derived),
            tables=tuple(_with_foreign_keys(table, references) for table in tables),
            references=tuple(references),
            full_absent=draft.full_absent,
            net_scope=draft.net_scope,
            max_rejected=draft.max_rejected,
            origin=draft.origin,
            assumed=draft.assumed,
        )

    def _tables(self, draft: ApiDraft) -> list[Table]:
        """The API's own tables, header first, without the foreign keys that references will add."""
        attributes = {name for reference in draft.references for name in reference.attributes.values()}
        spread = [name for name in draft.fields if name not in attributes]
        tables: list[Table] = []
        for written in draft.tables:
            where = f"table {written.name!r}"
            key = _columns(draft, f"{where}: key", written.key)
            fields = spread if written.fields is None else written.fields
            held = _columns(draft, f"{where}: fields", fields)
            if not set(written.key) <= set(fields):
                draft.wrong(f"{where}: fields", "the key is not among them")
            foreign_keys: list[ForeignKey] = []
            if written.header is not None:
                header = next((table for table in tables if table.name == written.header), None)
                if header is None or not set(header.key) <= set(key):
                    draft.wrong(
                        f"{where}: header",
                        f"{written.header!r} is no table before this one with part of its key",
                    )
                else:
                    foreign_keys.append(ForeignKey(header.key, header.name, header.key))
            tables.append(Table(written.name, tuple(key), held, tuple(foreign_keys)))
        placed = {field.name for table in tables for field in table.columns.values()} | attributes
        for name in draft.fields:
            if name not in placed:
                draft.wrong(f"field {name!r}", "no table holds it")
        return tables

    def _reference(self, draft: ApiDraft, written: ReferenceDraft, tables: list[Table]) -> list[Reference]:
        """One reference checked against its parent; none where it cannot be understood.

        It is there once for each table that holds its fields: whoever reads one of them can follow it.
        """
        columns = _columns(draft, f"{written.where}: fields", written.fields)
        held = {*columns, written.when.column} if written.when is not None else set(columns)
        children = [table for table in tables if columns and held <= set(table.columns)]
        if not children:
            draft.wrong(f"{written.where}: fields", "no table of this API holds them all")
            return []
        if written.kind is not ReferenceKind.KEEP:
            for column, field in columns.items():
                if column in children[-1].key and not field.required:
                    # A blank key part is stored as a blank, and no parent has a blank for its key.
                    draft.wrong(
                        f"{written.where}: fields",
                        f"{field.name!r} is part of the key, so it must be required",
                    )
        if written.kind is ReferenceKind.CREATE:
            return self._created_parent(draft, written, children[0], columns)
        owner, parent = self._owners.get(written.table, (None, None))
        if owner is None or parent is None:
            draft.wrong(f"{written.where}: table", f"{written.table!r} is a table of no API")
            return []
        parent_key = _columns(owner, f"table {parent.name!r}: key", parent.key, told=True)
        if len(parent_key) != len(columns):
            draft.wrong(
                f"{written.where}: fields", f"the key of {written.table!r} has {len(parent_key)} fields"
            )
            return []
        if written.kind is ReferenceKind.PARK:
            self._check_park(draft, written, owner, list(parent_key.values()))
            for own, other in zip(columns.values(), parent_key.values(), strict=True):
                if own.type is not other.type:
                    draft.wrong(
                        f"{written.where}: fields", f"{own.name!r} is {own.type}, its parent is {other.type}"
                    )
        referring = tuple(columns) if written.column is None else (written.column,)
        return [
            Reference(written.kind, child.name, referring, written.table, tuple(parent_key), {}, written.when)
            for child in children
        ]

    def _check_park(
        self, draft: ApiDraft, written: ReferenceDraft, owner: ApiDraft, parent_key: list[Field]
    ) -> None:
        """A row can wait only for one text, and for something that loads earlier or beside it."""
        if owner is not draft and 0 < draft.level <= owner.level:
            draft.wrong(
                f"{written.where}: table",
                f"{owner.name} has level {owner.level}, which is not below level {draft.level}",
            )
        if len(parent_key) != 1 or parent_key[0].type is not FieldType.STRING:
            draft.wrong(f"{written.where}: table", "rows can be parked only for a key of one string")
        elif (parent_key[0].length or 0) > LONGEST_PARENT_KEY:
            draft.wrong(f"{written.where}: table", f"its key is longer than {LONGEST_PARENT_KEY} characters")

    def _created_parent(
        self, draft: ApiDraft, written: ReferenceDraft, child: Table, columns: dict[str, Field]
    ) -> list[Reference]:
        """A parent made on the fly; its columns are the fields that fill them, the widest of all APIs."""
        if len(written.key) != len(columns):
            draft.wrong(f"{written.where}: key", f"{len(columns)} columns are needed, one for each field")
            return []
        filled = _columns(draft, f"{written.where}: attributes", written.attributes.values())
        sources = dict(zip(written.key, columns.values(), strict=True))
        if len(filled) == len(written.attributes):
            sources |= dict(zip(written.attributes, filled.values(), strict=True))
        foreign_keys: tuple[ForeignKey, ...] = ()
        if written.inside is not None:
            before = draft.references[: draft.references.index(written)]
            made_here = written.inside in {reference.table for reference in before}
            outer = self._created.get(written.inside) if made_here else None
            if outer is None or not set(outer.key) <= set(written.key):
                draft.wrong(
                    f"{written.where}: inside",
                    f"no reference before this one makes {written.inside!r} with part of this key",
                )
            else:
                foreign_keys = (ForeignKey(outer.key, outer.name, outer.key),)
        made = Table(written.table, written.key, sources, foreign_keys)
        known = self._created.get(written.table, made)
        if known.key != made.key or known.foreign_keys != made.foreign_keys:
            draft.wrong(
                f"{written.where}: key", f"another reference makes {written.table!r} with another key"
            )
        merged = dict(known.columns)
        for column, field in sources.items():
            other = merged.get(column, field)
            if other.type is not field.type:
                draft.wrong(
                    f"{written.where}: table", f"{column!r} is {other.type} elsewhere, {field.type} here"
                )
            merged[column] = field if (field.length or 0) > (other.length or 0) else other
        self._created[written.table] = replace(known, columns=merged)
        attributes = {
            column: field.column for column, field in zip(written.attributes, filled.values(), strict=False)
        }
        return [Reference(written.kind, child.name, tuple(columns), written.table, written.key, attributes)]


def _columns(draft: ApiDraft, key: str, names: Iterable[str], *, told: bool = False) -> dict[str, Field]:
    """The named fields by column; a name that is no field is a mistake (unless told before)."""
    found: dict[str, Field] = {}
    for name in names:
        if (field := draft.fields.get(name)) is not None:
            found[field.column] = field
        elif not told:
            draft.wrong(key, f"{name!r} is no field of this API")
    return found


def _derived(draft: ApiDraft) -> list[Derived]:
    """The columns that references under a condition need beside the fields' own."""
    found = []
    for written in draft.references:
        field = draft.fields.get(written.fields[0]) if written.column else None
        if field is not None and written.column and written.when is not None:
            column = replace(field, column=written.column, required=False, key=False)
            found.append(Derived(column, field.column, written.when))
    return found


def _with_derived(table: Table, derived: list[Derived]) -> Table:
    """The table with the columns derived from those it holds."""
    more = {
        part.field.column: part.field
        for part in derived
        if {part.source, part.when.column} <= set(table.columns)
    }
    return replace(table, columns={**table.columns, **more})


def _with_foreign_keys(table: Table, references: list[Reference]) -> Table:
    """The table with what the database is to enforce: parked for and created parents, not kept ones (L5)."""
    enforced = [
        ForeignKey(reference.columns, reference.parent, reference.parent_key)
        for reference in references
        if reference.table == table.name and reference.kind is not ReferenceKind.KEEP
    ]
    return replace(table, foreign_keys=(*table.foreign_keys, *enforced))


def _check_net_scope(draft: ApiDraft, tables: list[Table]) -> None:
    """A NET replaces rows, lines or headers; the latter two need a header, and a line something below it."""
    least = {NetScope.ROW: 0, NetScope.HEADER: 1, NetScope.LINE: 2}[draft.net_scope]
    if not least or not tables:
        return
    header, specific = tables[0].key, tables[-1].key
    if specific[: len(header)] != header or len(specific) < len(header) + least:
        draft.wrong("net_scope", f"{draft.net_scope} needs a header table whose key begins a longer one")


def _check_row_key(draft: ApiDraft, tables: list[Table]) -> None:
    """A parked row is found by its key as JSON, which must fit the index whatever characters it holds."""
    for table in tables[-1:]:
        parts = [table.columns[column] for column in table.key if column in table.columns]
        size = sum(
            (part.length or 0) * _LONGEST_ESCAPE if part.type is FieldType.STRING else _LONGEST_NUMBER
            for part in parts
        )
        if size + 4 * len(parts) > LONGEST_ROW_KEY:
            draft.wrong(f"table {table.name!r}: key", "it is too long to be indexed")
