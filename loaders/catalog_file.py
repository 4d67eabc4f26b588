"""One TOML file of `apis/`: from text to checked parts.

Every mistake is noted and reading goes on, so that all of them can be told at once. What only shows when all
files are known (does the parent exist?) is `catalog`'s affair.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loaders.sections import Section
from loaders.shapes import (
    ACTIVE,
    EXTRA,
    MARKS,
    Condition,
    Field,
    FieldType,
    FullAbsent,
    NetScope,
    Origin,
    ReferenceKind,
)

_RESERVED = frozenset({*MARKS, ACTIVE, EXTRA})
# How names begin that the inbox, or a database, has for itself; the first holds for columns too.
_OURS = ("kore_inbox_", "inbox_", "sqlite_", "alembic_")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,59}", re.ASCII)
_API_NAME = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,39}", re.ASCII)
# MariaDB's DECIMAL ends at 65 digits, but 38 are what all databases share.
_LARGEST_PRECISION = 38
# The longest string that InnoDB lets stand in a row beside others of its kind; nothing published comes near.
_LARGEST_STRING = 4000
_MONEY = (19, 4)


@dataclass(frozen=True, slots=True)
class TableDraft:
    """A `[[table]]` as written; `fields` is None where the file leaves the choice to us."""

    name: str
    key: tuple[str, ...]
    header: str | None
    fields: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ReferenceDraft:
    """A `[[reference]]` as written, with the place to name when it proves wrong."""

    where: str
    kind: ReferenceKind
    fields: tuple[str, ...]
    table: str
    key: tuple[str, ...]
    attributes: Mapping[str, str]
    inside: str | None
    # For which values of another field the reference holds, and the column that then has the value.
    when: Condition | None
    column: str | None


@dataclass(slots=True)
class ApiDraft:
    """One file, as far as it could be read."""

    file: str
    name: str = ""
    purpose: str = ""
    level: int = 0
    full_absent: FullAbsent = FullAbsent.KEEP
    net_scope: NetScope = NetScope.ROW
    max_rejected: int | None = None
    origin: Origin = Origin.ASSUMED
    assumed: tuple[str, ...] = ()
    fields: dict[str, Field] = field(default_factory=dict)
    tables: list[TableDraft] = field(default_factory=list)
    references: list[ReferenceDraft] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def wrong(self, key: str, reason: str) -> None:
        """Note one mistake: file, key and reason."""
        self.mistakes.append(f"{self.file}: {key}: {reason}")


def column_name(field_name: str) -> str:
    """The column of a field: lower case, every run of other characters than letters and digits one `_`."""
    return re.sub(r"[^a-z0-9]+", "_", field_name.lower()).strip("_")


def parse(draft: ApiDraft, text: str) -> Mapping[str, Any] | None:
    """The TOML document of a text; None if it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        draft.wrong("TOML", str(error))
    except RecursionError:
        draft.wrong("TOML", "it is nested too deeply")
    return None


def read(draft: ApiDraft, content: Mapping[str, Any]) -> None:
    """Take one document of the catalog apart; the mistakes found are in the draft, none is raised."""
    top = Section(draft.wrong, "", content)
    draft.name = top.text("api")
    if draft.name and not _API_NAME.fullmatch(draft.name):
        top.wrong("api", f"{draft.name!r} cannot stand in a file name")
    draft.purpose = top.text("purpose")
    draft.level = top.number("level", smallest=1, largest=99, needed=True) or 0
    draft.full_absent = top.choice("full_absent", FullAbsent)
    draft.net_scope = top.choice("net_scope", NetScope, NetScope.ROW)
    draft.max_rejected = top.number("max_rejected", smallest=0, largest=10**9, needed=False)
    draft.origin = top.choice("origin", Origin)
    draft.assumed = top.texts("assumed")
    keys = _read_tables(draft, top)
    _read_fields(draft, top, keys)
    _read_references(draft, top)
    top.end()


def _read_tables(draft: ApiDraft, top: Section) -> set[str]:
    """Read the `[[table]]`s; the names of all key fields are returned, since fields must know."""
    for section in top.sections("table", "name"):
        name = section.text("name")
        _check_table(section, "name", name)
        key = section.texts("key", needed=True)
        header = section.text("header", default="") or None
        fields = section.texts("fields") if section.has("fields") else None
        draft.tables.append(TableDraft(name, key, header, fields))
        section.end()
    if not draft.tables:
        top.wrong("table", "at least one table is needed")
    return {name for table in draft.tables for name in table.key}


def _check_table(section: Section, key: str, name: str) -> None:
    if name and not _IDENTIFIER.fullmatch(name):
        section.wrong(key, f"{name!r} is not a table name in lower case")
    elif name.startswith(_OURS):
        section.wrong(key, f"{name!r} begins as tables of the database or of the inbox do")


def _read_fields(draft: ApiDraft, top: Section, keys: set[str]) -> None:
    ordinals: set[int] = set()
    columns: dict[str, str] = {}
    for section in top.sections("field", "name"):
        read = _read_field(draft, section, keys)
        section.end()
        if read.ordinal in ordinals:
            section.wrong("ordinal", f"{read.ordinal} is taken by another field")
        ordinals.add(read.ordinal)
        if read.column in columns:
            section.wrong("name", f"{read.name!r} gives the same column as {columns[read.column]!r}")
        columns[read.column] = read.name
        draft.fields[read.name] = read
    if ordinals != set(range(1, len(ordinals) + 1)):
        top.wrong("field", f"ordinals must run from 1 to {len(ordinals)} without a gap")


