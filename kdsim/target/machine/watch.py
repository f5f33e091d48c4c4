"""The debug registers: hardware breakpoints on execution and data.

Before each run the enabled ones become hooks: one on an address for execution, which stops before
the instruction, and one on a physical range for data, which lets the run end behind it. (What the
machine's own code loads with `mov dr7` the engine arms for execution by itself; data breakpoints it
does not.) Data hooks slow the whole processor down about six times, so they exist only while one
is enabled. Intel SDM volume 3, section 17.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kdsim.errors import MemoryFault
from kdsim.target.machine.registers import FLAG_RF

if TYPE_CHECKING:
    from kdsim.target.machine.processor import Processor

DR6_MATCHES = 0xF
DR6_STEP = 1 << 14
"""BS: a single step."""

_EXECUTE, _WRITE, _ACCESS = 0, 1, 3
_SIZES = (1, 2, 8, 4)
_LONGEST_ACCESS = 16
_INSTRUCTIONS_PER_US = 50  # what is left of the speed with data hooks


class _Armed(NamedTuple):
    """One enabled debug register. `address` is virtual for execution, else physical."""

    bit: int
    kind: int
    address: int
    size: int


class DebugRegisters:
    """The hooks behind one processor's debug registers.

    Attributes:
        hit: DR6 bits of the matches that stopped the run.
        passing: address of an execute breakpoint that was reported and is being left.
    """

    def __init__(self, cpu: Processor) -> None:
        self._cpu = cpu
        self._armed: tuple[_Armed, ...] = ()
        self._hooks: list[int] = []
        self.hit = 0
        self.passing: int | None = None

    @property
    def execute_bits(self) -> int:
        return sum(armed.bit for armed in self._armed if armed.kind == _EXECUTE)

    def instructions(self, timeout: int) -> int:
        """The count that stands for a timeout of so many us; 0: the timeout will do.

        Only a counted run can be ended behind an instruction.
        """
        return timeout * _INSTRUCTIONS_PER_US if self._armed else 0

    def changed(self) -> bool:
        """The debug registers, or the pages they name, are no longer what is armed."""
        return self._wanted() != self._armed

    def arm(self) -> None:
        """Make the hooks match the debug registers and the page tables."""
        wanted = self._wanted()
        if wanted == self._armed:
            return
        engine = self._cpu.engine
        for hook in self._hooks:
            engine.unhook(hook)
        self._armed = wanted
        self._hooks = [self._hook(armed) for armed in wanted]
        engine.flush_code()

    def _wanted(self) -> tuple[_Armed, ...]:
        cpu = self._cpu
        dr7 = cpu.dr7
        if not dr7 & 0xFF:
            return ()
        wanted = []
        for index, va in enumerate((cpu.dr0, cpu.dr1, cpu.dr2, cpu.dr3)):
            kind, size = dr7 >> 16 + index * 4 & 3, _SIZES[dr7 >> 18 + index * 4 & 3]
            if not dr7 >> index * 2 & 3 or kind not in (_EXECUTE, _WRITE, _ACCESS):
                continue
            address = va & -size
            if kind != _EXECUTE:
                try:
                    address = cpu.space.physical(address)
                except MemoryFault:
                    continue  # nothing is mapped there: nothing can be accessed
            wanted.append(_Armed(1 << index, kind, address, size))
        return tuple(wanted)

    def _hook(self, armed: _Armed) -> int:
        engine = self._cpu.engine
        if armed.kind == _EXECUTE:
            return engine.hook_code(armed.address, lambda _va: self._reached(armed))
        # A hook compares where an access starts; one that starts below may still reach in.
        first = max(armed.address - _LONGEST_ACCESS + 1, armed.address & -4096)
        return engine.hook_access(
            first,
            armed.address + armed.size - 1,
            armed.kind == _WRITE,
            lambda pa, size: self._accessed(armed, pa, size),
        )

    def _reached(self, armed: _Armed) -> None:
        # RF lets one instruction pass. The engine clears it only at the end of a block.
        passes = self._cpu._flag_parts & FLAG_RF
        if passes:
            self._cpu._flag_parts &= ~FLAG_RF
        self._cpu._put_back()
        if not passes:
            self.hit |= armed.bit
            self._cpu.engine.stop()

    def _accessed(self, armed: _Armed, pa: int, size: int) -> None:
        if pa + size > armed.address:
            self.hit |= armed.bit
            self._cpu.engine.cut()
