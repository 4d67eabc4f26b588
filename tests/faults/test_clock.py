"""A clock that is set back and forth makes nothing wait for days, and loses nothing."""

import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select, update

from server import gaps, lease, ledger, schema
from server.dispatcher import LEASE_SECONDS
from server.leftovers import Leftovers
from server.loading import RETRY_LAST_SECONDS
from server.spool import Spool
from tests.support.inboxes import Bench
from tests.support.receiving import Running
from tests.support.running import until

DAY = timedelta(days=1)


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_lease_from_before_the_clock_was_set_back_runs_out_all_the_same(
    bench: Bench, is_alive: bool
) -> None:
    with bench.database.write("a test") as connection:
        now = lease.database_now(connection)
        assert lease.take(connection, "a dead node", "its token", now + DAY, LEASE_SECONDS)
        assert not lease.take(connection, "us", "ours", now, LEASE_SECONDS)
        if is_alive:
            lease.check(connection, "its token", now, LEASE_SECONDS)
        assert not lease.take(connection, "us", "ours", now + timedelta(seconds=59), LEASE_SECONDS)
        assert lease.take(connection, "us", "ours", now + timedelta(seconds=60), LEASE_SECONDS)


def test_a_lease_that_ends_early_as_the_clock_was_set_forward_is_lost_and_not_shared(bench: Bench) -> None:
    with bench.database.write("a test") as connection:
        now = lease.database_now(connection)
        assert lease.take(connection, "first", "1", now, LEASE_SECONDS)
        assert lease.take(connection, "second", "2", now + DAY, LEASE_SECONDS)
        with pytest.raises(lease.LeaseLost):
            lease.check(connection, "1", now + DAY, LEASE_SECONDS)


@pytest.mark.parametrize(("days", "may_load"), [(0, False), (-1, True), (1, True)])
def test_a_file_that_waits_for_its_next_try_waits_no_longer_than_it_should(
    bench: Bench, days: int, may_load: bool
) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    bench.loader().register()
    with bench.database.write("a test") as connection:
        now = ledger.now_utc()
        connection.execute(update(schema.file).values(retry_at=now + timedelta(seconds=RETRY_LAST_SECONDS)))
        found = ledger.ready_files(connection, now + days * DAY, RETRY_LAST_SECONDS)
        assert bool(found) == may_load


def test_a_gap_is_never_younger_than_nothing(bench: Bench) -> None:
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    with bench.database.read() as connection:
        [gap] = gaps.find(connection)
    assert gap.age_seconds(gap.since - DAY) == 0
    assert gap.age_seconds(gap.since + DAY) == DAY.total_seconds()


def test_ids_ascend_although_the_clock_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    first = spool.new_id()
    monkeypatch.setattr("server.leftovers.time", SimpleNamespace(time_ns=lambda: 0))
    assert spool.new_id() > first


def test_an_upload_that_goes_on_is_not_swept_although_the_clock_is_set_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes look a day old then; swept away, they would be missed behind the 226."""
    running = Running(tmp_path)
    try:
        with running.ftp() as session:
            session.voidcmd("TYPE I")
            with session.transfercmd("STOR DT_0000005_KS_ORDERS.NET") as connection:
                connection.sendall(b"a\tb\n")
                until(lambda: bool(running.came()), "something has come")
                forward = SimpleNamespace(time=lambda: time.time() + 2 * 86_400, time_ns=time.time_ns)
                monkeypatch.setattr("server.leftovers.time", forward)
                running.receiver.acceptance.tidy()
            assert session.voidresp().startswith("226")
        [receipt] = running.receipts()
        assert running.spool.data_path(receipt.data).read_bytes() == b"a\tb\n"
    finally:
        running.stop()


def test_what_is_swept_later_is_swept_at_last(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.create()
    data = spool.new_id()
    spool.open_data(data).close()
    assert Leftovers(spool).sweep(-1) == [], "it is in use"
    # A receiver that starts anew uses nothing of an earlier one's.
    assert Leftovers(Spool(tmp_path)).sweep(-1) == [data]


def test_the_order_of_loading_knows_no_clock(bench: Bench) -> None:
    """Numbers decide; a file that seems to have come earlier does not load earlier."""
    for number in (2, 1):
        bench.arrive(f"DT_{number:07d}_KS_CATEGORY.NET", b"A\tnumber %d\n" % number)
        bench.loader().register()
        with bench.database.write("a test") as connection:
            connection.execute(update(schema.file).values(received_at=ledger.now_utc() - number * DAY))
    bench.work()
    assert [row["category_name"] for row in bench.rows("category")] == ["number 2"]
    with bench.database.read() as connection:
        assert set(connection.execute(select(schema.file.c.state)).scalars()) == {"loaded"}
