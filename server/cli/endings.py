"""How a command ends: every foreseeable error is a message and an exit code."""

from collections.abc import Callable

import typer
from sqlalchemy.exc import DBAPIError

from server.database import in_words, passes_by_itself, remedy
from server.errors import InboxError, SettingsError, UsageError
from server.output import complain


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
        complain(f"{error.filename or 'The system'}: {error.strerror}.")
        code = 1
    except Exception as error:
        # click's own, which standalone mode would print and exit with.
        if not hasattr(error, "format_message"):
            raise
        complain(f"{error.format_message().replace('Value error, ', '')} See --help.")
        code = 2
    return code or 0
