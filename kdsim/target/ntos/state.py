"""A stopped machine's registers: KPRCB.ProcessorState of every processor, as bytes in RAM.

While the debugger holds the machine these bytes are the registers. What changed in them goes back
to the processors when the machine continues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdsim.symbols.views import View
from kdsim.target.machine.layout import GENERAL
from kdsim.target.machine.registers import Registers
from kdsim.target.ntos.kernel import Kernel
from kdsim.wire.context import (
    CONTEXT_SIZE,
    SPECIAL_REGISTERS_SIZE,
    Context,
    ContextFlag,
    SpecialRegisters,
)

if TYPE_CHECKING:
    from kdsim.target.machine.machine import Machine
    from kdsim.target.machine.processor import Processor

_GENERAL = (*GENERAL, "rip")
_DEBUG = ("dr0", "dr1", "dr2", "dr3", "dr6", "dr7")
_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
_FLOATING = slice(0x100, 0x300)
"""CONTEXT.FltSave, in FXSAVE64's layout."""

# Which registers each bit of CONTEXT.ContextFlags covers.
_GROUPS = {
    ContextFlag.CONTROL: ("cs", "ss", "rsp", "rip", "eflags"),
    ContextFlag.INTEGER: tuple(name for name in _GENERAL if name not in ("rsp", "rip")),
    ContextFlag.SEGMENTS: ("ds", "es", "fs", "gs"),
    ContextFlag.FLOATING_POINT: ("mxcsr",),
    ContextFlag.DEBUG_REGISTERS: _DEBUG,
}

# KSPECIAL_REGISTERS names against Registers' own where the two differ.
_SPECIAL = {
    **{name: name for name in ("cr0", "cr2", "cr3", "cr4", "cr8", *_DEBUG, "mxcsr", "tr", "ldtr")},
    "gdtr": "gdt_base",
    "gdtl": "gdt_limit",
    "idtr": "idt_base",
    "idtl": "idt_limit",
    "gs_base": "gs_base",
    "gs_swap": "kernel_gs_base",
    "fs_base": "fs_base",
    "star": "star",
    "lstar": "lstar",
    "cstar": "cstar",
    "syscall_mask": "sfmask",
}
# Every stop saves all of these, so their places are looked up once.
Place = tuple[str, int, int]
"""Attribute of Registers, and offset and size of what is saved of it."""
_CONTEXT_PLACES: tuple[Place, ...] = (
    ("rflags", *Context.LAYOUT["eflags"]),
    *((name, *Context.LAYOUT[name]) for name in (*_GENERAL, *_SEGMENTS, *_DEBUG, "mxcsr")),
)
_SPECIAL_PLACES: tuple[Place, ...] = tuple(
    (attribute, *SpecialRegisters.LAYOUT[name]) for name, attribute in _SPECIAL.items()
)
_FLAGS = slice(0x30, 0x34)
"""CONTEXT.ContextFlags."""
_ALL_GROUPS = int(ContextFlag.ALL).to_bytes(4, "little")
_CONTROL = ("cr0", "cr3", "cr4")
FREEZE_ACTIVE = 0x20
"""In KPRCB.IpiFrozen of the processor the debugger looks at: IPI_FROZEN_FLAG_ACTIVE of ReactOS."""
_UNWRITABLE = ("tr", "ldtr", "mxcsr")
"""Loading them takes more than a value; a debugger's write to them is kept in RAM only."""


def capture(processor: Processor) -> tuple[Context, SpecialRegisters]:
    """The live registers of a processor, as the kernel would save them."""
    registers: Registers = processor
    raw = bytearray(CONTEXT_SIZE)
    _fill(raw, registers, _CONTEXT_PLACES)
    raw[_FLAGS] = _ALL_GROUPS
    raw[_FLOATING] = registers.fxsave()
    special = bytearray(SPECIAL_REGISTERS_SIZE)
    _fill(special, registers, _SPECIAL_PLACES)
    return Context(bytes(raw)), SpecialRegisters(bytes(special))


def _fill(raw: bytearray, registers: Registers, places: tuple[Place, ...]) -> None:
    for attribute, offset, size in places:
        value = getattr(registers, attribute) & (1 << 8 * size) - 1
        raw[offset : offset + size] = value.to_bytes(size, "little")


def apply_context(registers: Registers, old: Context, new: Context) -> None:
    """Load the registers in which `new` differs from `old`."""
    changed = _changed(old.raw, new.raw, _CONTEXT_PLACES)
    mxcsr = changed.pop("mxcsr", None)
    for attribute, value in changed.items():
        if attribute not in _SEGMENTS:
            setattr(registers, attribute, value)
    if new.raw[_FLOATING] != old.raw[_FLOATING]:
        registers.fxrstor(new.raw[_FLOATING])
    if mxcsr is not None:
        registers.mxcsr = mxcsr


def apply_special(registers: Registers, old: SpecialRegisters, new: SpecialRegisters) -> None:
    """Load the special registers in which `new` differs from `old`."""
    changed = _changed(old.raw, new.raw, _SPECIAL_PLACES)
    control = {name: changed.pop(name) for name in _CONTROL if name in changed}
    if control:
        registers.set_control(**control)
    for attribute, value in changed.items():
        if attribute not in _UNWRITABLE:
            setattr(registers, attribute, value)


