"""What bug check codes and their parameters mean.

Facts: the bug check code reference of the Windows driver documentation; the wording is ours.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from kdsim.debugger.inspect import bugcheck_texts
from kdsim.debugger.inspect.bugchecks_model import BugCheck, Variant

_IRQL_ARGUMENTS = (
    "memory referenced",
    "IRQL",
    "bitfield: bit 0 set for a write, bit 3 set for an execution",
    "address which referenced memory",
)
_LEAK_HINT = "Type !verifier 3 drivername.sys for info on the allocations"

_VERIFIER = {
    0x00: Variant(
        "caller asked for a zero-byte allocation", ("current IRQL", "pool type", "number of bytes")
    ),
    0x01: Variant(
        "caller asked for paged pool above APC_LEVEL",
        ("current IRQL", "pool type", "number of bytes"),
    ),
    0x02: Variant(
        "caller asked for nonpaged pool above DISPATCH_LEVEL",
        ("current IRQL", "pool type", "number of bytes"),
    ),
    0x10: Variant("freeing an address that was never allocated", ("bad address", "", "")),
    0x11: Variant("freeing paged pool above APC_LEVEL", ("current IRQL", "pool type", "address")),
    0x12: Variant(
        "freeing nonpaged pool above DISPATCH_LEVEL", ("current IRQL", "pool type", "address")
    ),
    0x13: Variant("freeing pool that is free already", ("", "pool header", "header contents")),
    0x14: Variant("freeing pool that is free already", ("", "pool header", "header contents")),
    0x30: Variant(
        "raising IRQL to a level below the current one", ("current IRQL", "new IRQL", "")
    ),
    0x31: Variant(
        "lowering IRQL to a level above the current one", ("current IRQL", "new IRQL", "")
    ),
    0x60: Variant(
        "A driver was unloaded without freeing its pool allocations",
        ("paged bytes", "nonpaged bytes", "total number of allocations"),
    ),
    0x62: Variant(
        "A driver has forgotten to free its pool allocations prior to unloading.",
        (
            "name of the driver having the issue.",
            "verifier internal structure with driver information.",
            "total # of (paged+nonpaged) allocations that weren't freed.\n"
            f"\t{_LEAK_HINT}\n\tthat were leaked that caused the BugCheck.",
        ),
    ),
}

_POOL_CALLER = {
    0x0: Variant("the caller asked for zero bytes", ("", "pool type", "tag")),
    0x7: Variant(
        "Attempt to free pool which was already freed",
        (
            "pool tag value from the pool header",
            "contents of the first 4 bytes of the header",
            "address of the block of pool being deallocated",
        ),
    ),
    0x8: Variant(
        "allocation at a wrong IRQL", ("current IRQL", "pool type", "size of the allocation")
    ),
    0x9: Variant("free at a wrong IRQL", ("current IRQL", "pool type", "address of the pool")),
    0xA: Variant(
        "free with a wrong tag",
        ("address of the pool", "tag of the allocation", "tag used for the free"),
    ),
    0x46: Variant("free of an address that is not pool", ("address", "", "")),
    0x9B: Variant("allocation with a tag of zero", ("pool type", "size", "caller")),
}

BUGCHECKS: dict[int, BugCheck] = {
    0x0A: BugCheck(
        "IRQL_NOT_LESS_OR_EQUAL",
        "Pageable or invalid memory was touched at an IRQL that is too high. This is usually\n"
        "caused by drivers using improper addresses.",
        _IRQL_ARGUMENTS,
        faulting_ip=3,
        fault_address=0,
        access=2,
        irql=1,
    ),
    0x1E: BugCheck(
        "KMODE_EXCEPTION_NOT_HANDLED",
        "A kernel-mode program raised an exception that nobody handled. Note the driver and the\n"
        "address: they usually name the problem.",
        (
            "The exception code that was not handled",
            "The address that the exception occurred at",
            "Parameter 0 of the exception",
            "Parameter 1 of the exception",
        ),
        faulting_ip=1,
        exception=0,
    ),
    0x3B: BugCheck(
        "SYSTEM_SERVICE_EXCEPTION",
        "An exception happened while executing a system service routine.",
        (
            "Exception code that caused the BugCheck",
            "Address of the instruction which caused the BugCheck",
            "Address of the context record for the exception that caused the BugCheck",
            "zero.",
        ),
        faulting_ip=1,
        exception=0,
        context=2,
    ),
    0x50: BugCheck(
        "PAGE_FAULT_IN_NONPAGED_AREA",
        "Invalid system memory was referenced: the address is bad or points at freed memory.",
        (
            "memory referenced.",
            "0 for a read, 2 for a write, 10 for an execution.",
            "If non-zero, the instruction address which referenced the bad memory address.",
            "(reserved)",
        ),
        faulting_ip=2,
        fault_address=0,
        access=1,
    ),
    0x7E: BugCheck(
        "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED",
        "A system thread raised an exception that its handler did not catch.",
        (
            "The exception code that was not handled",
            "The address that the exception occurred at",
            "Exception Record Address",
            "Context Record Address",
        ),
        faulting_ip=1,
        exception=0,
        exception_record=2,
        context=3,
    ),
    0x7F: BugCheck(
        "UNEXPECTED_KERNEL_MODE_TRAP",
        "The processor took a trap that the kernel is not allowed to have.",
        ("trap number (8 is a double fault)", "", "", ""),
    ),
    0xC2: BugCheck(
        "BAD_POOL_CALLER",
        "The current thread is making a bad pool request.",
        ("what is wrong with the request", "", "", ""),
        variants=_POOL_CALLER,
    ),
    0xC4: BugCheck(
        "DRIVER_VERIFIER_DETECTED_VIOLATION",
        "A device driver attempting to corrupt the system has been caught. This is because\n"
        "the driver was specified in the registry as being suspect (by the administrator)\n"
        "and the kernel has enabled substantial checking of this driver.",
        ("subclass of driver violation.", "", "", ""),
        variants=_VERIFIER,
    ),
    0xC5: BugCheck(
        "DRIVER_CORRUPTED_EXPOOL",
        "Invalid memory was touched at a high IRQL by pool code: some driver damaged the pool.",
        _IRQL_ARGUMENTS,
        faulting_ip=3,
        fault_address=0,
        access=2,
        irql=1,
    ),
    0xD1: BugCheck(
        "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
        "A driver touched pageable or invalid memory at an IRQL that is too high. This is usually\n"
        "caused by drivers using improper addresses.",
        _IRQL_ARGUMENTS,
        faulting_ip=3,
        fault_address=0,
        access=2,
        irql=1,
    ),
    0xE2: BugCheck("MANUALLY_INITIATED_CRASH", "The user manually initiated this crash dump."),
    0x139: BugCheck(
        "KERNEL_SECURITY_CHECK_FAILURE",
        "A kernel component has corrupted a critical data structure.",
        (
            "A security check failure type",
            "Address of the trap frame for the exception that caused the BugCheck",
            "Address of the exception record for the exception that caused the BugCheck",
            "Reserved",
        ),
    ),
}


@cache
def names() -> dict[int, str]:
    """Every code of the reference and its name."""
    text = Path(__file__).with_name("bugcheck_codes.txt").read_text(encoding="utf-8")
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {int(code, 16): name for code, name in rows}


@cache
def described() -> dict[int, BugCheck]:
    """The codes whose parameters are known."""
    return BUGCHECKS | bugcheck_texts.BUGCHECKS


def describe(code: int) -> BugCheck:
    """Code, text and parameters as far as they are known; just the name of a rare one."""
    texts = described()
    known = texts.get(code)
    if known is None and code >> 28 == MINIDUMP_FORM:
        known = texts.get(code & 0xFFFFFFF)
    if known is not None:
        return replace(known, name=names().get(code, known.name))
    return BugCheck(names().get(code, f"Unknown bugcheck code ({code:x})"), "")


MINIDUMP_FORM = 0x1
"""First digit of codes such as 0x1000007e: the same failure as 0x7e, met in another place."""
