"""The spool when something else has been in its folders: nothing is lost, nothing stops (contract A2, S5)."""

import logging

import pytest

from server.leftovers import Leftovers
from server.spool import Spool
from tests.support.inboxes import Bench


def test_what_is_no_receipt_is_passed_over(bench: Bench) -> None:
    """A network file system leaves `.nfs0001` behind, a person `receipts.zip`."""
    for folder in (bench.spool.new, bench.spool.done, bench.spool.staged):
        (folder / ".nfs0001").write_bytes(b"")
        (folder / "receipts.zip").write_bytes(b"PK")
    Spool(bench.spool.root).create()
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    assert bench.states() == {"DT_0000001_KS_CATEGORY.NET": "loaded"}
    assert list(bench.spool.staged_receipts()) == []


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"id": "1"}', b"\xff"])
def test_a_spoilt_receipt_is_told_and_passed_over_and_its_bytes_stay(
    bench: Bench, caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    [receipt_id] = bench.spool.pending_ids()
    receipt = bench.spool.read(receipt_id)
    assert receipt is not None
    (bench.spool.new / receipt_id).write_bytes(text)
    bench.arrive("DT_0000002_KS_CATEGORY.NET", b"B\ttwo\n")
    with caplog.at_level(logging.ERROR, "server.spool"):
        bench.work()
        bench.work()
    assert bench.states() == {"DT_0000002_KS_CATEGORY.NET": "held"}
    assert list(bench.spool.damaged(100)) == [bench.spool.new / receipt_id]
    [said] = caplog.messages
    assert receipt_id in said
    assert "Have the sender send that file again" in said
    Leftovers(bench.spool).sweep(older_than_seconds=0)
    assert bench.spool.data_path(receipt.data).read_bytes() == b"A\tone\n"
    assert bench.spool.pending_ids() == [receipt_id]
