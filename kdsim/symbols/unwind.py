"""x64 stack unwinding by unwind codes (`.pdata`, `.xdata`): from one frame to its caller's.

The rules are those of the x64 exception-handling ABI: codes of prolog instructions not yet executed
are skipped; in an epilog, recognised by its bytes, the rest of the epilog is carried out instead; a
function without an entry is a leaf, whose return address is on top of the stack.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from kdsim.errors import FormatError
from kdsim.symbols.epilog import MAX_EPILOG, finish_epilog
from kdsim.symbols.frame import FrameRegisters
from kdsim.symbols.memory import Memory
from kdsim.symbols.pe import FunctionTable, RuntimeFunction

__all__ = ["FrameRegisters", "Unwound", "unwind"]

PUSH_NONVOL, ALLOC_LARGE, ALLOC_SMALL, SET_FPREG = 0, 1, 2, 3
SAVE_NONVOL, SAVE_NONVOL_FAR, EPILOG, SPARE = 4, 5, 6, 7
SAVE_XMM128, SAVE_XMM128_FAR, MACHINE_FRAME = 8, 9, 10

_CHAINED = 4
_INDIRECT = 1
_MAX_CHAIN = 32
_MACHINE_RIP, _MACHINE_RSP = 0, 24  # within the frame of rip, cs, eflags, rsp, ss
_RUNTIME_FUNCTION = struct.Struct("<III")

ReadImage = Callable[[int, int], bytes]


class UnwindCode(NamedTuple):
    """One unwind operation; `value` is its size, offset or flag, scaled to bytes."""

    prolog_offset: int
    operation: int
    info: int
    value: int


class UnwindInfo(NamedTuple):
    """A decoded UNWIND_INFO."""

    version: int
    flags: int
    prolog_size: int
    frame_register: int
    frame_offset: int
    codes: tuple[UnwindCode, ...]
    chained: RuntimeFunction | None
    handler_rva: int


class Unwound(NamedTuple):
    """The caller's registers, and how they were found.

    Attributes:
        regs: of the caller; rip is the return address.
        machine_frame: the frame was pushed by the processor, so rip is where it was interrupted.
        frame_pointer: the establisher frame: rsp behind the prolog, or the frame register's base.
        function: the entry the codes came from; None for a leaf.
    """

    regs: FrameRegisters
    machine_frame: bool
    frame_pointer: int
    function: RuntimeFunction | None


def unwind(
    regs: FrameRegisters,
    image_base: int,
    functions: FunctionTable | None,
    read_image: ReadImage,
    memory: Memory,
) -> Unwound:
    """Unwind one frame.

    Args:
        regs: the frame's registers; they are not changed.
        image_base: of the image that holds rip.
        functions: that image's function table; None where there is no image.
        read_image: gives the image's bytes by RVA.
        memory: the stack.

    Raises:
        MemoryFault: the stack cannot be read.
        FormatError: the unwind data make no sense.
    """
    caller = regs.copy()
    rva = regs.rip - image_base
    function = functions.find(rva) if functions is not None and rva >= 0 else None
    if functions is None or function is None:
        _return(caller, memory)
        return Unwound(caller, False, regs.rsp, None)
    function = _direct(function, read_image)
    info = read_unwind_info(read_image, function.unwind_rva)
    offset = rva - function.begin
    frame = _establisher(regs, info, offset)
    if offset >= info.prolog_size and _may_be_epilog(info, function, rva):
        code = read_image(rva, min(MAX_EPILOG, function.end - rva))
        outside = partial(_outside, functions, function, read_image)
        if finish_epilog(caller, code, rva, outside, info.frame_register, memory):
            return Unwound(caller, False, frame, function)
    interrupted = _undo(caller, info, offset, frame, memory)
    links = 0
    while info.chained is not None and not interrupted:
        links += 1
        if links > _MAX_CHAIN:
            raise FormatError(f"unwind data at 0x{function.unwind_rva:x} is chained to itself")
        info = read_unwind_info(read_image, _direct(info.chained, read_image).unwind_rva)
        frame = _establisher(caller, info, None)
        interrupted = _undo(caller, info, None, frame, memory)
    if not interrupted:
        _return(caller, memory)
    return Unwound(caller, interrupted, frame, function)


def _return(regs: FrameRegisters, memory: Memory) -> None:
    regs.rip = int.from_bytes(memory.read(regs.rsp, 8), "little")
    regs.rsp += 8


def _direct(function: RuntimeFunction, read: ReadImage) -> RuntimeFunction:
    """An odd unwind address points to another function entry."""
    for _ in range(_MAX_CHAIN):
        if not function.unwind_rva & _INDIRECT:
            return function
        function = RuntimeFunction(*_RUNTIME_FUNCTION.unpack(read(function.unwind_rva & ~1, 12)))
    raise FormatError(f"the function entry of 0x{function.begin:x} points to itself")


# -- decoding ------------------------------------------------------------------------------------


def read_unwind_info(read: ReadImage, rva: int) -> UnwindInfo:
    """Decode the UNWIND_INFO at an address of the image.

    Raises:
        FormatError: an unknown version or operation.
    """
    head, prolog_size, count, frame = read(rva, 4)
    version, flags = head & 7, head >> 3
    if version not in (1, 2):
        raise FormatError(f"unwind data at 0x{rva:x} has version {version}")
    tail = (count + 1 & ~1) * 2
    chained, handler = None, 0
    data = read(rva + 4, count * 2)
    if flags & _CHAINED:
        chained = RuntimeFunction(*_RUNTIME_FUNCTION.unpack(read(rva + 4 + tail, 12)))
    elif flags:
        handler = int.from_bytes(read(rva + 4 + tail, 4), "little")
    codes = tuple(_codes(data, version, rva))
    return UnwindInfo(
        version, flags, prolog_size, frame & 15, (frame >> 4) * 16, codes, chained, handler
    )


def _codes(data: bytes, version: int, rva: int) -> Iterator[UnwindCode]:
    slots = struct.unpack(f"<{len(data) // 2}H", data)
    index = 0
    while index < len(slots):
        offset, operation, info = slots[index] & 0xFF, slots[index] >> 8 & 15, slots[index] >> 12
        extra = extra_slots(operation, info, version)
        if extra is None or index + extra >= len(slots):
            raise FormatError(f"unwind data at 0x{rva:x} has an unknown operation {operation}")
        operands = slots[index + 1 : index + 1 + extra]
        number = operands[0] | operands[1] << 16 if extra == 2 else operands[0] if extra else 0
        yield UnwindCode(offset, operation, info, _scaled(operation, info, extra, number))
        index += 1 + extra


def extra_slots(operation: int, info: int, version: int) -> int | None:
    """Slots behind the first; None for an operation nobody defined."""
    if operation in (PUSH_NONVOL, ALLOC_SMALL, SET_FPREG, MACHINE_FRAME):
        return 0
    if operation == ALLOC_LARGE:
        return {0: 1, 1: 2}.get(info)
    if operation in (SAVE_NONVOL, SAVE_XMM128):
        return 1
    if operation in (SAVE_NONVOL_FAR, SAVE_XMM128_FAR):
        return 2
    # Version 1 gave these two numbers to 64-bit xmm saves, which nothing emits; version 2 uses
    # them for epilogs and leaves the second one spare.
    if operation == EPILOG:
        return 1 if version == 1 else 0
    if operation == SPARE:
        return 2
    return None


def _scaled(operation: int, info: int, extra: int, number: int) -> int:
    if operation == ALLOC_SMALL:
        return info * 8 + 8
    if extra == 2:
        return number
    if operation in (ALLOC_LARGE, SAVE_NONVOL):
        return number * 8
    if operation == SAVE_XMM128:
        return number * 16
    return info


# -- undoing the prolog --------------------------------------------------------------------------


def _establisher(regs: FrameRegisters, info: UnwindInfo, offset: int | None) -> int:
    """Base of the save areas: the frame register's, once the prolog has set it, else rsp."""
    if not info.frame_register:
        return regs.rsp
    set_at = (code.prolog_offset for code in info.codes if code.operation == SET_FPREG)
    if offset is None or offset >= info.prolog_size or any(offset >= at for at in set_at):
        return regs[info.frame_register] - info.frame_offset
    return regs.rsp


