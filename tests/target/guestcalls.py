"""Calls of nt's routines on a stopped machine, and going on as a debugger does."""

from __future__ import annotations

import struct

from kdsim.target.machine.processor import Processor
from kdsim.wire.messages import AnyStateChange, ExceptionChange
from tests.target.booted import Debugged

STACK_GAP = 0x1000
"""What the interrupted routine may still want of its stack."""


def call(debugged: Debugged, name: str, *arguments: int) -> int | None:
    """Have the stopped processor call a routine of nt; its result, None when that bug checks."""
    kernel, processor = debugged.kernel, _stopped(debugged)
    stop = kernel.address("DbgBreakPoint")
    processor.rsp -= STACK_GAP + processor.rsp % 16 + 8
    kernel.memory.write(processor.rsp, stop.to_bytes(8, "little"))
    processor.rcx, processor.rdx, processor.r8, processor.r9 = (*arguments, 0, 0, 0, 0)[:4]
    processor.rip, rsp = kernel.address(name), processor.rsp
    debugged.go()
    change = debugged.run_to_stop()
    assert isinstance(change, ExceptionChange)
    if kernel.read("KiBugCheckData"):
        return None
    # The thread may have gone to another processor meanwhile.
    processor = _stopped(debugged)
    assert (processor.rip, processor.rsp) == (stop, rsp + 8)
    processor.rsp = rsp + 8 + STACK_GAP
    return processor.rax


def _stopped(debugged: Debugged) -> Processor:
    """The processor of the last report, which need not be the one whose turn it is."""
    return debugged.system.machine.processors[debugged.script.reports[-1].processor]


def go_on(debugged: Debugged) -> AnyStateChange:
    """As kd's `g`: past the int 3 the machine stands at; the next stop."""
    if isinstance(debugged.script.reports[-1], ExceptionChange):
        _stopped(debugged).rip += 1
    debugged.go()
    return debugged.run_to_stop()


def bug_check(debugged: Debugged) -> tuple[int, ...]:
    data = debugged.kernel.memory.read(debugged.kernel.address("KiBugCheckData"), 40)
    return struct.unpack("<5Q", data)