def _read_field(draft: ApiDraft, section: Section, keys: set[str]) -> Field:
    ordinal = section.number("ordinal", smallest=1, largest=999, needed=True) or 0
    name = section.text("name")
    column = column_name(name)
    if name and (not _IDENTIFIER.fullmatch(column) or column in _RESERVED or column.startswith(_OURS[0])):
        section.wrong("name", f"{name!r} gives {column!r}, which cannot be a column")
    kind = section.choice("type", FieldType)
    length = precision = scale = None
    if kind is FieldType.STRING:
        length = section.number("length", smallest=1, largest=_LARGEST_STRING, needed=True)
    elif kind is FieldType.INTEGER:
        length = section.number("length", smallest=1, largest=8, needed=False) or 4
        if length not in {1, 2, 4, 8}:
            section.wrong("length", f"{length} is not 1, 2, 4 or 8 bytes")
    elif kind is FieldType.DECIMAL:
        precision = section.number("precision", smallest=1, largest=_LARGEST_PRECISION, needed=True) or 1
        scale = section.number("scale", smallest=0, largest=precision, needed=True)
    elif kind is FieldType.MONEY:
        precision, scale = _MONEY
    codes = section.names("codes")
    is_open = section.flag("open_codes")
    if codes and kind is not FieldType.STRING:
        section.wrong("codes", f"only a string can be one of a list of codes, not {kind}")
    for code in codes:
        if length is not None and len(code) > length:
            section.wrong("codes", f"{code!r} is longer than {length}")
    return Field(
        ordinal=ordinal,
        name=name,
        column=column,
        type=kind,
        length=length,
        precision=precision,
        scale=scale,
        required=section.flag("required"),
        key=name in keys,
        codes={} if is_open else codes,
        open_codes=codes if is_open else {},
        origin=section.choice("origin", Origin, draft.origin),
        assumed=section.texts("assumed"),
        note=section.text("note", default=""),
    )


def _read_references(draft: ApiDraft, top: Section) -> None:
    for section in top.sections("reference", "table"):
        kind = section.choice("kind", ReferenceKind)
        created = kind is ReferenceKind.CREATE
        fields = section.texts("fields", needed=True)
        parent = section.text("table")
        if created:
            _check_table(section, "table", parent)
        when = None if created else _read_condition(draft, section, kind)
        draft.references.append(
            ReferenceDraft(
                where=f"reference {parent!r}",
                kind=kind,
                fields=fields,
                table=parent,
                # Only a parent that we make needs its columns named; others have their own catalog entry.
                key=section.texts("key", needed=True) if created else (),
                attributes=section.names("attributes") if created else {},
                inside=(section.text("inside", default="") or None) if created else None,
                when=when,
                column=None if when is None else _read_column(draft, section, kind, fields),
            )
        )
        section.end()
    _check_all_cases(draft)


def _read_condition(draft: ApiDraft, section: Section, kind: ReferenceKind) -> Condition | None:
    """The `when` of a reference: one field with the values for which the reference holds."""
    if not section.has("when"):
        return None
    written = section.lists("when")
    if len(written) != 1:
        section.wrong("when", "one field with a list of values is needed")
        return None
    ((name, values),) = written.items()
    decides = draft.fields.get(name)
    if decides is None:
        section.wrong("when", f"{name!r} is no field of this API")
        return None
    if strange := [value for value in values if decides.codes and value not in decides.codes]:
        section.wrong("when", f"{', '.join(map(repr, strange))} cannot be in {name!r}")
    if kind is ReferenceKind.PARK and not (decides.required and decides.codes):
        # Otherwise some rows would have no parent, and nobody had decided so.
        section.wrong("when", f"{name!r} must be required and have codes")
    return Condition(decides.column, frozenset(values))


def _read_column(
    draft: ApiDraft, section: Section, kind: ReferenceKind, fields: tuple[str, ...]
) -> str | None:
    """The `column` that holds the value where the condition holds, and NULL elsewhere."""
    column = section.text("column", default="") or None
    if column is None:
        if kind is ReferenceKind.PARK:
            section.wrong("column", "rows that wait under a condition need a column for the foreign key")
        return None
    if len(fields) != 1:
        section.wrong("column", "only a reference of one field can have one")
        return None
    if not _IDENTIFIER.fullmatch(column) or column in _RESERVED or column.startswith(_OURS[0]):
        section.wrong("column", f"{column!r} cannot be a column")
    others = {field.column for field in draft.fields.values() if field.name != fields[0]}
    if column in others or any(reference.column == column for reference in draft.references):
        section.wrong("column", f"{column!r} is taken")
    own = draft.fields.get(fields[0])
    if own is not None and own.key and own.column == column:
        section.wrong("column", f"{column!r} is part of the key, which has to be whole")
    return column


def _check_all_cases(draft: ApiDraft) -> None:
    """Whatever code a row has, it must be known for which parent it waits."""
    by_column = {field.column: field for field in draft.fields.values()}
    covered: dict[tuple[tuple[str, ...], str], set[str]] = {}
    for written in draft.references:
        if written.kind is ReferenceKind.PARK and written.when is not None:
            covered.setdefault((written.fields, written.when.column), set()).update(written.when.values)
    for (fields, column), values in covered.items():
        decides = by_column[column]
        if left := [code for code in decides.codes if code not in values]:
            named = f"{', '.join(fields)} has no parent where {decides.name!r} is {' or '.join(left)}"
            draft.wrong("reference", named)
