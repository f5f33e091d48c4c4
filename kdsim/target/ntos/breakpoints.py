"""Software breakpoints the debugger asks the target to plant: nt!KdpBreakpointTable, in RAM."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from kdsim.errors import MemoryFault
from kdsim.symbols.memory import Memory
from kdsim.symbols.views import View
from kdsim.target.ntos.kernel import Kernel
from kdsim.target.ntos.requests import Debuggee, answers
from kdsim.wire.manipulate import (
    Api,
    BreakpointExArguments,
    Manipulate,
    RestoreBreakpointArguments,
    Status,
    WriteBreakpointArguments,
)

SLOTS = 32
"""BREAKPOINT_TABLE_SIZE, ReactOS ntoskrnl/include/internal/kd64.h."""
INT3 = 0xCC
_IN_USE = 1


class BreakpointTable:
    """Handles are 1 to 32; handle n is slot n - 1."""

    def __init__(self, kernel: Kernel, memory: Memory) -> None:
        self._kernel = kernel
        self._memory = memory

    def plant(self, address: int) -> int:
        """Put an int 3 at `address`; its handle, or 0 when it cannot be done.

        One address holds at most one breakpoint.
        """
        if any(slot.Address == address for _, slot in self._used()):
            return 0
        free = (n for n in range(1, SLOTS + 1) if not self._slot(n).Flags & _IN_USE)
        handle = next(free, 0)
        if not handle:
            return 0
        try:
            content = self._memory.read(address, 1)[0]
            self._memory.write(address, bytes([INT3]))
        except MemoryFault:
            return 0
        slot = self._slot(handle)
        slot.set("Address", address)
        slot.set("Content", content)
        slot.set("Flags", _IN_USE)
        return handle

    def remove(self, handle: int) -> bool:
        """Put the byte back and free the slot. A byte that is no int 3 any more stays as it is."""
        if not 1 <= handle <= SLOTS:
            return False
        slot = self._slot(handle)
        if not slot.Flags & _IN_USE:
            return False
        slot.set("Flags", 0)
        try:
            if self._memory.read(slot.Address, 1)[0] == INT3:
                self._memory.write(slot.Address, bytes([slot.Content]))
        except MemoryFault:
            # The image was unloaded, and the breakpoint went with it.
            return True
        return True

    def remove_range(self, address: int, size: int) -> None:
        """Remove all breakpoints in a range, as a target does before it reports the bytes there.

        KdpSetCommonState does so in ReactOS ntoskrnl/kd64/kdapi.c; debuggers plant them again
        when they continue.
        """
        for handle, slot in self._used():
            if address <= slot.Address < address + size:
                self.remove(handle)

    def _used(self) -> Iterator[tuple[int, View]]:
        record = self._kernel.record("_BREAKPOINT_ENTRY")
        table = self._memory.read(self._kernel.address("KdpBreakpointTable"), SLOTS * record.size)
        flags = table[record.offset("Flags") :: record.size]  # the lowest byte of each
        for handle in (slot for slot, value in enumerate(flags, 1) if value & _IN_USE):
            yield handle, self._slot(handle)

    def _slot(self, handle: int) -> View:
        record = self._kernel.record("_BREAKPOINT_ENTRY")
        table = self._kernel.address("KdpBreakpointTable")
        return View(self._memory, record, table + (handle - 1) * record.size)


def _table(debuggee: Debuggee) -> BreakpointTable:
    return BreakpointTable(debuggee.kernel, debuggee.memory)


@answers(Api.WRITE_BREAKPOINT)
def write_breakpoint(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    wanted = request.arguments(WriteBreakpointArguments)
    handle = _table(debuggee).plant(wanted.address)
    status = Status.SUCCESS if handle else Status.UNSUCCESSFUL
    return request.reply(status, wanted._replace(handle=handle))


@answers(Api.RESTORE_BREAKPOINT)
def restore_breakpoint(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    done = _table(debuggee).remove(request.arguments(RestoreBreakpointArguments).handle)
    return request.reply(Status.SUCCESS if done else Status.UNSUCCESSFUL)


# DBGKD_WRITE_BREAKPOINT64 as an array element: address, handle, padding.
_ELEMENT = struct.Struct("<QI4x")
_HANDLE = struct.Struct("<I")


def _elements(request: Manipulate, layout: struct.Struct) -> list[tuple[int, ...]]:
    """What a request brings for every breakpoint; empty when it makes no sense."""
    number = request.arguments(BreakpointExArguments).number
    if not 0 < number <= SLOTS or len(request.data) < number * layout.size:
        return []
    return list(layout.iter_unpack(request.data[: number * layout.size]))


@answers(Api.WRITE_BREAKPOINT_EX)
def write_breakpoints(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    """Plant many; the reply's elements carry the handles, 0 where it failed."""
    addresses = [address for address, _ in _elements(request, _ELEMENT)]
    if not addresses:
        return request.reply(Status.INVALID_PARAMETER)
    table = _table(debuggee)
    handles = [table.plant(address) for address in addresses]
    data = b"".join(map(_ELEMENT.pack, addresses, handles))
    return _done(request, handles, data)


@answers(Api.RESTORE_BREAKPOINT_EX)
def restore_breakpoints(debuggee: Debuggee, request: Manipulate) -> Manipulate:
    handles = [handle for (handle,) in _elements(request, _HANDLE)]
    if not handles:
        return request.reply(Status.INVALID_PARAMETER)
    table = _table(debuggee)
    done = [table.remove(handle) for handle in handles]
    return _done(request, done, request.data[: len(handles) * _HANDLE.size])


def _done(request: Manipulate, each: Sequence[object], data: bytes) -> Manipulate:
    status = Status.SUCCESS if all(each) else Status.UNSUCCESSFUL
    return request.reply(status, request.arguments(BreakpointExArguments), data)
