"""The registers of one stack frame."""

from __future__ import annotations

GENERAL = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
RSP = 4
_NUMBERS = {name: number for number, name in enumerate(GENERAL)}
_MASK = (1 << 64) - 1


class FrameRegisters:
    """rip, the 16 general registers by number or name, and the xmm registers that are known.

    Numbers are the processor's: rax rcx rdx rbx rsp rbp rsi rdi r8..r15. Values wrap at 64 bits.
    """

    __slots__ = ("_general", "_rip", "xmm")

    def __init__(
        self,
        rip: int = 0,
        rsp: int = 0,
        general: dict[str, int] | None = None,
        xmm: dict[int, bytes] | None = None,
    ) -> None:
        self._rip = rip & _MASK
        self._general = [0] * 16
        self._general[RSP] = rsp & _MASK
        for name, value in (general or {}).items():
            self[name] = value
        self.xmm = dict(xmm or {})

    def copy(self) -> FrameRegisters:
        twin = FrameRegisters(self._rip, xmm=self.xmm)
        twin._general = self._general.copy()
        return twin

    @property
    def rip(self) -> int:
        return self._rip

    @rip.setter
    def rip(self, value: int) -> None:
        self._rip = value & _MASK

    @property
    def rsp(self) -> int:
        return self._general[RSP]

    @rsp.setter
    def rsp(self, value: int) -> None:
        self._general[RSP] = value & _MASK

    @property
    def rbp(self) -> int:
        return self._general[5]

    def __getitem__(self, register: int | str) -> int:
        if isinstance(register, int):
            return self._general[register]
        return self._rip if register == "rip" else self._general[_NUMBERS[register]]

    def __setitem__(self, register: int | str, value: int) -> None:
        if register == "rip":
            self._rip = value & _MASK
        else:
            number = register if isinstance(register, int) else _NUMBERS[register]
            self._general[number] = value & _MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FrameRegisters):
            return NotImplemented
        return (self._rip, self._general) == (other._rip, other._general)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<frame rip=0x{self._rip:x} rsp=0x{self.rsp:x}>"
