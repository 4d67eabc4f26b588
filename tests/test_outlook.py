"""What the receiver sees of a real ledger (contract A3)."""

import pytest

from loaders.records import metadata
from server.decisions import Decision
from server.names import parse
from server.outlook import LedgerOutlook
from server.sequence import Range, Version
from tests.support.inboxes import Bench, lose_ledger, replace_settings

NAME = "DT_{:07d}_KS_CATEGORY.NET"


@pytest.mark.parametrize(
    ("waiting", "due"),
    [([(3, 3)], 5), ([(3, 3), (5, 5)], 9), ([(3, 5), (9, 11)], 12)],
)
def test_the_number_that_is_due_is_told_by_the_ledger_and_what_waits_together(
    bench: Bench, waiting: list[tuple[int, int]], due: int
) -> None:
    """1 and 2 are loaded, 4 and 6 are held, 7 and 8 are given up."""
    for number in (1, 2, 4, 6):
        bench.arrive(NAME.format(number), b"A\tone\n")
    bench.work()
    bench.inbox.skip("DT", 7, 8, Decision(reason="the ERP was restored"))
    looking = LedgerOutlook(bench.settings)
    name = parse(NAME.format(20))
    view = looking.look(name)
    assert view is not None
    assert (view.expected, view.holder) == (Version(0, 3), None)
    runs = [Range(Version(0, first), Version(0, last)) for first, last in waiting]
    assert looking.due(name, Version(0, waiting[0][1] + 1), runs) == Version(0, due)


@pytest.mark.parametrize("how", ["emptied", "its tables dropped"])
def test_a_ledger_that_is_lost_is_taken_for_away_and_not_for_a_new_one(bench: Bench, how: str) -> None:
    bench.settings = replace_settings(
        bench.settings, inbox=bench.settings.inbox.model_copy(update={"spool": bench.spool.root})
    )
    looking, name = LedgerOutlook(bench.settings), parse(NAME.format(2))
    before = looking.look(name)
    assert before is not None
    assert before.expected == Version(0, 1)
    bench.arrive(NAME.format(1), b"A\tone\n")
    bench.work()
    lose_ledger(bench, tables_too=False)
    if how == "its tables dropped":
        metadata.drop_all(bench.database.engine)
    assert looking.look(name) is None
