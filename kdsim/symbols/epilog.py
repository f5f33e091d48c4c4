"""Recognises the rest of an x64 function epilog by its bytes, and carries it out.

An epilog is: at most one `add rsp, n` or `lea rsp, [frame register + n]`, any number of pops, then
a return or a jump out of the function. The ABI allows nothing else, so it can be recognised.
"""

from __future__ import annotations

from collections.abc import Callable

from kdsim.symbols.frame import RSP, FrameRegisters
from kdsim.symbols.memory import Memory

MAX_EPILOG = 32

_REX_W, _REX_B = 0x08, 0x01


def finish_epilog(
    regs: FrameRegisters,
    code: bytes,
    rva: int,
    outside: Callable[[int], bool],
    frame_register: int,
    memory: Memory,
) -> bool:
    """Carry out an epilog that goes on at `rva`.

    Args:
        regs: changed to the caller's registers, if this is an epilog.
        code: the bytes from `rva`, up to the end of the function.
        rva: address of the next instruction.
        outside: whether an address is outside the function; a jump within it is no epilog.
        frame_register: the only register `lea` may add to; 0 when there is none.
        memory: the stack.

    Returns:
        Whether it was an epilog.
    """
    rsp, position = _release(regs, code, frame_register)
    pops: list[int] = []
    while (popped := _pop(code, position)) is not None:
        register, position = popped
        pops.append(register)
    if not _leaves(code, position, rva, outside):
        return False
    raw = memory.read(rsp, len(pops) * 8 + 8)
    for index, register in enumerate(pops):
        regs[register] = int.from_bytes(raw[index * 8 : index * 8 + 8], "little")
    regs.rip = int.from_bytes(raw[-8:], "little")
    regs.rsp = rsp + len(raw)
    return True


def _release(regs: FrameRegisters, code: bytes, frame_register: int) -> tuple[int, int]:
    """Rsp after a leading `add` or `lea`, and the place behind it."""
    if code[:3] == b"\x48\x83\xc4":
        return regs.rsp + int.from_bytes(code[3:4], "little", signed=True), 4
    if code[:3] == b"\x48\x81\xc4":
        return regs.rsp + int.from_bytes(code[3:7], "little", signed=True), 7
    lea = len(code) >= 4 and code[0] & 0xFE == 0x48 and code[1] == 0x8D
    if lea and frame_register and code[2] >> 3 & 7 == RSP:
        mode, base = code[2] >> 6, code[2] & 7 | (code[0] & _REX_B) << 3
        position = 3
        if base & 7 == RSP:  # r12 needs a SIB byte
            position = 4 if code[3] == 0x24 else 0
        width = {1: 1, 2: 4}.get(mode, 0)
        if base == frame_register and position and width:
            raw = code[position : position + width]
            return regs[base] + int.from_bytes(raw, "little", signed=True), position + width
    return regs.rsp, 0


def _pop(code: bytes, position: int) -> tuple[int, int] | None:
    """The register popped here and the place behind the pop."""
    extension = 0
    if position < len(code) and code[position] & 0xF0 == 0x40:
        extension = (code[position] & _REX_B) << 3
        position += 1
    if position < len(code) and code[position] & 0xF8 == 0x58:
        register = code[position] & 7 | extension
        return None if register == RSP else (register, position + 1)
    return None


def _leaves(code: bytes, position: int, rva: int, outside: Callable[[int], bool]) -> bool:
    """Whether the instruction here returns, or jumps out of the function."""
    rest = code[position:]
    if rest[:1] in (b"\xc3", b"\xc2") or rest[:2] == b"\xf3\xc3":
        return True
    if rest[:1] == b"\xeb" and len(rest) >= 2:
        target = rva + position + 2 + int.from_bytes(rest[1:2], "little", signed=True)
        return outside(target)
    if rest[:1] == b"\xe9" and len(rest) >= 5:
        target = rva + position + 5 + int.from_bytes(rest[1:5], "little", signed=True)
        return outside(target)
    if rest[:1] == b"\x48" or rest[:1] == b"\x49":  # a prefixed jump is a tail call
        rest = rest[1:]
    elif rest[:2] != b"\xff\x25":
        return False
    return len(rest) >= 2 and rest[0] == 0xFF and rest[1] >> 3 & 7 == 4
