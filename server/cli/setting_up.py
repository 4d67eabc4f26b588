"""Commands that set the inbox up and run it."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from server import migrate, setup, supervisor
from server.apis import load_catalog
from server.certificate import Pair, make_self_signed
from server.cli import context
from server.config import load_settings
from server.database import Database
from server.output import say

commands = typer.Typer()


@commands.command()
def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Default: the settings folder.")
    ] = None,
    self_signed: Annotated[
        bool, typer.Option("--self-signed", help="With a certificate and a key, to try FTPS with.")
    ] = False,
) -> None:
    """Make a settings folder that runs as it stands; nothing is overwritten."""
    place = context.chosen() if folder is None else folder.resolve()
    made = setup.make_conf(place)
    pair = Pair(place / "certificate.pem", place / "key.pem")
    if self_signed:
        made += make_self_signed(pair.certificate, pair.key, datetime.now(UTC))
    for path in made:
        say(f"made {path}")
    load_settings(place)
    if self_signed:
        names = (f"{place.name}/{path.name}" for path in (pair.certificate, pair.key))
        say('For FTPS set in [ftp]: tls = "required", certificate = "{}", key = "{}".'.format(*names))
    say(f"{place} is ready; make a user with `kore-inbox user add NAME --source SOURCE`.")


@commands.command()
def serve() -> None:
    """Run the inbox in the foreground until SIGTERM or SIGINT."""
    settings = context.settings()
    catalog = load_catalog(settings)
    if (pair := Pair.of(settings.ftp)) is not None:
        pair.context()
    database = Database(settings.database_url, timeout_seconds=context.LOOK_SECONDS)
    with suppress(DBAPIError):
        # The receiver needs no database; where there is none, the loader finds out by itself (contract A4).
        migrate.to_add(database, catalog)
    database.close()
    supervisor.serve(context.conf(), settings)
