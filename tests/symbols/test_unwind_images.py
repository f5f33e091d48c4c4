"""Unwinding real compiled code: nt's functions are called one by one on the processor emulator.

They are given scratch memory as arguments and stopped at the first thing that needs a machine.
After every instruction until then, walking the stack must lead back to the caller with its
registers. Only compiled functions are called: assembly may change stacks, or begin one.
"""

from __future__ import annotations

import functools

import pytest
from unicorn import UC_ARCH_X86, UC_MODE_64, Uc, UcError
from unicorn import x86_const as x86

from kdsim.resources import resource_path
from kdsim.symbols.frame import GENERAL, FrameRegisters
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.pe import PeImage
from kdsim.symbols.store import SymbolPath
from kdsim.symbols.unwind import unwind

from .framemaker import NONVOLATILE, RETURN_TO, STACK, STACK_SIZE

BASE = 0x7800_0000_0000
SCRATCH, SCRATCH_SIZE = 0x2000_0000, 0x10_0000
STEPS, DEPTH, SHARES = 120, 40, 4
_REGISTERS = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in GENERAL]


@functools.cache
def image() -> PeImage:
    (path,) = resource_path("targets", "images", "ntoskrnl.exe").glob("*/ntoskrnl.exe")
    return PeImage.from_file(path.read_bytes(), "nt")


class Caller:
    """Calls functions of the image."""

    def __init__(self) -> None:
        self._uc = Uc(UC_ARCH_X86, UC_MODE_64)
        size = image().size_of_image
        self._uc.mem_map(BASE, size)
        self._uc.mem_map(SCRATCH, SCRATCH_SIZE)
        self._uc.mem_map(STACK, STACK_SIZE)
        self._uc.mem_map(RETURN_TO, 0x1000)
        self._bytes = image().read(0, size)
        self.top = STACK + STACK_SIZE - 0x1000
        self.values = [0x1111_0000_0000_0000 + 0x101 * number for number in range(16)]

    def read(self, va: int, size: int) -> bytes:
        return bytes(self._uc.mem_read(va, size))

    def write(self, va: int, data: bytes) -> None:
        self._uc.mem_write(va, data)

    def call(self, rva: int) -> int:
        """Check after each instruction; how many instructions that were."""
        self.write(BASE, self._bytes)
        self.write(SCRATCH, bytes(SCRATCH_SIZE))
        self.write(self.top - 8, RETURN_TO.to_bytes(8, "little"))
        for number, register in enumerate(_REGISTERS):
            self._uc.reg_write(register, self.values[number])
        for number, register in enumerate((1, 2, 8, 9)):
            self._uc.reg_write(_REGISTERS[register], SCRATCH + 0x8000 + number * 0x1_0000)
        self._uc.reg_write(x86.UC_X86_REG_RSP, self.top - 8)
        rip = BASE + rva
        for step in range(STEPS):
            if not BASE <= rip < BASE + len(self._bytes):
                return step
            self.check(rip)
            try:
                self._uc.emu_start(rip, 0, count=1)
            except UcError:
                return step
            rip = int(self._uc.reg_read(x86.UC_X86_REG_RIP))
        return STEPS

    def check(self, rip: int) -> None:
        regs = FrameRegisters(rip, [self._uc.reg_read(register) for register in _REGISTERS])
        for _ in range(DEPTH):
            found = unwind(regs, BASE, image().functions, image().read, self)
            regs = found.regs
            if regs.rip == RETURN_TO:
                break
        where = f"at nt+0x{rip - BASE:x}"
        assert (regs.rip, regs.rsp) == (RETURN_TO, self.top), where
        for register in NONVOLATILE:
            assert regs[register] == self.values[register], where


@pytest.mark.parametrize("share", range(SHARES))
def test_every_function_of_nt(share):
    caller = Caller()
    names = Pdb.open(SymbolPath.parse("").find_pdb("", image().codeview))
    compiled = {symbol.rva for symbol in names.by_address() if not symbol.is_public}
    functions = [function for function in image().functions if function.begin in compiled]
    steps = [caller.call(function.begin) for function in functions[share::SHARES]]
    assert sum(steps) / len(steps) > 10
