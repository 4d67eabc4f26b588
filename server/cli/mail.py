"""`mail`: whether mail about exceptions arrives, and what has not been sent."""

from typing import Annotated

import typer

from server.cli import context
from server.cli.options import Json
from server.mail import desk
from server.output import say, show

commands = typer.Typer(name="mail", help="Mail about exceptions.", no_args_is_help=True)


@commands.command("test")
def mail_test(
    to: Annotated[
        list[str] | None, typer.Option("--to", help="An address; may be repeated. Default: `recipients`.")
    ] = None,
) -> None:
    """Send a test mail at once, to see that mail arrives."""
    recipients = desk.send_trial(context.settings().mail, to or [])
    say(f"sent to {', '.join(recipients)}")


@commands.command("queue")
def mail_queue(
    everything: Annotated[bool, typer.Option("--all", help="Those that were sent, too.")] = False,
    json: Json = False,
) -> None:
    """Mails that have not been sent, and why."""
    records = desk.letters(context.inbox().database, everything=everything)
    columns = ["id", "subject", "recipients", "queued_at", "attempts", "retry_at", "error"]
    columns += ["sent_at"] if everything else []
    show(records, columns, json_wanted=json, empty="No mail is waiting.")