def _changed(old: bytes, new: bytes, places: tuple[Place, ...]) -> dict[str, int]:
    """By attribute, what is no longer as it was saved."""
    if new == old:
        return {}
    return {
        attribute: int.from_bytes(new[offset : offset + size], "little")
        for attribute, offset, size in places
        if new[offset : offset + size] != old[offset : offset + size]
    }


def merged(old: Context, new: Context) -> Context:
    """`old` with the register groups that `new` says it carries."""
    result = old.copy()
    flags = ContextFlag(new.get("flags") & ContextFlag.ALL)
    for group, names in _GROUPS.items():
        if group in flags:
            for name in names:
                result.set(name, new.get(name))
    if ContextFlag.FLOATING_POINT in flags:
        raw = bytearray(result.raw)
        raw[_FLOATING] = new.raw[_FLOATING]
        return Context(bytes(raw))
    return result


class ProcessorStates:
    """The saved states of the started processors, while the machine stands still.

    Args:
        machine: whose processors they are.
        kernel: where their KPRCBs are.
    """

    def __init__(self, machine: Machine, kernel: Kernel) -> None:
        self._machine = machine
        self._kernel = kernel
        record = kernel.record("_KPROCESSOR_STATE")
        self._context_offset = record.offset("ContextFrame")
        self._special_offset = record.offset("SpecialRegisters")
        self.prcbs: dict[int, View] = {prcb.Number: prcb for prcb in kernel.processors()}
        started = [number for number in self.prcbs if machine.processors[number].started]
        self._saved = {number: capture(machine.processors[number]) for number in started}
        self._states = {number: self.prcbs[number].at("ProcessorState") for number in started}
        self.context_sent = False
        """SetContext is refused until the debugger has asked for a context in this stop."""
        self.pending = bytearray(CONTEXT_SIZE)
        """The pieces SetContextEx collects."""
        self.current = 0
        """The processor the debugger looks at."""

    def __contains__(self, number: int) -> bool:
        return number in self._saved

    def __len__(self) -> int:
        return len(self._saved)

    def save(self) -> None:
        """Write every started processor's registers to its KPRCB."""
        for number, (context, special) in self._saved.items():
            self.prcbs[number].set("DebuggerSavedIRQL", special.get("cr8"))
            self._write_context(number, context.raw)
            self.set_special(number, special.raw)

    def look_at(self, current: int | None) -> None:
        """Make it the processor the debugger looks at; None when the debugger lets go."""
        for number, prcb in self.prcbs.items():
            frozen = prcb.IpiFrozen
            wanted = frozen & ~FREEZE_ACTIVE | (FREEZE_ACTIVE if number == current else 0)
            if wanted != frozen:
                prcb.set("IpiFrozen", wanted)
        if current is not None:
            self.current = current

    def looked_at(self) -> int | None:
        """The processor that `look_at` named, from the bytes alone."""
        frozen = (number for number, prcb in self.prcbs.items() if prcb.IpiFrozen & FREEZE_ACTIVE)
        return next(frozen, None)

    def show(self, number: int, context: Context) -> None:
        """Report another context than the processor's own, for instance one it trapped in."""
        self._saved[number] = (context, self._saved[number][1])
        self._write_context(number, context.raw)

    def load(self, skip: int | None = None) -> None:
        """Give the processors what the debugger changed; `skip` only its special registers."""
        for number, (context, special) in self._saved.items():
            registers = self._machine.processors[number]
            if number != skip:
                apply_context(registers, context, Context(self.context(number)))
            apply_special(registers, special, SpecialRegisters(self.special(number)))
        self.look_at(None)

    def context(self, number: int) -> bytes:
        return self._kernel.memory.read(self._states[number] + self._context_offset, CONTEXT_SIZE)

    def set_context(self, number: int, raw: bytes) -> None:
        """Replace the register groups that the new context's flags name."""
        self._write_context(number, merged(Context(self.context(number)), Context(raw)).raw)

    def special(self, number: int) -> bytes:
        va = self._states[number] + self._special_offset
        return self._kernel.memory.read(va, SPECIAL_REGISTERS_SIZE)

    def set_special(self, number: int, raw: bytes) -> None:
        self._kernel.memory.write(self._states[number] + self._special_offset, raw)

    def set_trace(self, on: bool) -> None:
        """EFlags.TF of the current processor."""
        context = Context(self.context(self.current))
        flags = context.get("eflags") & ~0x100
        context.set("eflags", flags | 0x100 if on else flags)
        self._write_context(self.current, context.raw)

    def set_dr7(self, dr7: int) -> None:
        """Arm every processor's hardware breakpoints and clear what they reported."""
        for number in self._saved:
            special = SpecialRegisters(self.special(number))
            special.set("dr7", dr7)
            special.set("dr6", 0)
            self.set_special(number, special.raw)

    @property
    def processor(self) -> Processor:
        """The processor the debugger looks at."""
        return self._machine.processors[self.current]

    def _write_context(self, number: int, raw: bytes) -> None:
        self._kernel.memory.write(self._states[number] + self._context_offset, raw)
