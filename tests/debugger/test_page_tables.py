"""Page tables walked by the debugger: holes, permissions, pages in transition."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsim.debugger.paging import PageTables
from kdsim.errors import MemoryFault

ROOT, PDP, PD, PT = 0x1000, 0x2000, 0x3000, 0x4000
BASE = 0xFFFF8000_00000000
PAGE = 0x1000
P, W, USER, LARGE, TRANSITION, PROTOTYPE = 1, 2, 4, 0x80, 0x800, 0x400


class Tables:
    """Entries by physical address; the tables of one 2 MB piece exist, all else is no memory."""

    def __init__(self) -> None:
        self.entries = {ROOT + 8 * 256: PDP | P | W, PDP: PD | P | W, PD: PT | P | W}

    def read(self, pa: int, size: int) -> bytes:
        if not ROOT <= pa < PT + PAGE:
            raise MemoryFault(pa)
        return self.entries.get(pa, 0).to_bytes(8, "little")

    def page(self, number: int, entry: int) -> None:
        self.entries[PT + 8 * number] = entry

    def walker(self, *, transition: bool = False) -> PageTables:
        return PageTables(self.read, ROOT, transition=transition)


def test_a_translation() -> None:
    tables = Tables()
    tables.page(3, 0x77000 | P)
    assert tables.walker().translate(BASE + 0x3123).pa == 0x77123
    with pytest.raises(MemoryFault, match="PTE not present"):
        tables.walker().translate(BASE)


@pytest.mark.parametrize(
    ("entry", "decoded"),
    [
        pytest.param(0x77000 | TRANSITION, True, id="transition"),
        pytest.param(0x77000 | TRANSITION | PROTOTYPE, False, id="prototype"),
        pytest.param(0x77000, False, id="paged out"),
    ],
)
def test_pages_in_transition(entry: int, decoded: bool) -> None:
    tables = Tables()
    tables.page(3, entry)
    if decoded:
        assert tables.walker(transition=True).translate(BASE + 0x3000).pa == 0x77000
    for walker in [tables.walker(), *([] if decoded else [tables.walker(transition=True)])]:
        with pytest.raises(MemoryFault):
            walker.translate(BASE + 0x3000)


def test_an_entry_that_names_a_table_nowhere_is_a_hole() -> None:
    tables = Tables()
    tables.entries[PD + 8] = 0x7777000 | P | W
    tables.entries[PD + 16] = 0x200000 | P | W | LARGE
    assert tables.walker().next_mapped(BASE + 0x200000, BASE + (1 << 30)) == BASE + 0x400000


def test_a_root_nowhere_is_an_error() -> None:
    with pytest.raises(MemoryFault):
        PageTables(Tables().read, 0x7777000).next_mapped(BASE, BASE + PAGE)


def test_half_of_the_addresses_are_none() -> None:
    """A walk from user mode to the kernel does not stop between them."""
    tables = Tables()
    tables.page(0, 0x77000 | P)
    assert tables.walker().next_mapped(0, 1 << 64) == BASE


@given(st.lists(st.sampled_from([0, P, P | W]), min_size=1, max_size=40), st.integers(0, PAGE - 1))
def test_writable_pieces(permissions: list[int], offset: int) -> None:
    """Put together they are the writable pages, and no two of them touch."""
    tables = Tables()
    for number, allowed in enumerate(permissions):
        tables.page(number, number * PAGE | allowed)
    start, end = BASE + offset, BASE + len(permissions) * PAGE
    pieces = list(tables.walker().writable(start, end))
    found = {page for low, high in pieces for page in range(low & -PAGE, high, PAGE)}
    assert found == {BASE + n * PAGE for n, allowed in enumerate(permissions) if allowed & W}
    assert all(a[1] < b[0] for a, b in pairwise(pieces))
    assert all(start <= low < high <= end for low, high in pieces)
