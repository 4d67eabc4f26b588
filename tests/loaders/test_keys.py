"""Rows are found by their keys through an index, however large their table is."""

from pathlib import Path

import pytest
from sqlalchemy import column, create_engine, select, table, update

from loaders import growth
from loaders.keys import Key, among
from tests.loaders.store import CATALOG

MANY: list[Key] = [(f"{i}", i % 7, f"2024-01-{i % 28 + 1:02}", f"{i % 3}") for i in range(400)]
FEW_FIRST: list[Key] = [("C", f"{i}", f"{i % 9}", f"{i % 3}") for i in range(400)]


@pytest.mark.parametrize("keys", [MANY, FEW_FIRST], ids=["many", "few first values"])
@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_sqlite_never_reads_a_whole_table_to_find_keys(tmp_path: Path, keys: list[Key], parts: int) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'keys.sqlite'}")
    with engine.begin() as connection:
        growth.grow(connection, CATALOG)
        for target in CATALOG.tables.values():
            names = target.key[:parts]
            rows = table(target.name, *map(column, (*names, "active")))
            for condition in among(rows, names, [key[: len(names)] for key in keys]):
                for statement in (
                    select(rows).where(condition),
                    update(rows).where(condition).values(active=0),
                ):
                    written = statement.compile(engine, compile_kwargs={"render_postcompile": True}).string
                    unbound = (None,) * written.count("?")
                    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {written}", unbound)
                    steps = [step for *_, step in plan if target.name in step.split()]
                    assert [step.split()[0] for step in steps] == ["SEARCH"], (target.name, steps)
    engine.dispose()
