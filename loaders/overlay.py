"""What a site changes of a known API, laid over what the package says of it.

Pure: two TOML documents become one, which is then read and checked like any other. A site may add fields and
references and change what a field says. It may not change what columns hold already: no other type, nothing
narrower, no other key.
"""

from collections.abc import Callable, Mapping
from typing import Any

Document = Mapping[str, Any]
Wrong = Callable[[str, str], None]

ORIGIN = "site"
_WIDTHS = ("length", "precision")
_LISTS = ("table", "field", "reference")
_FIXED = ("ordinal", "type", "scale")


def overlaid(known: Document, site: Document, wrong: Wrong) -> dict[str, Any]:
    """The document of an API with a site's changes; `wrong` is told key and reason of what cannot be."""
    scalars = {key: value for key, value in site.items() if key not in _LISTS}
    changed = [key for key, value in scalars.items() if known.get(key, value) != value]
    if "table" in site:
        wrong("table", "the tables of an API that is known already stay as they are")
    fields, added = _fields(known["field"], _tables_in(site, "field", wrong), wrong)
    return {
        **known,
        **scalars,
        "assumed": [*known.get("assumed", []), *changed],
        "field": fields,
        "table": _with_fields(known["table"], added, wrong),
        "reference": _references(known.get("reference", []), _tables_in(site, "reference", wrong)),
    }


def _tables_in(site: Document, key: str, wrong: Wrong) -> list[dict[str, Any]]:
    """The `[[key]]`s of a site's file."""
    value = site.get(key, [])
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return [dict(item) for item in value]
    wrong(key, "is not a list of tables")
    return []


def _fields(
    known: list[Document], site: list[dict[str, Any]], wrong: Wrong
) -> tuple[list[dict[str, Any]], list[tuple[str, str | None]]]:
    """All fields, and of the new ones name and table."""
    fields = {str(field["name"]): dict(field) for field in known}
    added: list[tuple[str, str | None]] = []
    for written in site:
        name = str(written.get("name"))
        if name in (known_name for known_name, _ in added):
            wrong(f"field {name!r}", "it is there twice")
        elif name in fields:
            fields[name] = _changed(fields[name], written, wrong)
        else:
            table = written.pop("table", None)
            added.append((name, None if table is None else str(table)))
            fields[name] = {"ordinal": len(fields) + 1, "origin": ORIGIN, **written}
    return list(fields.values()), added


def _changed(known: dict[str, Any], written: dict[str, Any], wrong: Wrong) -> dict[str, Any]:
    where = f"field {known['name']!r}"
    changed = [key for key, value in written.items() if known.get(key) != value]
    for key in changed:
        if key in _FIXED:
            wrong(f"{where}: {key}", f"{known.get(key)!r} cannot become {written[key]!r}")
        elif key in _WIDTHS and _is_narrower(written[key], known.get(key)):
            wrong(f"{where}: {key}", f"{written[key]} is narrower than {known[key]}")
    return {**known, **written, "assumed": [*known.get("assumed", []), *changed]}


def _is_narrower(new: Any, old: Any) -> bool:
    return isinstance(new, int) and isinstance(old, int) and new < old


def _with_fields(
    tables: list[Document], added: list[tuple[str, str | None]], wrong: Wrong
) -> list[dict[str, Any]]:
    """The tables with the new fields: each in the table it names, else in the one that tells rows apart."""
    merged = [dict(table) for table in tables]
    for name, wanted in added:
        found = [table for table in merged if wanted in (None, table["name"])]
        if not found:
            wrong(f"field {name!r}: table", f"{wanted!r} is no table of this API")
        elif "fields" in found[-1]:
            found[-1]["fields"] = [*found[-1]["fields"], name]
    return merged


def _references(known: list[Document], site: list[dict[str, Any]]) -> list[Document]:
    """All references; of two from the same fields to the same table the site's holds."""

    def target(reference: Document) -> tuple[str, str]:
        return str(reference.get("fields")), str(reference.get("table"))

    own = {target(reference) for reference in site}
    return [*(reference for reference in known if target(reference) not in own), *site]
