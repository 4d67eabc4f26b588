"""Streams rank as the settings say, also when they say it later, else as they first appeared (L7.1)."""

import pytest

from server.admin import Decision
from server.config import Settings
from server.settings.source import MOST_RANK, Source
from server.states import State
from tests.support import oracle
from tests.support.inboxes import Bench


def _names(bench: Bench) -> dict[str, str | None]:
    return {row["category_id"]: row["category_name"] for row in bench.rows("category")}


def _arrive(bench: Bench, *sources: str) -> None:
    for source in sources:
        bench.arrive(f"{source}_0000001_KS_CATEGORY.NET", f"A\t{source}\n".encode())


def test_a_rank_that_is_set_beats_the_order_of_appearance(bench: Bench) -> None:
    _arrive(bench, "DT", "XX", "YY")
    bench.work(sources={"DT": Source(rank=100)})
    assert _names(bench) == {"A": "DT"}
    assert oracle.differences(bench) == []


def test_a_rank_that_is_set_later_counts_from_then_on_and_for_what_is_loaded_again(bench: Bench) -> None:
    _arrive(bench, "DT", "XX")
    bench.work()
    assert _names(bench) == {"A": "XX"}
    ranked = {"DT": Source(rank=100)}
    bench.work(sources=ranked)
    bench.inbox.replay([], [State.LOADED], [], Decision(by="me"))
    bench.work(sources=ranked)
    assert _names(bench) == {"A": "DT"}
    assert oracle.differences(bench) == []
    bench.arrive("XX_0000002_KS_CATEGORY.NET", b"A\tnew\nB\tnew\n")
    bench.work(sources=ranked)
    assert _names(bench) == {"A": "DT", "B": "new"}
    # Taken away again, they rank as they first appeared.
    bench.work()
    bench.inbox.replay([], [State.LOADED], [], Decision(by="me"))
    bench.work()
    assert _names(bench) == {"A": "new", "B": "new"}
    assert oracle.differences(bench) == []


@pytest.mark.parametrize("rank", [MOST_RANK + 1, -MOST_RANK - 1])
def test_a_rank_that_the_ledger_cannot_hold_is_a_mistake(rank: int) -> None:
    with pytest.raises(ValueError, match="rank"):
        Settings(sources={"DT": Source(rank=rank)})
