"""Lookaside lists.

Walks: nt!ExNPagedLookasideListHead, nt!ExPagedLookasideListHead, nt!ExPoolLookasideListHead
(GENERAL_LOOKASIDE.ListEntry); reads KPRCB.PPLookasideList.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kdsim.debugger.inspect import processes
from kdsim.debugger.inspect.nt import Nt
from kdsim.symbols.types import Enum
from kdsim.symbols.views import View

HEADS = ("ExNPagedLookasideListHead", "ExPagedLookasideListHead", "ExPoolLookasideListHead")


@dataclass(frozen=True, slots=True)
class Lookaside:
    """One GENERAL_LOOKASIDE."""

    address: int
    name: str
    tag: int
    type: int
    current: int
    depth: int
    size: int
    allocate_misses: int
    free_misses: int
    allocates: int
    frees: int


def lookaside_at(nt: Nt, address: int, name: str = "") -> Lookaside:
    view = nt.view("_GENERAL_LOOKASIDE", address).snapshot()
    return Lookaside(
        address=address,
        name=name,
        tag=view.Tag,
        type=view.Type,
        current=_depth(view),
        depth=view.Depth,
        size=view.Size,
        allocate_misses=view.AllocateMisses,
        free_misses=view.FreeMisses,
        allocates=view.TotalAllocates,
        frees=view.TotalFrees,
    )


def _depth(view: View) -> int:
    path = "ListHead.HeaderX64.Depth"
    return int(view[path] if view.has(path) else view["ListHead.Depth"])


def _processor_lists(nt: Nt) -> dict[int, str]:
    """Names of a processor's lists by number: LookasideCreateInfoList is `Create Info`."""
    numbers = nt.type("_PP_NPAGED_LOOKASIDE_NUMBER")
    values = numbers.values if isinstance(numbers, Enum) else {}
    return {
        number: re.sub(r"(?<=[a-z])(?=[A-Z])", " ", found[1])
        for name, number in values.items()
        if (found := re.fullmatch(r"Lookaside(?!Maximum)(\w+)List", name))
    }


def well_known(nt: Nt) -> Iterator[Lookaside]:
    """The lists of the processors for the kernel's own structures, then the shared ones."""
    seen: set[int] = set()
    names = _processor_lists(nt)
    for number in range(processes.processor_count(nt)):
        lists = processes.prcb(nt, number).PPLookasideList
        for index, name in sorted(names.items()):
            for address in (lists[index].P, lists[index].L):
                if address and address not in seen:
                    seen.add(address)
                    yield lookaside_at(nt, address, f"nt!{name}")


def all_lists(nt: Nt) -> Iterator[Lookaside]:
    """Those, and every list on the system's chains."""
    seen = set()
    for found in well_known(nt):
        seen.add(found.address)
        yield found
    for head in HEADS:
        for view in nt.list_entries(nt.address(head), "_GENERAL_LOOKASIDE", "ListEntry"):
            if view.address not in seen:
                yield lookaside_at(nt, view.address)


def reset(nt: Nt, address: int) -> None:
    """Clear the counters."""
    view = nt.view("_GENERAL_LOOKASIDE", address)
    for field in ("TotalAllocates", "AllocateMisses", "TotalFrees", "FreeMisses"):
        view.set(field, 0)


def set_depth(nt: Nt, address: int, depth: int) -> None:
    nt.view("_GENERAL_LOOKASIDE", address).set("Depth", depth)
