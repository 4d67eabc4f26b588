"""One TOML file of `apis/`: from text to checked parts.

Every mistake is noted and reading goes on, so that all of them can be told at once. What only shows when all
files are known (does the parent exist?) is `catalog`'s affair.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from loaders.shapes import (
    ACTIVE,
    EXTRA,
    MARKS,
    Field,
    FieldType,
    FullAbsent,
    NetScope,
    Origin,
    ReferenceKind,
)

_RESERVED = frozenset({*MARKS, ACTIVE, EXTRA})
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,59}", re.ASCII)
_API_NAME = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,39}", re.ASCII)
# MariaDB's DECIMAL ends at 65 digits, but 38 are what all databases share.
_LARGEST_PRECISION = 38
# The longest string that InnoDB lets stand in a row beside others of its kind; nothing published comes near.
_LARGEST_STRING = 4000
_MONEY = (19, 4)

Kind = TypeVar("Kind", bound=StrEnum)


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


class _Section:
    """One TOML table, taken apart key by key; what nobody asked for is an unknown key."""

    def __init__(self, draft: ApiDraft, where: str, content: Mapping[str, Any]) -> None:
        self._draft = draft
        self._where = where
        self._content = dict(content)

    def wrong(self, key: str, reason: str) -> None:
        self._draft.wrong(f"{self._where}{key}", reason)

    def text(self, key: str, *, default: str | None = None) -> str:
        value = self._content.pop(key, default)
        if isinstance(value, str) and (value or default is not None):
            return value
        self.wrong(key, "a text is needed" if value is None else f"{value!r} is not a text")
        return ""

    def number(self, key: str, *, smallest: int, largest: int, needed: bool) -> int | None:
        value = self._content.pop(key, None)
        if value is None:
            if needed:
                self.wrong(key, "a number is needed")
        elif not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
            self.wrong(key, f"{value!r} is not a number from {smallest} to {largest}")
        else:
            return value
        return None

    def flag(self, key: str) -> bool:
        value = self._content.pop(key, False)
        if not isinstance(value, bool):
            self.wrong(key, f"{value!r} is neither true nor false")
        return value is True

    def choice(self, key: str, kind: type[Kind], default: Kind | None = None) -> Kind:
        value = self._content.pop(key, default)
        if value in list(kind):
            return kind(value)
        self.wrong(key, f"{value!r} is not one of {', '.join(kind)}")
        return next(iter(kind))

    def texts(self, key: str, *, needed: bool = False) -> tuple[str, ...]:
        value = self._content.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self.wrong(key, f"{value!r} is not a list of texts")
            return ()
        if needed and not value:
            self.wrong(key, "at least one name is needed")
        return tuple(value)

    def names(self, key: str) -> dict[str, str]:
        value = self._content.pop(key, {})
        if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
            return value
        self.wrong(key, f"{value!r} does not map names to texts")
        return {}

    def sections(self, key: str) -> Iterable["_Section"]:
        value = self._content.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.wrong(key, "is not a list of tables")
            return
        for number, item in enumerate(value, 1):
            yield _Section(self._draft, f"{key} {number}: ", item)

    def has(self, key: str) -> bool:
        return key in self._content

    def end(self) -> None:
        for key in self._content:
            self.wrong(key, "unknown key")


def read_file(file: str, text: str) -> ApiDraft:
    """Take one file of the catalog apart; the mistakes found are in the draft, none is raised."""
    draft = ApiDraft(file)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        draft.wrong("TOML", str(error))
        return draft
    top = _Section(draft, "", content)
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
    return draft


def _read_tables(draft: ApiDraft, top: _Section) -> set[str]:
    """Read the `[[table]]`s; the names of all key fields are returned, since fields must know."""
    for section in top.sections("table"):
        name = section.text("name")
        if name and not _IDENTIFIER.fullmatch(name):
            section.wrong("name", f"{name!r} is not a table name in lower case")
        key = section.texts("key", needed=True)
        header = section.text("header", default="") or None
        fields = section.texts("fields") if section.has("fields") else None
        draft.tables.append(TableDraft(name, key, header, fields))
        section.end()
    if not draft.tables:
        top.wrong("table", "at least one table is needed")
    return {name for table in draft.tables for name in table.key}


def _read_fields(draft: ApiDraft, top: _Section, keys: set[str]) -> None:
    ordinals: set[int] = set()
    columns: dict[str, str] = {}
    for section in top.sections("field"):
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


def _read_field(draft: ApiDraft, section: _Section, keys: set[str]) -> Field:
    ordinal = section.number("ordinal", smallest=1, largest=999, needed=True) or 0
    name = section.text("name")
    column = column_name(name)
    if name and (not _IDENTIFIER.fullmatch(column) or column in _RESERVED):
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
        codes=codes,
        origin=section.choice("origin", Origin, draft.origin),
        assumed=section.texts("assumed"),
        note=section.text("note", default=""),
    )


def _read_references(draft: ApiDraft, top: _Section) -> None:
    for number, section in enumerate(top.sections("reference"), 1):
        kind = section.choice("kind", ReferenceKind)
        created = kind is ReferenceKind.CREATE
        draft.references.append(
            ReferenceDraft(
                where=f"reference {number}",
                kind=kind,
                fields=section.texts("fields", needed=True),
                table=section.text("table"),
                # Only a parent that we make needs its columns named; others have their own catalog entry.
                key=section.texts("key", needed=True) if created else (),
                attributes=section.names("attributes") if created else {},
                inside=(section.text("inside", default="") or None) if created else None,
            )
        )
        section.end()
