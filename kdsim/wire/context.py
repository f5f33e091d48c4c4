"""AMD64 CONTEXT (1232 bytes) and KSPECIAL_REGISTERS, with registers by name over the raw bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntFlag
from typing import ClassVar, Self

from kdsim.errors import ProtocolError

CONTEXT_SIZE = 1232
SPECIAL_REGISTERS_SIZE = 0xF0
"""From Windows 10 1803 on; older builds send 0xE0 bytes."""


class ContextFlag(IntFlag):
    AMD64 = 0x100000
    CONTROL = 1
    INTEGER = 2
    SEGMENTS = 4
    FLOATING_POINT = 8
    DEBUG_REGISTERS = 16
    ALL = 0x10001F


class RegisterBlock:
    """Registers by name over raw bytes. Bytes without a name are kept as they are."""

    LAYOUT: ClassVar[Mapping[str, tuple[int, int]]]
    """Name -> (offset, size)."""

    def __init__(self, raw: bytes) -> None:
        self._raw = bytearray(raw)

    @property
    def raw(self) -> bytes:
        return bytes(self._raw)

    def __contains__(self, name: str) -> bool:
        place = self.LAYOUT.get(name)
        return place is not None and sum(place) <= len(self._raw)

    def __iter__(self) -> Iterator[str]:
        """The names this block has bytes for."""
        return (name for name in self.LAYOUT if name in self)

    def get(self, name: str) -> int:
        """The register's value, unsigned; KeyError when this block does not have it."""
        offset, size = self._place(name)
        return int.from_bytes(self._raw[offset : offset + size], "little")

    def set(self, name: str, value: int) -> None:
        """Store `value`, cut to the register's width."""
        offset, size = self._place(name)
        value &= (1 << 8 * size) - 1
        self._raw[offset : offset + size] = value.to_bytes(size, "little")

    def copy(self) -> Self:
        return type(self)(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._raw == other._raw

    __hash__ = None  # type: ignore[assignment]  # it changes

    def _place(self, name: str) -> tuple[int, int]:
        if name not in self:
            raise KeyError(name)
        return self.LAYOUT[name]


def _row(start: int, size: int, names: str) -> dict[str, tuple[int, int]]:
    return {name: (start + i * size, size) for i, name in enumerate(names.split())}


class Context(RegisterBlock):
    """CONTEXT of AMD64. Names are those `r` uses, lower case; `flags` is ContextFlags."""

    LAYOUT: ClassVar = {
        **_row(0x00, 8, "p1home p2home p3home p4home p5home p6home"),
        **_row(0x30, 4, "flags mxcsr"),
        **_row(0x38, 2, "cs ds es fs gs ss"),
        **_row(0x44, 4, "eflags"),
        **_row(0x48, 8, "dr0 dr1 dr2 dr3 dr6 dr7"),
        **_row(0x78, 8, "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rip"),
        **_row(0x100, 2, "fpcw fpsw"),
        **_row(0x104, 1, "fptw"),
        **_row(0x106, 2, "fpopcode"),
        **_row(0x108, 4, "fpip"),
        **_row(0x10C, 2, "fpipsel"),
        **_row(0x110, 4, "fpdp"),
        **_row(0x114, 2, "fpdpsel"),
        **{f"st{i}": (0x120 + 16 * i, 10) for i in range(8)},
        **_row(0x1A0, 16, " ".join(f"xmm{i}" for i in range(16))),
        **_row(0x4A0, 8, "vector_control debug_control"),
        **_row(0x4B0, 8, "last_branch_to last_branch_from last_exception_to last_exception_from"),
    }

    def __init__(self, raw: bytes = bytes(CONTEXT_SIZE)) -> None:
        if len(raw) != CONTEXT_SIZE:
            raise ProtocolError(f"CONTEXT of {len(raw)} bytes, {CONTEXT_SIZE} needed", raw)
        super().__init__(raw)


class SpecialRegisters(RegisterBlock):
    """KSPECIAL_REGISTERS: what control space 2 holds. A shorter block lacks the last names."""

    LAYOUT: ClassVar = {
        **_row(0x00, 8, "cr0 cr2 cr3 cr4"),
        **_row(0x20, 8, "dr0 dr1 dr2 dr3 dr6 dr7"),
        **_row(0x56, 2, "gdtl"),
        **_row(0x58, 8, "gdtr"),
        **_row(0x66, 2, "idtl"),
        **_row(0x68, 8, "idtr"),
        **_row(0x70, 2, "tr ldtr"),
        **_row(0x74, 4, "mxcsr"),
        **_row(0x78, 8, "debug_control last_branch_to last_branch_from"),
        **_row(0x90, 8, "last_exception_to last_exception_from cr8"),
        **_row(0xA8, 8, "gs_base gs_swap star lstar cstar syscall_mask xcr0 fs_base"),
    }

    def __init__(self, raw: bytes = bytes(SPECIAL_REGISTERS_SIZE)) -> None:
        super().__init__(raw)
