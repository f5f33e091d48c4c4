"""The registers of one stack frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

GENERAL = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
RSP = 4
_NUMBERS = {name: number for number, name in enumerate(GENERAL)}
_MASK = (1 << 64) - 1


class FrameRegisters:
    """rip, the 16 general registers by number or name, and the xmm registers that are known.

    Values set through the names and numbers wrap at 64 bits.

    Attributes:
        general: in the processor's order, that of `GENERAL`.
        xmm: the non-volatile xmm registers that a frame on the way has saved.
    """

    __slots__ = ("_rip", "general", "xmm")

    def __init__(
        self, rip: int, general: Iterable[int], xmm: Mapping[int, bytes] | None = None
    ) -> None:
        self._rip = rip & _MASK
        self.general = [value & _MASK for value in general]
        self.xmm = dict(xmm or {})
        if len(self.general) != len(GENERAL):
            raise ValueError(f"{len(self.general)} general registers instead of 16")

    def copy(self) -> FrameRegisters:
        return FrameRegisters(self._rip, self.general, self.xmm)

    @property
    def rip(self) -> int:
        return self._rip

    @rip.setter
    def rip(self, value: int) -> None:
        self._rip = value & _MASK

    @property
    def rsp(self) -> int:
        return self.general[RSP]

    @rsp.setter
    def rsp(self, value: int) -> None:
        self.general[RSP] = value & _MASK

    def __getitem__(self, register: int | str) -> int:
        if register == "rip":
            return self._rip
        return self.general[register if isinstance(register, int) else _NUMBERS[register]]

    def __setitem__(self, register: int | str, value: int) -> None:
        if register == "rip":
            self.rip = value
        else:
            number = register if isinstance(register, int) else _NUMBERS[register]
            self.general[number] = value & _MASK

    def __repr__(self) -> str:
        return f"<frame rip=0x{self._rip:x} rsp=0x{self.rsp:x}>"
