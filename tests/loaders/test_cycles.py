"""Circles are told from chains, however long (contract L5)."""

from hypothesis import given
from hypothesis import strategies as st

from loaders.cycles import circling

NODES = st.sampled_from("ABCDEF")


@given(waits=st.dictionaries(NODES, st.sets(NODES, min_size=1, max_size=2)))
def test_every_node_of_a_circle_is_found_and_nothing_that_ends(waits: dict[str, set[str]]) -> None:
    def reached(start: str) -> set[str]:
        found: set[str] = set()
        ahead = [start]
        while ahead:
            for parent in waits.get(ahead.pop(), ()):
                if parent not in found:
                    found.add(parent)
                    ahead.append(parent)
        return found

    on_circles = {node for node in waits if node in reached(node)}
    between = {
        node for node in waits if reached(node) & on_circles and any(node in reached(n) for n in on_circles)
    }
    assert circling(waits) == on_circles | between


def test_a_chain_of_a_hundred_thousand_is_no_circle() -> None:
    chain = {str(number): {str(number + 1)} for number in range(100_000)}
    assert circling(chain) == set()
    assert circling({**chain, "99999": {"0"}}) == set(chain)
