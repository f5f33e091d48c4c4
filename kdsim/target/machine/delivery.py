"""Delivery of interrupts and exceptions through the machine's own IDT, as the hardware does it.

The engine delivers nothing itself. Here the gate is read from IDTR's table, the stack switched to
the TSS's on a ring change or for an IST gate and aligned to 16 bytes, the frame SS RSP RFLAGS CS
RIP (and the error code) pushed, and the handler entered with TF, and at an interrupt gate IF,
cleared. Intel SDM volume 3, section 6.14.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from kdsim.errors import MemoryFault, TargetError
from kdsim.target.machine.paging import ACCESSED, DIRTY, AddressSpace
from kdsim.target.machine.ram import PAGE_SIZE
from kdsim.target.machine.registers import (
    FLAG_IF,
    FLAG_NT,
    FLAG_RF,
    FLAG_TF,
    FLAG_VM,
    Registers,
    Segment,
)

DIVIDE, DEBUG, BREAKPOINT, INVALID_OPCODE, DOUBLE_FAULT = 0, 1, 3, 6, 8
GENERAL_PROTECTION, PAGE_FAULT = 13, 14

_WITH_ERROR_CODE = frozenset((8, 10, 11, 12, 13, 14, 17, 21))
_TRAPS = frozenset((1, 2, 3, 4, 8, 18))
"""Vectors that push RF as it is; faults push it set (SDM volume 3, 17.3.1.1)."""

_GATE = struct.Struct("<HHBBHI4x")
_PRESENT = 0x80
_INTERRUPT_GATE, _TRAP_GATE = 0xE, 0xF
_TSS_RSP0, _TSS_IST1 = 4, 0x24
_CODE64 = 1 << 21 | 1 << 15 | 3 << 11
"""Long, present, a code segment: bits of a descriptor's high dword."""
_USED = ACCESSED | DIRTY
_CLEARED = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM


class _Undeliverable(Exception):
    """Delivery met an exception of its own; the text says which."""


class _Gate(NamedTuple):
    handler: int
    selector: int
    ist: int
    interrupt: bool
    dpl: int


def deliver(
    cpu: Registers,
    space: AddressSpace,
    vector: int,
    error_code: int | None = None,
    *,
    software: int = 0,
) -> None:
    """Enter the handler of `vector`.

    A software interrupt that its gate does not allow becomes #GP, one whose frame cannot be pushed
    a double fault. What hardware would answer with a reset is a TargetError here.

    Args:
        cpu: its RIP is what the frame will hold.
        space: its page tables.
        vector: 0 to 255.
        error_code: pushed for the exceptions that have one.
        software: length of the `int` instruction that raised it, RIP already behind it; else 0.
    """
    try:
        _enter(cpu, space, vector, error_code, software)
    except _Undeliverable as second:
        try:
            _enter(cpu, space, DOUBLE_FAULT, 0, 0)
        except _Undeliverable as third:
            raise TargetError(
                f"triple fault: vector {vector:#x} at {cpu.rip:#x}; {second}; {third}"
            ) from None


def _enter(
    cpu: Registers, space: AddressSpace, vector: int, error_code: int | None, software: int
) -> None:
    gate = _read_gate(cpu, space, vector)
    old_cpl = cpu.cpl
    if software and gate.dpl < old_cpl:
        cpu.rip -= software
        _enter(cpu, space, GENERAL_PROTECTION, vector << 3 | 2, 0)
        return
    code = _code_segment(cpu, space, gate.selector)
    cpl = code.attributes >> 13 & 3
    if cpl > old_cpl:
        raise TargetError(f"the gate of vector {vector:#x} leads from ring {old_cpl} to {cpl}")
    rsp = cpu.rsp
    if gate.ist:
        rsp = _stack(cpu, space, _TSS_IST1 + 8 * (gate.ist - 1))
    elif cpl < old_cpl:
        rsp = _stack(cpu, space, _TSS_RSP0 + 8 * cpl)
    flags = cpu.rflags
    exception = not software and vector < 32
    saved = flags | FLAG_RF if exception and vector not in _TRAPS else flags
    frame = [cpu.rip, cpu.cs, saved, cpu.rsp, cpu.ss]
    if exception and vector in _WITH_ERROR_CODE:
        frame.insert(0, error_code or 0)
    rsp = (rsp & ~0xF) - 8 * len(frame)
    _push(cpu, space, rsp, struct.pack(f"<{len(frame)}Q", *frame))

    cpu.rsp, cpu.rip = rsp, gate.handler
    cpu.rflags = flags & ~(_CLEARED | (FLAG_IF if gate.interrupt else 0))
    cpu.set_segment("cs", code)
    if cpl != old_cpl:
        cpu.set_segment("ss", Segment(cpl, attributes=cpl << 13))


def _read_gate(cpu: Registers, space: AddressSpace, vector: int) -> _Gate:
    start = vector * _GATE.size
    if start + _GATE.size - 1 > cpu.idt_limit:
        raise _Undeliverable(f"vector {vector:#x} is beyond the IDT's limit {cpu.idt_limit:#x}")
    try:
        raw = space.read(cpu.idt_base + start, _GATE.size)
    except MemoryFault as fault:
        raise _Undeliverable(f"IDT: {fault}") from None
    low, selector, ist, kind, middle, high = _GATE.unpack(raw)
    if not kind & _PRESENT:
        raise TargetError(
            f"vector {vector:#x} has no handler: its gate in the IDT is not present "
            f"(RIP {cpu.rip:#x}, CR2 {cpu.cr2:#x})"
        )
    if kind & 0xF not in (_INTERRUPT_GATE, _TRAP_GATE):
        raise TargetError(f"the gate of vector {vector:#x} has the unknown type {kind & 0xF:#x}")
    handler = low | middle << 16 | high << 32
    return _Gate(handler, selector, ist & 7, kind & 0xF == _INTERRUPT_GATE, kind >> 5 & 3)


def _code_segment(cpu: Registers, space: AddressSpace, selector: int) -> Segment:
    if selector & ~7 == 0 or selector | 7 > cpu.gdt_limit:
        raise _Undeliverable(f"selector {selector:#x} is outside the GDT")
    try:
        attributes = space.read_u64(cpu.gdt_base + (selector & ~7)) >> 32
    except MemoryFault as fault:
        raise _Undeliverable(f"GDT: {fault}") from None
    if attributes & _CODE64 != _CODE64:
        raise _Undeliverable(f"selector {selector:#x} is not present 64-bit code")
    return Segment(selector & ~3 | attributes >> 13 & 3, attributes=attributes)


def _stack(cpu: Registers, space: AddressSpace, offset: int) -> int:
    """A stack pointer out of the TSS."""
    try:
        return space.read_u64(cpu.tr_base + offset)
    except MemoryFault as fault:
        raise _Undeliverable(f"TSS: {fault}") from None


def _push(cpu: Registers, space: AddressSpace, rsp: int, frame: bytes) -> None:
    """Write the frame with ring 0's rights, marking its pages accessed and dirty."""
    ram = space.ram
    done = 0
    while done < len(frame):
        va = rsp + done
        part = frame[done : done + PAGE_SIZE - (va & PAGE_SIZE - 1)]
        try:
            walk = space.translate(va)
            if not walk.writable:
                raise MemoryFault(va, len(part), "a read-only page")
            ram.write(walk.pa, part)
        except MemoryFault as fault:
            cpu.cr2 = va
            raise _Undeliverable(f"stack: {fault}") from None
        if walk.entry & _USED != _USED:
            ram.qwords[walk.entry_pa >> 3] |= _USED
        done += len(part)
