"""Where the engine keeps the processor's state: offsets into the context blob.

Source: unicorn-engine/unicorn `qemu/target/i386/cpu.h` (struct CPUX86State) and
`include/uc_priv.h` (struct uc_struct) at tag v2.1.4, measured on the x86-64 wheel. Private to that
version: `selftest` compares every one of them with what the public interface says.
"""

from __future__ import annotations

from collections.abc import Iterator

HEADER_SIZE = 40
STATE_SIZE = 5568

ENGINE_COUNTER, ENGINE_LIMIT = 1368, 1376
"""`emu_counter` and `emu_count` in struct uc_struct: instructions begun, and where a run ends."""
ENGINE_WHOLE_BLOCKS = 2034
"""`no_exit_request`, a byte: what is translated now looks for a stop only where a block begins, not
behind each access to memory as well. A stop behind the store of `inc [m]` or `xchg` leaves RIP at
the instruction, which then happens twice."""
ENGINE_KNOWN = {1428: 1, 1984: 0x1000, 1992: 0x1000}
"""32-bit cells around it whose values are known: `use_exits` and two page sizes."""

GENERAL = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
RIP = 128
FLAGS_PARTS = 136
"""RFLAGS without the arithmetic flags: IF, TF and RF are always right here."""
HFLAGS = 176
HFLAGS2 = 180

SEGMENTS = {"es": 184, "cs": 208, "ss": 232, "ds": 256, "fs": 280, "gs": 304}
TABLES = {"ldtr": 328, "tr": 352, "gdt": 376, "idt": 400}
# Within a segment record.
SELECTOR, BASE, LIMIT, ATTRIBUTES = 0, 8, 16, 20

CR0, CR2, CR3, CR4 = 424, 440, 448, 456
CR8 = 5556
EFER = 592
DEBUG = {"dr0": 5400, "dr1": 5408, "dr2": 5416, "dr3": 5424, "dr6": 5448, "dr7": 5456}
MSRS = {
    "star": 4824,
    "lstar": 4840,
    "cstar": 4848,
    "sfmask": 4856,
    "kernel_gs_base": 4864,
    "tsc_aux": 4896,
    "sysenter_esp": 4808,
    "sysenter_eip": 4816,
    "misc_enable": 4920,
    "pat": 5280,
}
SYSENTER_CS = 4800

FP_TOP, FP_STATUS, FP_CONTROL, FP_EMPTY, FP_REGISTERS = 604, 608, 610, 612, 624
FP_OPCODE, FP_CODE, FP_DATA, FP_IP, FP_DP = 752, 754, 756, 760, 768
MXCSR = 816
XMM, XMM_STRIDE = 824, 64

ERROR_CODE = 5384
IS_SOFTWARE = 5388
"""`exception_is_int`: the vector came from an `int` instruction."""
IN_FLIGHT = 5496
"""`old_exception`: the engine never clears it, and so takes the next fault for a double one."""

HFLAGS_CPL = 3
HFLAGS_INHIBIT = 1 << 3
"""The instruction after STI or MOV SS: no interrupt yet."""
HFLAGS2_CR8 = 1 << 3
"""Makes CR8 a register; without it `mov reg, cr8` reads 0."""


def architectural_fields() -> Iterator[tuple[str, int, int]]:
    """(name, offset, size) of all state that a saved machine keeps, in a fixed order.

    RFLAGS is missing: the engine keeps it in parts that only its own reader joins.
    """
    for index, name in enumerate(GENERAL):
        yield name, index * 8, 8
    yield "rip", RIP, 8
    for name, offset in (SEGMENTS | TABLES).items():
        yield name, offset + SELECTOR, 4
        yield f"{name}_base", offset + BASE, 8
        yield f"{name}_limit", offset + LIMIT, 4
        yield f"{name}_attributes", offset + ATTRIBUTES, 4
    for name, offset in (("cr0", CR0), ("cr2", CR2), ("cr3", CR3), ("cr4", CR4), ("efer", EFER)):
        yield name, offset, 8
    yield "cr8", CR8, 1
    for name, offset in (DEBUG | MSRS).items():
        yield name, offset, 8
    yield "sysenter_cs", SYSENTER_CS, 4
    yield "fp_top", FP_TOP, 4
    for name, offset in (("fp_status", FP_STATUS), ("fp_control", FP_CONTROL)):
        yield name, offset, 2
    yield "fp_empty", FP_EMPTY, 8
    yield "fp_registers", FP_REGISTERS, 128
    for name, offset in (("fp_opcode", FP_OPCODE), ("fp_code", FP_CODE), ("fp_data", FP_DATA)):
        yield name, offset, 2
    yield "fp_ip", FP_IP, 8
    yield "fp_dp", FP_DP, 8
    yield "mxcsr", MXCSR, 4
    for index in range(16):
        yield f"xmm{index}", XMM + index * XMM_STRIDE, 16
