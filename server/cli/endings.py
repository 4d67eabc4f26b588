"""How a command ends: every foreseeable error is a message and an exit code."""

from collections.abc import Callable

import typer
from sqlalchemy.exc import DBAPIError

from server.database import in_words, passes_by_itself, remedy
from server.errors import InboxError, SettingsError, UsageError
from server.output import complain

# What the library that checks numbers says of them.
_IN_OUR_WORDS = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "it is no whole number",
}
# What a command is run as by mistake makes files that the inbox cannot use.
_RIGHTS = " Run this as the user that the inbox runs as, or give that user what it needs (`chown`)."


def exit_code(command: Callable[[], int | None]) -> int:
    """Run a command, say what went wrong, and return the exit code.

    Raises:
        Exception: nobody foresaw it.
    """
    try:
        code = command()
    except (SettingsError, UsageError) as error:
        complain(str(error))
        code = 2
    except InboxError as error:
        complain(str(error))
        code = 1
    except typer.Abort:
        code = 130
    except DBAPIError as error:
        if not passes_by_itself(error):
            raise
        if remedy(error) is None:
            what, todo = "does not answer", " Try again when it is back."
        else:
            what, todo = "refuses us", ""
        complain(f"The database {what}: {in_words(error)}. Nothing was changed.{todo}")
        code = 1
    except BrokenPipeError:
        code = 0
    except OSError as error:
        todo = _RIGHTS if isinstance(error, PermissionError) else ""
        complain(f"{error.filename or 'The system'}: {error.strerror}.{todo}")
        code = 1
    except Exception as error:
        # click's own, which standalone mode would print and exit with.
        if not hasattr(error, "format_message"):
            raise
        said = str(error.format_message())
        for theirs, ours in _IN_OUR_WORDS.items():
            said = said.replace(theirs, ours)
        complain(f"{said.rstrip('.')}. See --help.")
        code = 2
    return code or 0
