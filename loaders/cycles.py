"""Parked rows that wait for each other, so that waiting alone will never let them in (contract L5)."""

from collections import defaultdict
from collections.abc import Mapping, Set
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter

from sqlalchemy import Connection, select

from loaders.keys import key_of
from loaders.records import parked_row
from loaders.shapes import Api


def find_cycles(connection: Connection, api: Api) -> set[str]:
    """The keys of an API's parked rows that are, in circles, each other's parents."""
    own = api.most_specific
    if not any(reference.is_self for reference in api.references):
        return set()
    query = (
        select(parked_row.c.row_key, parked_row.c.waits_key)
        .where(parked_row.c.waits_table == own.name, parked_row.c.api == api.name)
        .distinct()
    )
    waits: dict[str, set[str]] = defaultdict(set)
    for row, parent in connection.execute(query):
        waits[str(key_of(row)[0])].add(parent)
    return circling(waits)


def circling(waits: Mapping[str, Set[str]]) -> set[str]:
    """What is left of a graph without all that leads nowhere, and all that nothing leads to."""
    stuck = _blocked(waits)
    awaited: dict[str, set[str]] = defaultdict(set)
    for one in stuck:
        for parent in waits[one] & stuck:
            awaited[parent].add(one)
    return _blocked(awaited)


def _blocked(waits: Mapping[str, Set[str]]) -> set[str]:
    """The nodes that wait in a circle, or for one."""
    order = TopologicalSorter(waits)
    with suppress(CycleError):
        order.prepare()
    left = set(waits)
    # After a CycleError it still gives all that no circle is in the way of.
    while ready := order.get_ready():
        left.difference_update(ready)
        order.done(*ready)
    return left
