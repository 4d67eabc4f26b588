"""The catalog of APIs: one TOML file each in `apis/`, read once into frozen values (`shapes`).

This is the only reader of `apis/`, and of the folder in which a site adds to them (`overlay`). What one file
says is checked by `catalog_file`, how the files fit by `assembly`. All mistakes of all files are told
together, in one `CatalogError`: mending takes one round.
"""

import os
from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from loaders.assembly import Assembly
from loaders.catalog_file import ApiDraft, parse, read
from loaders.overlay import ORIGIN, Document, overlaid
from loaders.shapes import Catalog

_Document = tuple[ApiDraft, Document | None]


class CatalogError(ValueError):
    """The catalog cannot be used; `mistakes` has one line for each thing to mend: file, key and reason."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


def read_catalog(folder: Path | None = None, site: Path | None = None) -> Catalog:
    """Read and check every `*.toml` of `folder` (default: the APIs that come with this package).

    A file in `site` adds an API, or changes one that is known (`overlay`). Raises CatalogError with all
    mistakes; an OSError means that a folder cannot be read.
    """
    place: Traversable = folder if folder is not None else files("loaders") / "apis"
    documents = _documents(place)
    if site is not None:
        documents = _with_changes(documents, _documents(site, str(site) + os.sep))
    for draft, document in documents:
        if document is not None:
            read(draft, document)
    catalog = Assembly([draft for draft, _ in documents]).catalog()
    mistakes = [mistake for draft, _ in documents for mistake in draft.mistakes]
    if mistakes:
        raise CatalogError(mistakes)
    return catalog


def _documents(folder: Traversable, path: str = "") -> list[_Document]:
    """The files of a folder by name; a mistake calls each by `path` and name."""
    found: list[_Document] = []
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.name.endswith(".toml"):
            draft = ApiDraft(path + item.name)
            try:
                found.append((draft, parse(draft, item.read_text(encoding="utf-8"))))
            except UnicodeDecodeError as error:
                draft.wrong("TOML", str(error))
                found.append((draft, None))
    return found


def _with_changes(known: list[_Document], site: list[_Document]) -> list[_Document]:
    """The documents with a site's: those of a known API are laid over it, the others added."""
    of_package = {_api(document): document for _, document in known}
    found = {_api(document): (draft, document) for draft, document in known}
    seen: set[str] = set()
    for draft, document in site:
        api = _api(document)
        if api in seen:
            draft.wrong("api", f"{api!r} has a file already")
        if document is not None and api not in seen and (before := of_package.get(api)) is not None:
            found[api] = (draft, overlaid(before, document, draft.wrong))
        else:
            found[draft.file] = (draft, None if document is None else {"origin": ORIGIN, **document})
        seen.add(api)
    return list(found.values())


def _api(document: Document | None) -> str:
    return str((document or {}).get("api"))
