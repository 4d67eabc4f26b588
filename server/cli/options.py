"""Options and arguments that commands have in common, as types."""

from typing import Annotated

import typer

from server.admin import Decision

Json = Annotated[bool, typer.Option("--json", help="An array of objects, for machines.")]
Limit = Annotated[int | None, typer.Option(min=1, max=10**9, help="The last so many only.")]
Source = Annotated[list[str] | None, typer.Option("--source", help="Only of this source; may be repeated.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="A name, in any spelling, or an id.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Reason = Annotated[str, typer.Option(help="Why; it is written down.")]
By = Annotated[str | None, typer.Option(help="Who decides; default: the login name.")]

# How moments may be typed.
MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"]

# What is written down where `--reason` is not given.
NO_REASON = Decision.reason
