"""A quick look at the engine before it is relied upon.

The machine uses the layout of the engine's private state and cures for its defects. Both belong to
one version of one library; where that turns out different, the machine refuses to start instead of
running wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from kdsim.errors import TargetError
from kdsim.target.machine import layout
from kdsim.target.machine.engine import VERSION
from kdsim.target.machine.paging import LARGE, PRESENT, WRITABLE
from kdsim.target.machine.processor import Exit, Outcome, Processor
from kdsim.target.machine.ram import PhysicalMemory
from kdsim.target.machine.registers import FLAG_TF
from kdsim.target.machine.watch import DR6_STEP

# Register numbers of unicorn/x86.h, for the public interface's view of the state.
_PUBLIC = {
    "rax": 35, "rcx": 38, "rdx": 40, "rbx": 37, "rsp": 44, "rbp": 36, "rsi": 43, "rdi": 39,
    "r8": 106, "r9": 107, "r10": 108, "r11": 109, "r12": 110, "r13": 111, "r14": 112, "r15": 113,
    "rip": 41, "cr2": 52, "dr0": 66, "dr1": 67, "dr2": 68, "dr3": 69, "dr6": 72, "dr7": 73,
    "fs_base": 250, "gs_base": 251,
}  # fmt: skip
_PUBLIC_MSRS = {
    "star": 0xC000_0081, "lstar": 0xC000_0082, "cstar": 0xC000_0083, "sfmask": 0xC000_0084,
    "kernel_gs_base": 0xC000_0102, "tsc_aux": 0xC000_0103, "pat": 0x277,
}  # fmt: skip
_PUBLIC_TABLES = {"idt": 242, "gdt": 243, "ldtr": 244, "tr": 245}
_PUBLIC_XMM0 = 122

_TABLES, _CODE, _STACK, _UNMAPPED = 0x1000, 0x1_0000, 0x2_0000, 0x4000_0000
_SIGNATURE = 0x5A17_C3E4_9B06_D281


@cache
def check() -> None:
    """TargetError naming the first difference; runs once in a process."""
    ram = PhysicalMemory("2M")
    cpu = Processor(0, ram)
    try:
        for what, as_expected in _layout(cpu):
            if not as_expected:
                raise _difference(what)
        for level in range(3):
            entry = LARGE if level == 2 else _TABLES + (level + 1) * 0x1000
            ram.write_u64(_TABLES + level * 0x1000, entry | PRESENT | WRITABLE)
        for what, behaves in _BEHAVIOURS.items():
            try:
                as_expected = behaves(cpu, ram)
            except TargetError as error:
                raise _difference(f"{what} ({error})") from error
            if not as_expected:
                raise _difference(what)
    finally:
        cpu.close()


def _difference(what: str) -> TargetError:
    version = ".".join(map(str, VERSION))
    return TargetError(f"this build of the CPU engine (unicorn {version}) differs: {what}")


def _layout(cpu: Processor) -> Iterator[tuple[str, bool]]:
    """Every private offset against what the public interface wrote."""
    engine = cpu.engine
    for index, number in enumerate(_PUBLIC.values()):
        engine.write_register(number, _SIGNATURE + index)
    for index, number in enumerate(_PUBLIC_MSRS.values(), 100):
        engine.write_msr(number, _SIGNATURE + index)
    for index, number in enumerate(_PUBLIC_TABLES.values(), 200):
        engine.write_table(number, 0x48, _SIGNATURE + index, 0x77)
    for index in range(16):
        engine.write_register(_PUBLIC_XMM0 + index, _SIGNATURE + 300 + index)
    engine.save()
    for index, name in enumerate(_PUBLIC):
        yield f"the place of {name}", getattr(cpu, name) == _SIGNATURE + index
    for index, name in enumerate(_PUBLIC_MSRS, 100):
        yield f"the place of {name}", getattr(cpu, name) == _SIGNATURE + index
    for index, name in enumerate(_PUBLIC_TABLES, 200):
        table = cpu.segment(name)
        yield f"the place of {name}", (table.base, table.limit) == (_SIGNATURE + index, 0x77)
    for index in range(16):
        quad = engine.quads[layout.XMM + index * layout.XMM_STRIDE >> 3]
        yield f"the place of xmm{index}", quad == _SIGNATURE + 300 + index
    cpu.rflags = 0x246
    yield "RFLAGS", cpu.rflags == 0x246 and bool(cpu.interruptible)
    engine.write_floating_control(0x3F80, 0x37F)
    yield "MXCSR", cpu.mxcsr == 0x3F80
    yield "the x87 control word", engine.words[layout.FP_CONTROL - 2 >> 2] >> 16 == 0x37F


def _begin(cpu: Processor, ram: PhysicalMemory, code: bytes) -> None:
    ram.write(_CODE, code)
    cpu.engine.flush_code()
    cpu.start(rip=_CODE, rsp=_STACK, cr3=_TABLES)


def _faults(cpu: Processor, ram: PhysicalMemory) -> bool:
    seen = []

    def skip(cpu: Processor, va: int, error_code: int) -> Outcome:
        seen.append((va, error_code))
        cpu.rip += 3
        return Outcome.HANDLED

    cpu.on_fault = skip
    # mov rax,[rbx]; mov [rbx],rax; hlt
    _begin(cpu, ram, b"\x48\x8b\x03\x48\x89\x03\xf4")
    cpu.rbx = _UNMAPPED
    ended = cpu.run(count=100)
    cpu.on_fault = None
    return ended is Exit.HALTED and seen == [(_UNMAPPED, 0), (_UNMAPPED, 2)]


def _cr8(cpu: Processor, ram: PhysicalMemory) -> bool:
    # mov eax,5; mov cr8,rax; mov rcx,cr8; hlt
    _begin(cpu, ram, b"\xb8\5\0\0\0\x44\x0f\x22\xc0\x44\x0f\x20\xc1\xf4")
    cpu.run(count=100)
    return cpu.cr8 == cpu.rcx == 5


def _single_step(cpu: Processor, ram: PhysicalMemory) -> bool:
    seen = []

    def stepped(cpu: Processor, vector: int) -> Outcome:
        seen.append((vector, cpu.rip))
        cpu.rflags &= ~FLAG_TF
        return Outcome.HANDLED

    cpu.on_debug = stepped
    _begin(cpu, ram, b"\x48\xff\xc0\x90\xf4")  # inc rax; nop; hlt
    cpu.rflags |= FLAG_TF
    cpu.run(count=100)
    return seen == [(1, _CODE + 3)] and bool(cpu.dr6 & DR6_STEP) and cpu.rip == _CODE + 5


def _counts(cpu: Processor, ram: PhysicalMemory) -> bool:
    """Exact counts, also after a run without one, and `hlt` told from the count's end."""
    _begin(cpu, ram, b"\x90" * 20 + b"\xf4")
    timed = cpu.run(timeout=1_000_000) is Exit.HALTED and cpu.rip == _CODE + 21
    cpu.rip = _CODE
    seven = cpu.run(count=7) is Exit.SLICE and cpu.rip == _CODE + 7 and cpu.executed == 7
    rest = cpu.run(count=14) is Exit.HALTED and cpu.rip == _CODE + 21 and cpu.executed == 14
    return timed and seven and rest


def _changed_code(cpu: Processor, ram: PhysicalMemory) -> bool:
    _begin(cpu, ram, b"\xb8\1\0\0\0\xf4")  # mov eax,1; hlt
    cpu.run(count=100)
    ram.write(_CODE + 1, b"\2")
    cpu.engine.forget_code(_CODE + 1, 1)
    cpu.rip = _CODE
    cpu.run(count=100)
    return cpu.rax == 2


_BEHAVIOURS = {
    "two page faults in a row": _faults,
    "CR8": _cr8,
    "single step": _single_step,
    "counting instructions": _counts,
    "changed code": _changed_code,
}
