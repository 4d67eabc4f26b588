"""Settings as variables, of the environment or of the file `.env`: KORE_INBOX_FTP__PORT=2100."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from server.settings.spelling import same, spelled

PREFIX = "KORE_INBOX_"
CONF_VARIABLE = "KORE_INBOX_CONF"
DELIMITER = "__"


def read_value(text: str) -> Any:
    """What stands for a list or a table: either in JSON, or a list as words between commas.

    A text that is meant as JSON and is none stays a text, which no such setting takes.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, list | dict):
        return value
    if text.lstrip().startswith(("[", "{")):
        return text
    return [word.strip() for word in text.split(",") if word.strip()]


class Variables(EnvSettingsSource):
    """What the environment says."""

    def decode_complex_value(self, _name: str, _field: FieldInfo, value: Any) -> Any:
        """As `read_value`; pydantic would end here at what is no JSON."""
        return read_value(value)

    def __call__(self) -> dict[str, Any]:
        """What is said, by section."""
        return spelled(super().__call__())


class FileVariables(Variables, DotEnvSettingsSource):
    """What `.env` says."""


def names(env_file: Path) -> dict[str, str]:
    """All variables that are set, ours or not: as they are written, by their names in upper case."""
    return {name.upper(): name for name in (*dotenv_values(env_file), *os.environ)}


def unknown(sections: Mapping[str, Any]) -> Iterator[str]:
    """Environment variables of ours that name no section; pydantic looks only for those that it knows."""
    known = {name.upper() for name in sections}
    for name in filter(_is_ours, sorted(os.environ)):
        section = name.upper().removeprefix(PREFIX).partition(DELIMITER)[0]
        if name != CONF_VARIABLE and section not in known:
            yield name


def twins(env_file: Path) -> Iterator[list[str]]:
    """Variables of ours that differ in case only: pydantic takes whichever comes last, and says nothing."""
    for place in (os.environ, dotenv_values(env_file)):
        yield from same(filter(_is_ours, sorted(place)), str.upper)


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX)
