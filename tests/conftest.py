"""What all tests share: a fresh database per test on SQLite and on MariaDB, and nothing left running.

MariaDB is a private server, one per test process, made on first use. Where its programs are missing the tests
that need them fail and say so; none is ever skipped.

Hypothesis runs the profile `ci` where the environment variable `CI` is set (the same examples every time, so
that a red run is about the change and not about luck) and the profile `long` for `scripts/test --long`.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import processes
from tests.support.commands import Run, runner
from tests.support.inboxes import Bench
from tests.support.mariadb import PrivateMariaDB

# A deadline per example measures the machine's other work, not ours.
settings.register_profile("default", settings.get_profile("default"), deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50, print_blob=True)
settings.register_profile(
    "long", deadline=None, max_examples=2000, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure() -> None:
    # A developer's own settings must not reach the inboxes under test.
    for name in [name for name in os.environ if name.upper().startswith("KORE_INBOX_")]:
        del os.environ[name]
    processes.mark_what_we_start()


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """Fail the test that leaves a process behind, and end the process."""
    yield
    if left := processes.left_behind():
        processes.end(left)
        pytest.fail("left running: " + "; ".join(f"{pid} {command}" for pid, command in left.items()))


@pytest.fixture(scope="session")
def mariadb() -> Iterator[PrivateMariaDB]:
    """The server that this process's tests share; a test that stops or kills one makes its own."""
    with PrivateMariaDB() as server:
        assert server.pid is not None
        processes.LASTING.add(server.pid)
        yield server
    processes.LASTING.clear()


@pytest.fixture(params=["sqlite", "mariadb"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """A function that makes one more empty database at each call and returns its SQLAlchemy URL."""
    with databases(request.param, request, tmp_path) as new:
        yield new


@contextmanager
def databases(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Callable[[], str]]:
    """The databases of one test, made as they are asked for and dropped at its end."""
    numbers = itertools.count(1)
    if kind == "sqlite":
        # The first one has the plain name, which is the one that people meet in failures.
        yield lambda: f"sqlite:///{folder / 'inbox'}{_suffix(next(numbers))}.sqlite"
        return
    server: PrivateMariaDB = request.getfixturevalue("mariadb")
    made: list[str] = []

    def new_schema() -> str:
        schema = f"inbox{_suffix(next(numbers))}"
        url = server.create_schema(schema)
        made.append(schema)
        return url

    yield new_schema
    for schema in made:
        server.drop_schema(schema)


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """The SQLAlchemy URL of a fresh, empty database; the test runs once on SQLite and once on MariaDB."""
    return new_database()


@pytest.fixture
def bench(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    """An inbox without processes, on both databases."""
    made = Bench.make(tmp_path / "data", database_url)
    yield made
    made.database.close()


@pytest.fixture
def run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run one command; returns exit code, output, messages."""
    conf = tmp_path / "conf"
    conf.mkdir()
    url = bench.database.url.render_as_string(hide_password=False)
    (conf / "inbox.toml").write_text(
        f'[database]\nurl = "{url}"\n[inbox]\nspool = "{bench.spool.root}"\n[dispatch]\nsettle = 0\n'
    )

    return runner(conf, monkeypatch, capsys)


def _suffix(number: int) -> str:
    return "" if number == 1 else f"_{number}"
