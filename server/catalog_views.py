"""The catalog as records for people and machines."""

from collections.abc import Sequence
from dataclasses import asdict

from loaders.growth import Change
from loaders.shapes import Api, Catalog, Field, FieldType
from server.errors import UsageError
from server.output import Record


def apis(catalog: Catalog) -> list[Record]:
    """Every API, by level of precedence."""
    return [
        {
            "level": api.level,
            "api": api.name,
            "fields": len(api.fields),
            "tables": ", ".join(table.name for table in api.tables),
            "purpose": api.purpose,
        }
        for api in sorted(catalog.values(), key=lambda api: (api.level, api.name))
    ]


def find(catalog: Catalog, name: str) -> Api:
    """An API by its name in any case.

    Raises:
        UsageError: there is no such API.
    """
    api = catalog.get(name.upper())
    if api is None:
        raise UsageError(f"The catalog has no API {name.upper()}.", todo="See `kore-inbox catalog`.")
    return api


def fields(catalog: Catalog, name: str) -> list[Record]:
    """The fields of one API, in the order of its file.

    Raises:
        UsageError: there is no such API.
    """
    api = find(catalog, name)
    return [
        {
            "ordinal": field.ordinal,
            "name": field.name,
            "column": field.column,
            "type": _type(field),
            "key": field.key,
            "required": field.required,
            # With open codes any other text may come too.
            "codes": ", ".join([*field.codes, *field.open_codes, *(["…"] if field.open_codes else [])]),
            "reference": _reference(api, field),
            "origin": origin(field),
        }
        for field in api.fields
    ]


def changes(found: Sequence[Change]) -> list[Record]:
    """What the next start will add to the tables."""
    return [{**asdict(change), "columns": ", ".join(change.columns)} for change in found]


def origin(field: Field) -> str:
    """How the facts about a field are known."""
    return " ".join([field.origin, *(f"({what} assumed)" for what in field.assumed)])


def _type(field: Field) -> str:
    if field.type in (FieldType.DECIMAL, FieldType.MONEY):
        return f"{field.type}({field.precision},{field.scale})"
    return f"{field.type}({field.length})" if field.length else str(field.type)


def _reference(api: Api, field: Field) -> str:
    """Where a field leads, through the columns that are derived from it too."""
    columns = {part.field.column: part.source for part in api.derived}
    found: dict[str, None] = {}
    for reference in api.references:
        if field.column in {columns.get(column, column) for column in reference.columns}:
            when = reference.when
            holds = "" if when is None else f" ({when.column} {'/'.join(sorted(when.values))})"
            found[f"{reference.kind} {reference.parent}{holds}"] = None
    return ", ".join(found)
