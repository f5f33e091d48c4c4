"""Lists read from a kernel that may be damaged, or that runs meanwhile."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from kdsim.errors import MemoryFault
from tests.debugger.test_inspect_pool import HandMadeNt, Pages

HEAD = 0xFFFF9000_00001000
ELEMENTS = tuple(HEAD + 0x100 * n for n in range(1, 5))


@pytest.fixture
def memory() -> Pages:
    pages = Pages()
    pages.map(HEAD, size=0x1000)
    return pages


def link(memory: Pages, *places: int) -> None:
    for here, there in pairwise(places):
        memory.poke(here, struct.pack("<Q", there))


@pytest.mark.parametrize(
    ("places", "found", "whole"),
    [
        pytest.param((HEAD, HEAD), 0, True, id="empty"),
        pytest.param((HEAD, *ELEMENTS, HEAD), 4, True, id="comes-round"),
        pytest.param((HEAD, *ELEMENTS, 0), 4, True, id="ends-in-null"),
        pytest.param((HEAD, *ELEMENTS, ELEMENTS[1]), 4, False, id="never-returns"),
    ],
)
def test_a_walk_ends(memory: Pages, places: tuple[int, ...], found: int, whole: bool):
    """A loop costs one turn, not a hundred thousand reads."""
    link(memory, *places)
    walk = HandMadeNt(memory).list_addresses(HEAD)
    got = []
    if whole:
        got += walk
    else:
        with pytest.raises(MemoryFault, match="does not come round"):
            got.extend(walk)
    assert got == list(ELEMENTS[:found])
