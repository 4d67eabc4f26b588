"""Names that are one although they are written differently: put into one spelling, or told of.

The case of sources and APIs does not matter (contract N3), but pydantic puts together what file and variables
say of a table by its keys as they are written, and takes the last of those that turn out to be one.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any


def same(names: Iterable[str], spelling: Callable[[str], str]) -> list[list[str]]:
    """Those names of which there are several in one spelling, as they are written."""
    written: dict[str, list[str]] = {}
    for name in names:
        written.setdefault(spelling(name), []).append(name)
    return [twins for twins in written.values() if len(twins) > 1]


def once(spelling: Callable[[str], str]) -> Callable[[Any], Any]:
    """A validator of tables: each key may be there in one spelling only."""

    def check(table: Any) -> Any:
        if isinstance(table, Mapping):
            for twins in same(map(str, table), spelling):
                told = " and ".join(f"`{name}`" for name in twins)
                raise ValueError(f"{told} are the same; keep one of them")
        return table

    return check


def spelled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by section, with sources and their APIs in upper case."""
    sources = _upper(given.get("sources"))
    if not isinstance(sources, dict):
        return dict(given)
    return {**given, "sources": {name: _apis_spelled(source) for name, source in sources.items()}}


def _apis_spelled(source: Any) -> Any:
    key = "silence_alert_after_by_api"
    return {**source, key: _upper(source[key])} if isinstance(source, dict) and key in source else source


def _upper(table: Any) -> Any:
    """A table with its keys in upper case; those that would become one stay, for `once` to tell of."""
    if not isinstance(table, dict):
        return table
    twins = {name for names in same(table, str.upper) for name in names}
    return {name if name in twins else name.upper(): value for name, value in table.items()}
