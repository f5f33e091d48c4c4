"""Registers by kd's names, over the CONTEXT and KSPECIAL_REGISTERS bytes a target sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdsim.errors import ArgumentError
from kdsim.wire.context import Context, SpecialRegisters

GENERAL = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""The sixteen general registers in the processor's own numbering."""

VOLATILE = frozenset(("rax", "rcx", "rdx", "r8", "r9", "r10", "r11"))
"""A call destroys these (x64 calling convention)."""

FLAGS = {
    "cf": 0, "pf": 2, "af": 4, "zf": 6, "sf": 7, "tf": 8, "if": 9, "df": 10, "of": 11,
    "iopl": 12, "nt": 14, "rf": 16, "vm": 17, "ac": 18, "vif": 19, "vip": 20,
}  # fmt: skip
"""Bit numbers in EFLAGS by kd's flag codes."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a register lies: which block, the block's own name, and the bits of it."""

    special: bool
    block_name: str
    shift: int
    bits: int


def _slots() -> dict[str, Slot]:
    slots = {name: Slot(False, name, 0, 8 * size) for name, (_, size) in Context.LAYOUT.items()}
    for name in ("flags", "eflags", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7"):
        del slots[name]
    slots["efl"] = Slot(False, "eflags", 0, 32)
    slots["fl"] = Slot(False, "eflags", 0, 16)
    for name, bit in FLAGS.items():
        slots[name] = Slot(False, "eflags", bit, 2 if name == "iopl" else 1)
    for name in GENERAL:
        slots |= _parts(name)
    slots["eip"] = Slot(False, "rip", 0, 32)
    slots["ip"] = Slot(False, "rip", 0, 16)
    for number in range(16):
        slots[f"xmm{number}l"] = Slot(False, f"xmm{number}", 0, 64)
        slots[f"xmm{number}h"] = Slot(False, f"xmm{number}", 64, 64)
    for number in range(8):
        slots[f"mm{number}"] = Slot(False, f"st{number}", 0, 64)
    for name, (_, size) in SpecialRegisters.LAYOUT.items():
        if name != "mxcsr":
            slots[name] = Slot(True, name, 0, 8 * size)
    return slots


def _parts(name: str) -> dict[str, Slot]:
    """The 32-, 16- and 8-bit names of a general register."""

    def part(bits: int, shift: int = 0) -> Slot:
        return Slot(False, name, shift, bits)

    if name[1:].isdigit():
        return {f"{name}d": part(32), f"{name}w": part(16), f"{name}b": part(8)}
    stem = name[1:]
    parts = {f"e{stem}": part(32), stem: part(16)}
    if stem.endswith("x"):
        return parts | {f"{stem[0]}l": part(8), f"{stem[0]}h": part(8, 8)}
    return parts | {f"{stem}l": part(8)}


SLOTS = _slots()


class RegisterFile:
    """One processor's registers, fetched when first needed and marked when changed.

    Attributes:
        unknown: general registers that where these came from does not hold; they read as zero.
    """

    def __init__(
        self, context: Callable[[], Context], special: Callable[[], SpecialRegisters]
    ) -> None:
        self._fetch_context = context
        self._fetch_special = special
        self._context: Context | None = None
        self._special: SpecialRegisters | None = None
        self.context_changed = False
        self.special_changed = False
        self.unknown: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        context: Context,
        special: Callable[[], SpecialRegisters],
        unknown: frozenset[str] = frozenset(),
    ) -> RegisterFile:
        """A context that came from elsewhere (a trap frame, a switch frame, a record)."""
        made = cls(lambda: context, special)
        made.unknown = unknown
        return made

    @property
    def context(self) -> Context:
        if self._context is None:
            self._context = self._fetch_context()
        return self._context

    @property
    def special(self) -> SpecialRegisters:
        if self._special is None:
            self._special = self._fetch_special()
        return self._special

    def __getitem__(self, name: str) -> int:
        slot = slot_of(name)
        block = self.special if slot.special else self.context
        if slot.block_name not in block:
            raise ArgumentError(f"Bad register error in '{name}'")
        return block.get(slot.block_name) >> slot.shift & (1 << slot.bits) - 1

    def __setitem__(self, name: str, value: int) -> None:
        slot = slot_of(name)
        block = self.special if slot.special else self.context
        if slot.block_name not in block:
            raise ArgumentError(f"Bad register error in '{name}'")
        mask = (1 << slot.bits) - 1
        old = block.get(slot.block_name)
        block.set(slot.block_name, old & ~(mask << slot.shift) | (value & mask) << slot.shift)
        if slot.special:
            self.special_changed = True
        else:
            self.context_changed = True


def slot_of(name: str) -> Slot:
    """ArgumentError in kd's words for a name that is no register."""
    slot = SLOTS.get(name.lower())
    if slot is None:
        raise ArgumentError(f"Bad register error in '{name}'")
    return slot


def is_register(name: str) -> bool:
    return name.lower() in SLOTS
