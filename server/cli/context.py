"""What the command line leads to: the settings folder, its settings, its inbox, a password."""

import getpass
import sys
import warnings
from pathlib import Path

import typer

from server.admin import Inbox
from server.config import Settings, conf_folder, load_settings, must_exist
from server.errors import UsageError
from server.output import complain

# How long a database is waited for by what has something to do without it.
LOOK_SECONDS = 3


class _Chosen:
    """The settings folder that the command line names."""

    folder: Path = Path("conf")


def choose(folder: Path | None) -> None:
    """Take this settings folder; without one, what the environment says, else `./conf`."""
    _Chosen.folder = conf_folder(folder)


def chosen() -> Path:
    """The settings folder, whether it is there or not."""
    return _Chosen.folder


def conf() -> Path:
    """The settings folder, which every command but `init` needs.

    Raises:
        SettingsError: it is not there.
    """
    return must_exist(chosen())


def settings() -> Settings:
    """What the settings folder says.

    Raises:
        SettingsError: it is not there, or cannot be used.
    """
    return load_settings(conf())


def inbox(*, may_be_lost: bool = False, any_spool: bool = False) -> Inbox:
    """The inbox of the settings folder; whoever has to wait for it is told.

    Raises:
        SettingsError: the settings cannot be used.
        LedgerLost: the ledger knows nothing of what is in the spool, unless it `may_be_lost`.
        AnotherSpool: the ledger belongs to another spool, unless it may be `any_spool`.
    """
    return Inbox.open(
        conf(),
        lambda what: complain(f"waiting for: {what}"),
        may_be_lost=may_be_lost,
        any_spool=any_spool,
    )


def inbox_beside_its_database() -> Inbox:
    """The same for what can be said without the database, which is not waited for.

    Raises:
        SettingsError: the settings cannot be used.
    """
    return Inbox.beside(conf(), timeout_seconds=LOOK_SECONDS)


def password(from_stdin: bool, *, confirm: bool) -> str:
    """A password, from the first line of standard input or typed unseen; with `confirm` twice.

    Raises:
        UsageError: it is not in UTF-8, or cannot be typed unseen as there is no terminal.
    """
    if from_stdin:
        try:
            given = sys.stdin.readline().rstrip("\r\n")
            given.encode()
        except UnicodeError:
            raise UsageError("The password on standard input is not in UTF-8.") from None
        return given
    with warnings.catch_warnings():
        # Else it would be read from wherever standard input comes from, and shown.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            prompted: str = typer.prompt("Password", hide_input=True, confirmation_prompt=confirm)
        except getpass.GetPassWarning:
            raise UsageError(
                "There is no terminal at which a password could be typed unseen.",
                todo="Give it as the first line of standard input, with --password-stdin.",
            ) from None
    return prompted
