"""A store per test, on SQLite and on MariaDB."""

from collections.abc import Iterator

import pytest

from tests.loaders.store import Store


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty store with all tables."""
    made = Store.at(database_url)
    yield made
    made.database.close()
