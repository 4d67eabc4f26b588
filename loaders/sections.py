"""One table of a TOML file, taken apart key by key.

What cannot be used is told to whoever asked for the table, with the key and the reason; reading goes on with
a value of the right type, so that all mistakes can be told at once.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=StrEnum)


class Section:
    """One TOML table, taken apart key by key; what nobody asked for is an unknown key."""

    def __init__(self, mistake: Callable[[str, str], None], where: str, content: Mapping[str, Any]) -> None:
        self._mistake = mistake
        self._where = where
        self._content = dict(content)

    def wrong(self, key: str, reason: str) -> None:
        self._mistake(f"{self._where}{key}", reason)

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
        allowed = ", ".join(kind)
        self.wrong(
            key, f"one of {allowed} is needed" if value is None else f"{value!r} is not one of {allowed}"
        )
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

    def lists(self, key: str) -> dict[str, tuple[str, ...]]:
        value = self._content.pop(key, {})
        if isinstance(value, dict) and all(
            isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
            for texts in value.values()
        ):
            return {name: tuple(texts) for name, texts in value.items()}
        self.wrong(key, f"{value!r} does not map names to lists of texts")
        return {}

    def sections(self, key: str, named: str) -> Iterable["Section"]:
        """The tables of a list; mistakes call each by its `named`, or by its number where it has none."""
        value = self._content.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.wrong(key, "is not a list of tables")
            return
        for number, item in enumerate(value, 1):
            name = item.get(named)
            called = repr(name) if isinstance(name, str) and name else str(number)
            yield Section(self._mistake, f"{key} {called}: ", item)

    def has(self, key: str) -> bool:
        return key in self._content

    def end(self) -> None:
        for key in self._content:
            self.wrong(key, "unknown key")
