"""The programs beside this file run in the checkout's environment, whatever Python they were started with.

To be imported first. So they can be called by path from anywhere, by cron for instance.
"""

import os
import sys
from pathlib import Path

_VENV = Path(__file__).resolve().parent.parent / ".venv"
_PYTHON = _VENV / "bin" / "python"

try:
    import server  # noqa: F401 - only asked whether it is there
except ModuleNotFoundError:
    if not _PYTHON.exists() or Path(sys.prefix) == _VENV:
        sys.exit("The environment of this checkout is missing; scripts/start makes it.")
    os.execv(_PYTHON, [str(_PYTHON), *sys.argv])  # noqa: S606 - a program of our own
