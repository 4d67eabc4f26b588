"""`catalog`: the APIs, for people, for machines, for whoever writes the export."""

from typing import Annotated

import typer

from server import catalog_views, migrate, specification
from server.apis import load_catalog
from server.cli import context
from server.cli.options import Json
from server.database import Database
from server.errors import UsageError
from server.output import say, show

commands = typer.Typer()


@commands.command()
def catalog(
    api: Annotated[str | None, typer.Argument(help="One API's fields, keys and references.")] = None,
    json: Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="A specification to print, for whoever writes the export.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="What the next start will add to the tables of the database.")
    ] = False,
) -> None:
    """The APIs by level of precedence, or one of them; what a start will change in the database."""
    settings = context.settings()
    found = load_catalog(settings)
    if dry_run:
        changes = catalog_views.changes(migrate.to_add(Database(settings.database_url), found))
        shown = ("change", "table", "columns", "was", "becomes")
        show(changes, shown, json_wanted=json, empty="The tables have all that the catalog wants.")
        return
    if markdown and json:
        raise UsageError("Say either --markdown or --json.")
    if markdown:
        for line in specification.lines(found, api):
            say(line)
        return
    if api is None:
        overview = ("level", "api", "fields", "tables", "purpose")
        show(catalog_views.apis(found), overview, json_wanted=json, empty="The catalog is empty.")
        return
    columns = ("ordinal", "name", "type", "key", "required", "codes", "reference", "origin")
    show(catalog_views.fields(found, api), columns, json_wanted=json, empty="The API has no fields.")
