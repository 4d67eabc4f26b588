"""A small inbox that is made anew, with its database, as often as a test wants to see it die."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pytest
from sqlalchemy import text

from loaders.records import metadata
from loaders.shapes import Catalog
from loaders.tables import target
from server import roles
from server.config import Settings
from server.dispatcher import Dispatcher
from server.pace import Pace
from server.spool import Spool
from tests.support.inboxes import Bench

_A_DAY_SECONDS = 86_400.0

some_or_all_steps = pytest.mark.parametrize(
    "thorough",
    [pytest.param(False, id="some steps"), pytest.param(True, id="all steps", marks=pytest.mark.long)],
)


@dataclass(frozen=True)
class Arrival:
    """A file that was accepted, or refused for a reason; `source` is that of a name without one (N7)."""

    name: str
    data: bytes
    refusal: str | None = None
    source: str | None = None


@dataclass
class World:
    """An inbox with files that are accepted and not registered, as it is before each life.

    Attributes:
        folder: has the inbox as it was made, `origin`, and the one that lives now, `run`.
        origin: as it was made; its engine serves all lives, since what it has compiled is ready for the next.
        catalog: what is loaded; looking after other APIs would only take time.
    """

    folder: Path
    origin: Bench
    catalog: Catalog

    @classmethod
    def make(
        cls,
        folder: Path,
        url: str,
        catalog: Catalog,
        first: Sequence[Arrival] = (),
        then: Sequence[Arrival] = (),
    ) -> Self:
        """With files that are there at the beginning, and some that come when these are loaded."""
        bench = Bench.make(folder / "origin", url, _patient)
        later = _later(bench.spool)
        later.mkdir()
        for files in (then, first):
            for file in files:
                bench.arrive(file.name, file.data, refusal=file.refusal, source=file.source)
            if files is then:
                for name in bench.spool.pending_ids():
                    (bench.spool.new / name).rename(later / name)
        bench.database.close()
        if bench.database.is_sqlite:
            shutil.copy(_file(bench), folder / "origin.sqlite")
        return cls(folder, bench, catalog)

    @property
    def spool(self) -> Spool:
        """The one of the inbox that lives now."""
        return Spool(self.folder / "run" / "spool")

    @property
    def bench(self) -> Bench:
        """The inbox that lives now; its connections are to be closed before a child is forked."""
        return replace(self.origin, catalog=self.catalog, spool=self.spool)

    def stride(self, thorough: bool) -> int:
        """Every how manieth step is tried: all, or as many as every run has time for."""
        return 1 if thorough else 10 if self.origin.database.is_sqlite else 30

    def anew(self) -> None:
        """As it was made."""
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        copy_spool(self.folder / "origin", self.folder / "run")
        database = self.origin.database
        if database.is_sqlite:
            path = _file(self.origin)
            for left in path.parent.glob(f"{path.name}-*"):
                left.unlink()
            shutil.copy(self.folder / "origin.sqlite", path)
            return
        with database.write("emptying") as connection:
            connection.execute(text("SET FOREIGN_KEY_CHECKS = 0"))
            for table in (*target(self.origin.catalog).tables, *metadata.tables):
                connection.execute(text(f"DELETE FROM {table}"))
            connection.execute(text("SET FOREIGN_KEY_CHECKS = 1"))
        database.close()

    def load(self) -> None:
        """A loader's life, until it has nothing to do."""
        bench = self.bench
        bench.spool.create()
        with roles.take(bench.spool.root, "loader"):
            _Loader(bench.settings, bench.spool, bench.database, bench.catalog).run()
        bench.database.close()


class _Loader(Dispatcher):
    """Is told of more when it has nothing to do, and ends when there is no more, with all looked over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reviewing._reviewed = self.reviewing._counted = Pace(math.inf)

    def _wait(self, nudges: int) -> None:
        later = sorted(_later(self.spool).iterdir())
        for receipt in later:
            receipt.rename(self.spool.new / receipt.name)
        if not later:
            self.stop.set()


def _patient(settings: Settings) -> Settings:
    """All lives begin with the same files, which are old in the last ones: nobody is to be told of it."""
    sequence = settings.sequence.model_copy(update={"gap_alert_after": _A_DAY_SECONDS})
    dispatch = settings.dispatch.model_copy(update={"backlog_alert_after": _A_DAY_SECONDS})
    return settings.model_copy(update={"sequence": sequence, "dispatch": dispatch})


def copy_spool(old: Path, new: Path) -> None:
    """Copy a spool, or what it lies in, but for its FIFO."""
    shutil.copytree(
        old, new, ignore=lambda folder, names: [name for name in names if (Path(folder) / name).is_fifo()]
    )


def _later(spool: Spool) -> Path:
    return spool.root.parent / "later"


def _file(bench: Bench) -> Path:
    return Path(str(bench.database.url.database))