def _undo(
    regs: FrameRegisters, info: UnwindInfo, offset: int | None, frame: int, memory: Memory
) -> bool:
    """Undo the executed part of a prolog (all when `offset` is None); True at a machine frame."""
    for at, operation, register, value in info.codes:
        if (operation == EPILOG and info.version == 2) or (offset is not None and at > offset):
            continue
        if operation == PUSH_NONVOL:
            regs[register] = int.from_bytes(memory.read(regs.rsp, 8), "little")
            regs.rsp += 8
        elif operation in (ALLOC_LARGE, ALLOC_SMALL):
            regs.rsp += value
        elif operation == SET_FPREG:
            regs.rsp = regs[info.frame_register] - info.frame_offset
        elif operation in (SAVE_NONVOL, SAVE_NONVOL_FAR):
            regs[register] = int.from_bytes(memory.read(frame + value, 8), "little")
        elif operation in (SAVE_XMM128, SAVE_XMM128_FAR):
            regs.xmm[register] = memory.read(frame + value, 16)
        elif operation == MACHINE_FRAME:
            base = regs.rsp + (8 if register else 0)
            raw = memory.read(base, 40)
            regs.rip = int.from_bytes(raw[_MACHINE_RIP : _MACHINE_RIP + 8], "little")
            regs.rsp = int.from_bytes(raw[_MACHINE_RSP : _MACHINE_RSP + 8], "little")
            return True
    return False


