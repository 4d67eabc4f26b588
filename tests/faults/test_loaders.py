"""Of several loaders one works, and one that was taken for dead changes nothing (contract D3)."""

import os
import signal
from typing import Any

import pytest
from sqlalchemy import make_url

from server import dispatcher, lease
from server.database import Database
from server.dispatcher import Dispatcher
from tests.faults.test_database import commits
from tests.support.inboxes import Bench

CATEGORY = "DT_0000001_KS_CATEGORY.NET"


def test_a_loader_that_was_taken_for_dead_cannot_commit_when_it_comes_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has marked its file, stands still, and another one takes over and loads it."""
    monkeypatch.setattr(dispatcher, "SMALL_BYTES", 0)
    bench.arrive(CATEGORY, b"A\tone\n")
    slow = bench.loader()
    slow.register()
    transaction = slow._transaction

    def stands_still_before(purpose: str) -> Any:
        if bench.states() == {CATEGORY: "loading"}:
            bench.work()
            assert bench.states() == {CATEGORY: "loaded"}
            was_overtaken.append(purpose)
        return transaction(purpose)

    was_overtaken: list[str] = []
    monkeypatch.setattr(slow, "_transaction", stands_still_before)
    with pytest.raises(lease.LeaseLost):
        slow.work()
    assert was_overtaken == [f"loading {CATEGORY}"]
    assert commits(bench) == {CATEGORY: 1}


def test_a_stopped_process_that_goes_on_finds_its_lease_gone(bench: Bench) -> None:
    """SIGSTOP and SIGCONT, as a machine that is suspended, or swaps for a minute."""
    bench.arrive(CATEGORY, b"A\tone\n")
    bench.database.close()
    child = os.fork()
    if child == 0:
        code = 3
        try:
            code = _stop_after_taking_the_lease(bench)
        finally:
            os._exit(code)
    try:
        _, status = os.waitpid(child, os.WUNTRACED)
        assert os.WIFSTOPPED(status), status
        bench.work()
        assert bench.states() == {CATEGORY: "loaded"}
        os.kill(child, signal.SIGCONT)
        _, status = os.waitpid(child, 0)
        child = 0
        assert os.waitstatus_to_exitcode(status) == 0, "it has met LeaseLost"
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert commits(bench) == {CATEGORY: 1}


def _stop_after_taking_the_lease(bench: Bench) -> int:
    database = Database(make_url(bench.settings.database.url))
    loader = Dispatcher(bench.settings, bench.spool, database, bench.catalog)
    assert loader.take_lease()
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        loader.work()
    except lease.LeaseLost:
        return 0
    return 4
