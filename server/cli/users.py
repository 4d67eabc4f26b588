"""`user`: who may log in over FTP."""

from typing import Annotated

import typer

from server import users
from server.cli import context
from server.cli.options import Json, PasswordStdin
from server.output import say, show

commands = typer.Typer(name="user", help="FTP users.", no_args_is_help=True)


@commands.command("add")
def user_add(
    name: str,
    source: Annotated[
        list[str], typer.Option("--source", help="A source that the user may send; repeatable.")
    ],
    unsequenced: Annotated[
        bool,
        typer.Option(
            "--unsequenced", help="Take names without source and sequence from him too, e.g. ORDERS.net."
        ),
    ] = False,
    password_stdin: PasswordStdin = False,
) -> None:
    """Add an FTP user, or give him a new password and new sources."""
    conf = context.conf()
    password = context.password(password_stdin, confirm=True)
    user = users.add_user(conf, name, password, source, unsequenced=unsequenced)
    too = ", also under names without source and sequence" if unsequenced else ""
    say(f"user {name} may send files of {', '.join(user.sources)}{too}.")


@commands.command("list")
def user_list(json: Json = False) -> None:
    """List FTP users and the sources that they may send."""
    records = [
        {"name": user.name, "sources": list(user.sources), "unsequenced": user.unsequenced}
        for user in users.list_users(context.conf())
    ]
    show(records, ("name", "sources", "unsequenced"), json_wanted=json, empty="There are no users.")


@commands.command("remove")
def user_remove(name: str) -> None:
    """Remove an FTP user; his files stay."""
    users.remove_user(context.conf(), name)
    say(f"user {name} is removed.")
