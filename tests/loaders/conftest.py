"""A store per test, on SQLite and on MariaDB, there with rows as text and with rows streamed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loaders.dialects import mariadb as dialect
from tests.conftest import databases
from tests.loaders.store import Store


@pytest.fixture(params=["sqlite", "mariadb", "mariadb streaming"])
def new_database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], str]]:
    """As for all tests, and once more with even a single row being streamed."""
    kind, _, is_streaming = request.param.partition(" ")
    if is_streaming:
        monkeypatch.setattr(dialect, "STREAMED_ROWS", 1)
    with databases(kind, request, tmp_path) as new:
        yield new


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty store with all tables."""
    made = Store.at(database_url)
    yield made
    made.database.close()
