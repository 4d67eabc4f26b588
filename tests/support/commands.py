"""The command line within the test's own process."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server import cli

# Words of one command, without its name; returns exit code, output, messages.
Run = Callable[..., tuple[int, str, str]]


def runner(conf: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """What runs a command of the inbox with these settings."""

    def command(*words: str, stdin: str = "") -> tuple[int, str, str]:
        patch.setattr(sys, "argv", ["kore-inbox", "--conf", str(conf), *words])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        return int(ending.value.code or 0), printed.out, printed.err

    return command


def json_of(run: Run, *words: str) -> Any:
    """What a command says with `--json`; it has to succeed."""
    code, out, messages = run(*words, "--json")
    assert code == 0, messages
    return json.loads(out)
