"""Functions with random prologs: their code, their unwind data, and what they do to registers.

The code is run by the processor emulator, one instruction at a time; unwinding from every place
must give back the registers of the call.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn import x86_const as x86

from kdsim.symbols.frame import GENERAL, FrameRegisters
from kdsim.symbols.pe import FunctionTable, RuntimeFunction

BASE, CODE, UNWIND, PDATA = 0x14000_0000, 0x1000, 0x2000, 0x3000
STACK, STACK_SIZE = 0x7FF0_0000, 0x4_0000
RETURN_TO = 0x15000_0000
RBX, RSP, RBP, RSI, RDI = 3, 4, 5, 6, 7
NONVOLATILE = (RBX, RBP, RSI, RDI, 12, 13, 14, 15)

_REGISTERS = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in GENERAL]


def rex(reg: int = 0, base: int = 0, *, wide: bool = True) -> int:
    return 0x40 | wide << 3 | (reg >> 3) << 2 | base >> 3


def push(register: int) -> bytes:
    return (b"\x41" if register > 7 else b"") + bytes([0x50 | register & 7])


def pop(register: int) -> bytes:
    return (b"\x41" if register > 7 else b"") + bytes([0x58 | register & 7])


def add_rsp(size: int) -> bytes:
    if size < 0x80:
        return b"\x48\x83\xc4" + bytes([size])
    return b"\x48\x81\xc4" + struct.pack("<i", size)


def sub_rsp(size: int) -> bytes:
    return b"\x48\x81\xec" + struct.pack("<i", size)


def lea(target: int, base: int, offset: int) -> bytes:
    sib = b"\x24" if base & 7 == RSP else b""
    modrm = 0x80 | (target & 7) << 3 | base & 7
    return bytes([rex(target, base), 0x8D, modrm]) + sib + struct.pack("<i", offset)


def store(register: int, offset: int, base: int = RSP) -> bytes:
    return _move(0x89, register, offset, base)


def fetch(register: int, offset: int, base: int = RSP) -> bytes:
    return _move(0x8B, register, offset, base)


def _move(opcode: int, register: int, offset: int, base: int) -> bytes:
    sib = b"\x24" if base & 7 == RSP else b""
    modrm = 0x80 | (register & 7) << 3 | base & 7
    return bytes([rex(register, base), opcode, modrm]) + sib + struct.pack("<i", offset)


def xmm_move(opcode: int, register: int, offset: int) -> bytes:
    """`movups` between an xmm register and [rsp + offset]; opcode 0x11 stores, 0x10 loads."""
    prefix = bytes([0x44]) if register > 7 else b""
    return (
        prefix + bytes([0x0F, opcode, 0x84 | (register & 7) << 3, 0x24]) + struct.pack("<i", offset)
    )


def clobber(register: int) -> bytes:
    return bytes([rex(0, register), 0xC7, 0xC0 | register & 7]) + struct.pack(
        "<i", 0x5A5A + register
    )


@dataclass
class FunctionMaker:
    """Collects instructions and unwind codes of one function."""

    code: bytes = b""
    codes: list[tuple[int, bytes]] = field(default_factory=list)
    frame: int = 0
    prolog_size: int = 0
    version: int = 1
    epilogs: bytes = b""

    def prolog(self, instruction: bytes, operation: int, info: int, operands: bytes = b"") -> None:
        self.code += instruction
        head = bytes([len(self.code), operation | info << 4])
        self.codes.append((len(self.code), head + operands))

    def end_prolog(self) -> None:
        self.prolog_size = len(self.code)

    def unwind_info(self, flags: int = 0, tail: bytes = b"") -> bytes:
        codes = self.epilogs + b"".join(code for _, code in reversed(self.codes))
        count = len(codes) // 2
        head = bytes([self.version | flags << 3, self.prolog_size, count, self.frame])
        return head + codes + b"\0" * (count % 2 * 2) + tail


class Image:
    """An image of functions, with memory to run them in."""

    def __init__(self) -> None:
        self.bytes = bytearray(0x4000)
        self.entries: list[RuntimeFunction] = []
        self._unwind = UNWIND

    def add(self, begin: int, code: bytes, unwind: bytes) -> RuntimeFunction:
        self.bytes[begin : begin + len(code)] = code
        self.bytes[self._unwind : self._unwind + len(unwind)] = unwind
        entry = RuntimeFunction(begin, begin + len(code), self._unwind)
        self._unwind += (len(unwind) + 3) & ~3
        self.entries.append(entry)
        self.entries.sort(key=lambda each: each.begin)
        table = b"".join(struct.pack("<III", e.begin, e.end, e.unwind_rva) for e in self.entries)
        self.bytes[PDATA : PDATA + len(table)] = table
        return entry

    @property
    def functions(self) -> FunctionTable:
        return FunctionTable(self.read, PDATA, len(self.entries) * 12)

    def read(self, rva: int, size: int) -> bytes:
        return bytes(self.bytes[rva : rva + size])


class Run:
    """The function at `begin`, called with known registers, one instruction at a time."""

    def __init__(self, image: Image, begin: int) -> None:
        self._uc = Uc(UC_ARCH_X86, UC_MODE_64)
        self._uc.mem_map(BASE, 0x4000)
        self._uc.mem_write(BASE, bytes(image.bytes))
        self._uc.mem_map(STACK, STACK_SIZE)
        self._uc.mem_map(RETURN_TO, 0x1000)
        top = STACK + STACK_SIZE - 0x1000
        self._uc.mem_write(top - 8, RETURN_TO.to_bytes(8, "little"))
        self.caller = [0x1111_0000_0000_0000 + 0x101 * number for number in range(16)]
        self.caller[RSP] = top
        for register, value in zip(_REGISTERS, self.caller, strict=True):
            self._uc.reg_write(register, value)
        self._uc.reg_write(x86.UC_X86_REG_RSP, top - 8)
        self.xmm = {number: bytes([number]) * 16 for number in range(16)}
        for number, value in self.xmm.items():
            self._uc.reg_write(x86.UC_X86_REG_XMM0 + number, int.from_bytes(value, "little"))
        self._uc.reg_write(x86.UC_X86_REG_RIP, BASE + begin)

    def read(self, va: int, size: int) -> bytes:
        return bytes(self._uc.mem_read(va, size))

    def write(self, va: int, data: bytes) -> None:
        self._uc.mem_write(va, data)

    @property
    def rip(self) -> int:
        return int(self._uc.reg_read(x86.UC_X86_REG_RIP))

    def registers(self) -> FrameRegisters:
        return FrameRegisters(self.rip, [self._uc.reg_read(r) for r in _REGISTERS])

    def step(self) -> None:
        self._uc.emu_start(self.rip, 0, count=1)
