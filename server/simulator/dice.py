"""Dice that can be thrown again: numbers that only look random, computed from what they are thrown for."""

from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

Item = TypeVar("Item")

_MASK = (1 << 64) - 1


def mixed(*numbers: int) -> int:
    """A number below 2**64 that looks random, always the same for the same numbers."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        # The steps of splitmix64; Python's own hash may change with its version.
        state = ((state ^ number) * 0xBF58476D1CE4E5B9) & _MASK
        state ^= state >> 31
        state = (state * 0x94D049BB133111EB) & _MASK
        state ^= state >> 29
    return state


def number_of(name: str) -> int:
    """A number for a name, so that an API or field that a catalog gains moves no other one's dice."""
    return crc32(name.encode())


def pick(items: Sequence[Item], number: int) -> Item:
    """One of some items, by a number that may be any."""
    return items[number % len(items)]
