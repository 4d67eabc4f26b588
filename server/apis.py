"""The catalog that an inbox works with: the package's APIs, and what the site's folder changes of them."""

from loaders.catalog import CatalogError, read_catalog
from loaders.shapes import Catalog
from server.config import Settings
from server.errors import SettingsError


def load_catalog(settings: Settings) -> Catalog:
    """Read and check the catalog.

    Raises:
        SettingsError: with every mistake in the site's files, because their folder cannot be read, or because
            the settings name an API that there is not.
    """
    folder = settings.catalog.folder
    try:
        catalog = read_catalog(site=folder)
    except CatalogError as error:
        raise SettingsError(list(error.mistakes)) from None
    except OSError as error:
        raise SettingsError([f"catalog.folder: {error.filename or folder}: {error.strerror}"]) from None
    unknown = [
        f"sources.{name}.silence_alert_after_by_api: there is no API {api}"
        for name, source in settings.sources.items()
        for api in source.silence_alert_after_by_api
        if api not in catalog
    ]
    if unknown:
        raise SettingsError(unknown)
    return catalog
