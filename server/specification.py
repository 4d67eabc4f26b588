"""The catalog as a document in Markdown, for whoever writes the exports of an ERP."""

import re
from collections.abc import Iterable, Iterator

from loaders.options import DATE_FORMATS
from loaders.shapes import (
    Api,
    Catalog,
    Field,
    FieldType,
    FullAbsent,
    NetScope,
    Origin,
    Reference,
    ReferenceKind,
)
from server import catalog_views

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")

_INTRODUCTION = f"""\
# What the inbox reads

Each file holds rows of one API. Its name says the rest: source, number, integration, API and mode, as in
`DT_0000017_KS_ORDERS.NET`. The numbers of a source begin at 1 and go on by one, whatever the API. Files of a
lower level are loaded before those of a higher one that are there too.

- The values of a row are separated by tabs, and stand in the order of the fields. A row ends with LF or CRLF.
- There is no quoting: a quotation mark is data. No value can hold a tab or the end of a line.
- The text is UTF-8, with or without a byte order mark, unless the source is set to something else.
- The first row may be a header with the names of the fields; then these may come in any order.
- Every row has as many values as the first one. Fields at the end may be left out of a file altogether.
- An empty value means that there is none: it clears what the field held. Blanks at a value's ends count.
- Numbers are written as `-1234.5`: no thousands separators, no currency.
- A value marked as part of the key may be empty; then that is a key of its own.
- Days are written as {", ".join(f"`{written}`" for written in DATE_FORMATS)}.
  A time of day, if there is one, follows as `HH:MM:SS`."""

_FULL = {
    FullAbsent.DEACTIVATE: "the whole set: rows that it does not hold become inactive",
    FullAbsent.KEEP: "the whole set: rows that it does not hold stay as they are",
}
_NET = {
    NetScope.ROW: "new and changed rows",
    NetScope.LINE: "new and changed lines, each with all of its rows",
    NetScope.HEADER: "new and changed documents, each with all of its rows",
}
_KINDS = {
    ReferenceKind.PARK: "the row waits until that is there",
    ReferenceKind.CREATE: "if that is not there, it is made",
    ReferenceKind.KEEP: "if that is not there, the text is kept all the same",
}
_ORIGINS = {
    Origin.INFERRED: "inferred from others",
    Origin.ASSUMED: "assumed",
    Origin.SITE: "this site's own",
}


def lines(catalog: Catalog, name: str | None) -> Iterator[str]:
    """The document's lines: one API, or the introduction and all of them by level.

    Raises:
        UsageError: there is no such API.
    """
    if name is not None:
        yield from _api(catalog, catalog_views.find(catalog, name))
        return
    yield from _INTRODUCTION.splitlines()
    level = 0
    for api in sorted(catalog.values(), key=lambda api: (api.level, api.name)):
        if api.level != level:
            level = api.level
            yield from ("", f"## Level {level}")
        yield ""
        yield from _api(catalog, api)


def _api(catalog: Catalog, api: Api) -> Iterator[str]:
    key = ", ".join(_named(api, column) for column in api.most_specific.key)
    yield f"### {_plain(api.name)}"
    yield ""
    yield f"{_plain(api.purpose[:1].upper() + api.purpose[1:])}."
    yield ""
    yield f"- File: `DT_0000001_KS_{api.name}.NET` or `.FULL`; level {api.level}"
    yield f"- NET: {_NET[api.net_scope]}"
    yield f"- FULL: {_FULL[api.full_absent]}"
    yield f"- Key: {key}"
    for reference in _distinct(api):
        yield f"- {_reference(catalog, api, reference)}"
    yield ""
    yield "| # | field | value | required | meaning |"
    yield "|--:|---|---|---|---|"
    for field in api.fields:
        cells = (str(field.ordinal), _plain(field.name), _value(field), _needed(field), _meaning(field))
        yield f"| {' | '.join(cells)} |"


def _distinct(api: Api) -> list[Reference]:
    """The references, once where several tables have them."""
    found = {(r.columns, r.parent, r.when): r for r in reversed(api.references)}
    return list(reversed(found.values()))


def _reference(catalog: Catalog, api: Api, reference: Reference) -> str:
    owner = catalog.api_of_table.get(reference.parent)
    parent = (
        f"a row of {_plain(owner.name)}"
        if owner
        else f"one of the {_plain(reference.parent.replace('_', ' '))}"
    )
    fields = ", ".join(_named(api, column) for column in reference.columns)
    condition = ""
    if (when := reference.when) is not None:
        condition = f", where {_named(api, when.column)} is {_either(sorted(when.values))}"
    return f"{fields} names {parent}{condition}; {_KINDS[reference.kind]}"


def _named(api: Api, column: str) -> str:
    """The field that a column is taken from."""
    source = next((part.source for part in api.derived if part.field.column == column), column)
    return _plain(next(field.name for field in api.fields if field.column == source))


def _value(field: Field) -> str:
    match field.type:
        case FieldType.STRING:
            text = "1 character" if field.length == 1 else f"up to {field.length} characters"
            return f"{_either(field.codes)}" if field.codes else text
        case FieldType.INTEGER:
            largest = (1 << (8 * (field.length or 4) - 1)) - 1
            return f"whole number, {-largest - 1:,} to {largest:,}"
        case FieldType.DECIMAL | FieldType.MONEY:
            whole = (field.precision or 0) - (field.scale or 0)
            return f"number, at most {whole} digits before the point and {field.scale} after"
        case FieldType.FLOAT:
            return "number"
        case FieldType.DATE:
            return "day"
        case FieldType.DATETIME:
            return "day, or day and time"


def _needed(field: Field) -> str:
    return "yes" if field.required else "part of the key" if field.key else ""


def _meaning(field: Field) -> str:
    codes = "; ".join(f"{_plain(code)} = {_plain(what)}" for code, what in _codes(field).items())
    unsure = [] if field.origin is Origin.PUBLISHED else [f"the field is {_ORIGINS[field.origin]}"]
    if field.assumed:
        unsure.append(f"{', '.join(field.assumed)} assumed")
    return "; ".join(part for part in (codes, _plain(field.note), *unsure) if part)


def _codes(field: Field) -> dict[str, str]:
    return {**field.codes, **field.open_codes}


def _either(codes: Iterable[str]) -> str:
    *most, last = map(_plain, codes)
    return f"{', '.join(most)} or {last}" if most else last


def _plain(text: str) -> str:
    """Text in which nothing means anything to Markdown, on one line (contract X4)."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
