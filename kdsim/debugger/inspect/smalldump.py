"""What a small dump keeps of the kernel at hand.

Reads: nt!KiProcessorBlock, the KPRCB, ETHREAD, EPROCESS and stack of what runs, and what the
registers and a bug check's parameters point to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from kdsim.debugger import kernel
from kdsim.debugger.inspect.modules import UNLOADED_LIMIT
from kdsim.debugger.inspect.nt import Nt
from kdsim.debugger.registers import GENERAL
from kdsim.dump.header import PAGE_SIZE
from kdsim.dump.triage import Block, DumpedDriver, Triage
from kdsim.errors import MemoryFault, SymbolError
from kdsim.wire.context import Context

VARIABLES = (
    *("KiBugCheckData", "KiBugCheckDriver", "KeNumberProcessors", "KiProcessorBlock"),
    *("NtBuildLab", "NtBuildLabEx", "NtBuildNumber", "NtGlobalFlag", "ObHeaderCookie"),
    *("MmUnloadedDrivers", "MmLastUnloadedDriver", "MmPfnDatabase", "PsInitialSystemProcess"),
    *("KeMaximumIncrement", "KeTimeIncrement"),
)
"""Variables of nt that commands ask for first."""
AROUND = 0x200
"""Bytes kept before and behind an address that a register holds."""
MOST_STACK = 0x10000
KERNEL_SPACE = 1 << 63


def contents(
    nt: Nt,
    processor: int,
    context: Context,
    drivers: Sequence[DumpedDriver],
    addresses: Iterable[int],
) -> Triage:
    """Of the processor that stands at `context`; `addresses` matter besides the registers."""
    slot = nt.address("KiProcessorBlock") + 8 * processor
    prcb = nt.view("_KPRCB", nt.read_integer(slot, 8))
    thread = nt.view("_ETHREAD", prcb.CurrentThread)
    process = nt.view("_EPROCESS", thread["Tcb.ApcState.Process"])
    rsp = context.get("rsp")
    inside = thread["Tcb.StackLimit"] <= rsp < thread["Tcb.StackBase"]
    end = min(thread["Tcb.StackBase"], rsp + MOST_STACK) if inside else rsp + MOST_STACK
    stack = next(_readable(nt, [(rsp, end)]), Block(rsp, b""))
    data = nt.view("_KDDEBUGGER_DATA64", nt.address("KdDebuggerDataBlock"))
    near = [context.get(name) for name in (*GENERAL, "rip")]
    near += addresses
    ranges = [(a - AROUND, a + AROUND) for a in near if a > KERNEL_SPACE + AROUND]
    ranges.append((kernel.SHARED_USER_DATA, kernel.SHARED_USER_DATA + PAGE_SIZE))
    ranges.append((prcb.address - nt.record("_KPCR").offset("Prcb"), prcb.address))
    ranges.append((prcb.Context, prcb.Context + nt.record("_CONTEXT").size))
    ranges += _variables(nt)
    ranges += _strings(nt)
    return Triage(
        processor=_block(nt, prcb.address, prcb.record.size),
        process=_block(nt, process.address, process.record.size),
        thread=_block(nt, thread.address, thread.record.size),
        stack=stack,
        debugger_data=_block(nt, data.address, data.Header.Size),
        drivers=drivers,
        blocks=tuple(_readable(nt, ranges)),
    )


def _block(nt: Nt, address: int, size: int) -> Block:
    return Block(address, nt.memory.read(address, size))


def _variables(nt: Nt) -> Iterator[tuple[int, int]]:
    for name in VARIABLES:
        for found in nt.symbols.lookup(f"nt!{name}"):
            yield found.va, found.va + found.symbol.extent


def _strings(nt: Nt) -> Iterator[tuple[int, int]]:
    """The driver that a bug check names, and those that are gone."""
    layout = nt.record("_UNLOADED_DRIVERS")
    with suppress(MemoryFault, SymbolError):
        yield from _text(nt, nt.pointer("KiBugCheckDriver"))
    with suppress(MemoryFault, SymbolError):
        table = nt.pointer("MmUnloadedDrivers")
        for entry in range(table, table + UNLOADED_LIMIT * layout.size, layout.size):
            yield entry, entry + layout.size
            yield from _text(nt, entry + layout.offset("Name"))


def _text(nt: Nt, address: int) -> Iterator[tuple[int, int]]:
    """A UNICODE_STRING and its characters."""
    string = nt.view("_UNICODE_STRING", address)
    if string.Buffer:
        yield address, address + string.record.size
        yield string.Buffer, string.Buffer + string.Length


def _readable(nt: Nt, ranges: Iterable[tuple[int, int]]) -> Iterator[Block]:
    """What can be read of the ranges, in ascending order, each byte once."""
    done = 0
    for start, end in sorted(ranges):
        at, data, first = max(start, done), b"", max(start, done)
        while at < end:
            size = min(end - at, PAGE_SIZE - at % PAGE_SIZE)
            try:
                data += nt.memory.read(at, size)
            except MemoryFault:
                if data:
                    yield Block(first, data)
                data, first = b"", at + size
            at += size
        if data:
            yield Block(first, data)
        done = max(done, end)
