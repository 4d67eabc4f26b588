"""The catalog that an inbox works with: the package's APIs, and what the site's folder changes of them."""

from loaders.catalog import CatalogError, read_catalog
from loaders.shapes import Catalog
from server.config import Settings
from server.errors import SettingsError


def load_catalog(settings: Settings) -> Catalog:
    """Read and check the catalog.

    Raises:
        SettingsError: with every mistake in the site's files, or because their folder cannot be read.
    """
    folder = settings.catalog.folder
    try:
        return read_catalog(site=folder)
    except CatalogError as error:
        raise SettingsError(list(error.mistakes)) from None
    except OSError as error:
        raise SettingsError([f"catalog.folder: {error.filename or folder}: {error.strerror}"]) from None
