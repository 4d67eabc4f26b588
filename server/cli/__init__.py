"""`kore-inbox`: words to functions of `admin` and `views`, results to `output` (contract section 8).

Exit codes: 0 done, 1 found something wrong, 2 usage or settings. Nothing foreseeable ends in a traceback.

    setting_up   a settings folder; the server
    looking      what there is, and why
    checking     what a load would say
    catalog      the APIs
    deciding     what is up to a person
    mail         mail about exceptions
    simulating   an ERP
    users        who may log in
    options      what commands have in common, as types
    context      what the command line leads to
    endings      errors as messages and exit codes

A new command is a function in one of the first; a new group of commands is a module, named once below.
"""

import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from server.cli import (
    catalog,
    checking,
    context,
    deciding,
    endings,
    looking,
    mail,
    setting_up,
    simulating,
    users,
)
from server.errors import UsageError
from server.output import say

app = typer.Typer(
    help="An FTP inbox for ERP exports that loads what it receives.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# In the order of --help. A group that has a name is typed with it, e.g. `user add`.
for _group in (
    setting_up.commands,
    looking.commands,
    checking.commands,
    catalog.commands,
    deciding.commands,
    simulating.commands,
    users.commands,
    deciding.sequence,
    mail.commands,
):
    app.add_typer(_group)


def _tell_version(wanted: bool) -> None:
    if wanted:
        say(f"kore-inbox {metadata.version('kore-inbox')}")
        raise typer.Exit


@app.callback()
def _main(
    conf: Annotated[
        Path | None, typer.Option(help="Settings folder; else KORE_INBOX_CONF, else ./conf.")
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Which one this is.")
    ] = False,
) -> None:
    context.choose(conf)


def main() -> None:
    """The command's entrance."""
    sys.exit(endings.exit_code(_run))


def _run() -> int | None:
    """Bytes that are no UTF-8 could be written down nowhere, and are no name of anything here."""
    for word in sys.argv[1:]:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{word!r} is not in UTF-8.", todo="Type it in UTF-8.") from None
    code: int | None = app(standalone_mode=False)
    return code
