"""The catalog as records for people and machines."""

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


def fields(catalog: Catalog, name: str) -> list[Record]:
    """The fields of one API, in the order of its file.

    Raises:
        UsageError: there is no such API.
    """
    api = catalog.get(name.upper())
    if api is None:
        raise UsageError(f"The catalog has no API {name.upper()}.", todo="See `kore-inbox catalog`.")
    return [
        {
            "ordinal": field.ordinal,
            "name": field.name,
            "column": field.column,
            "type": _type(field),
            "key": "key" if field.key else "",
            "required": "required" if field.required else "",
            "codes": ", ".join(field.codes),
            "reference": _reference(api, field),
            "origin": " ".join([field.origin, *(f"({what} assumed)" for what in field.assumed)]),
        }
        for field in api.fields
    ]


def _type(field: Field) -> str:
    if field.type in (FieldType.DECIMAL, FieldType.MONEY):
        return f"{field.type}({field.precision},{field.scale})"
    return f"{field.type}({field.length})" if field.length else str(field.type)


def _reference(api: Api, field: Field) -> str:
    return ", ".join(
        f"{reference.kind} {reference.parent}"
        for reference in api.references
        if field.column in reference.columns
    )
