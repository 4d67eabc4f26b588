"""The command line within the test's own process."""

import json
from collections.abc import Callable
from typing import Any

# Words of one command, without its name; returns exit code, output, messages.
Run = Callable[..., tuple[int, str, str]]


def json_of(run: Run, *words: str) -> Any:
    """What a command says with `--json`; it has to succeed."""
    code, out, messages = run(*words, "--json")
    assert code == 0, messages
    return json.loads(out)