# -- epilogs -------------------------------------------------------------------------------------


def epilog_ranges(info: UnwindInfo, function: RuntimeFunction) -> list[tuple[int, int]]:
    """The epilogs a version 2 UNWIND_INFO lists, as `(begin, end)`.

    The first code tells the size of every epilog and, in bit 0 of its info, whether one ends the
    function; each further one gives the distance of an epilog's begin from the function's end.
    """
    codes = [code for code in info.codes if code.operation == EPILOG]
    if info.version != 2 or not codes:
        return []
    size = codes[0].prolog_offset
    ranges = [(function.end - size, function.end)] if codes[0].info & 1 else []
    for code in codes[1:]:
        distance = code.prolog_offset | code.info << 8
        if distance:
            ranges.append((function.end - distance, function.end - distance + size))
    return ranges


def _may_be_epilog(info: UnwindInfo, function: RuntimeFunction, rva: int) -> bool:
    if info.version == 1:
        return True
    return any(begin <= rva < end for begin, end in epilog_ranges(info, function))


def _outside(
    functions: FunctionTable, function: RuntimeFunction, read: ReadImage, target: int
) -> bool:
    """Whether a jump to `target` leaves the function, all its separate pieces counted.

    A jump to the function's very begin leaves it too: it is a call of itself.
    """
    other = functions.find(target)
    if other is None:
        return True
    first = _primary(function, read).begin
    return target == first or _primary(other, read).begin != first


def _primary(function: RuntimeFunction, read: ReadImage) -> RuntimeFunction:
    """The entry of the whole function, of which others may be chained pieces."""
    for _ in range(_MAX_CHAIN):
        function = _direct(function, read)
        chained = read_unwind_info(read, function.unwind_rva).chained
        if chained is None:
            return function
        function = chained
    raise FormatError(f"unwind data of 0x{function.begin:x} is chained to itself")
