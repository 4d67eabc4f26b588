"""Settings as variables, of the environment or of the file `.env`: KORE_INBOX_FTP__PORT=2100."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

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


class FileVariables(Variables, DotEnvSettingsSource):
    """What `.env` says."""


def names(env_file: Path) -> set[str]:
    """All variables that are set, ours or not."""
    return {*os.environ, *dotenv_values(env_file)}


def unknown(sections: Mapping[str, Any]) -> Iterator[str]:
    """Environment variables of ours that name no section; pydantic looks only for those that it knows."""
    known = {name.upper() for name in sections}
    for name in sorted(os.environ):
        section = name.removeprefix(PREFIX).partition(DELIMITER)[0].upper()
        if name.startswith(PREFIX) and name != CONF_VARIABLE and section not in known:
            yield name
