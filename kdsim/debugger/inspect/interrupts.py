"""Interrupt descriptor tables and the interrupt objects behind their gates.

Reads: KPCR.IdtBase, KPRCB.InterruptObject; walks KINTERRUPT.InterruptListEntry for shared vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import FormatError, MemoryFault, SymbolError
from kdsim.symbols.views import View

CHAIN_LIMIT = 64


@dataclass(frozen=True, slots=True)
class InterruptObject:
    """A KINTERRUPT and the routine that serves its device."""

    address: int
    routine: int


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate.

    Attributes:
        stack: the interrupt stack the gate switches to, 0 for none.
        chain: interrupt objects connected to the vector, first one first.
    """

    vector: int
    handler: int
    stack: int
    chain: tuple[InterruptObject, ...]


def table_of(nt: Nt, prcb: View) -> int:
    """The interrupt descriptor table of a processor."""
    pcr = nt.view("_KPCR", prcb.address - nt.record("_KPCR").offset("Prcb"))
    return int(pcr.IdtBase)


def gate(nt: Nt, prcb: View, table: int, vector: int) -> Gate | None:
    """The gate of a vector; None when it is not present."""
    entry = nt.view("_KIDTENTRY64", table + vector * nt.record("_KIDTENTRY64").size).snapshot()
    if not entry.Present:
        return None
    handler = entry.OffsetLow | entry.OffsetMiddle << 16 | entry.OffsetHigh << 32
    stack = _interrupt_stack(nt, prcb, entry.IstIndex) if entry.IstIndex else 0
    return Gate(vector, handler, stack, _chain(nt, prcb.InterruptObject[vector]))


def _interrupt_stack(nt: Nt, prcb: View, index: int) -> int:
    pcr = nt.view("_KPCR", prcb.address - nt.record("_KPCR").offset("Prcb"))
    return int(nt.view("_KTSS64", pcr.TssBase).Ist[index])


def _chain(nt: Nt, first: int) -> tuple[InterruptObject, ...]:
    found: list[InterruptObject] = []
    address = first
    try:
        offset = nt.record("_KINTERRUPT").offset("InterruptListEntry")
        while address and len(found) < CHAIN_LIMIT:
            view = nt.view("_KINTERRUPT", address)
            routine = view.ServiceRoutine
            if view.has("MessageServiceRoutine") and view.MessageServiceRoutine:
                routine = view.MessageServiceRoutine
            found.append(InterruptObject(address, routine))
            link = view.InterruptListEntry.Flink
            address = link - offset if link and link - offset != first else 0
    except (MemoryFault, FormatError, SymbolError):
        pass
    return tuple(found)
