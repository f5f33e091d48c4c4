"""Register contexts that lie in target memory: of threads, trap frames and CONTEXT records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdsim.debugger.registers import GENERAL, RegisterFile
from kdsim.errors import SymbolError, UserError
from kdsim.wire.context import CONTEXT_SIZE, Context

if TYPE_CHECKING:
    from kdsim.debugger.session import Session

# Selectors while kernel code runs, the same on every x64 Windows: KGDT64_* of ksamd64.inc.
_SELECTORS = {"cs": 0x10, "ss": 0x18, "ds": 0x2B, "es": 0x2B, "fs": 0x53, "gs": 0x2B}

# KTHREAD.State, ntddk.h KTHREAD_STATE.
RUNNING = 2

_TRAP_NAMES = {
    "rip": "Rip", "rsp": "Rsp", "rbp": "Rbp", "eflags": "EFlags", "cs": "SegCs", "ss": "SegSs",
    "rax": "Rax", "rcx": "Rcx", "rdx": "Rdx", "r8": "R8", "r9": "R9", "r10": "R10", "r11": "R11",
    "rbx": "Rbx", "rsi": "Rsi", "rdi": "Rdi", "mxcsr": "MxCsr",
}  # fmt: skip


def thread_registers(session: Session, thread: int) -> RegisterFile | None:
    """Where a thread goes on: None for one that runs on the current processor.

    A thread that waits has a switch frame where KTHREAD.KernelStack points; the other registers lie
    further up and come back when its stack is unwound.
    """
    view = session.nt_view("_KTHREAD", thread)
    if int(view.State) == RUNNING:
        for processor in range(session.processors):
            if session.processor_thread(processor) == thread:
                live = processor == session.processor
                return None if live else session.register_file(processor)
    if not view.KernelStackResident:
        raise UserError(f"Can't retrieve thread context: the stack of {thread:x} is paged out")
    frame = session.nt_view("_KSWITCH_FRAME", int(view.KernelStack))
    context = _kernel_context()
    context.set("rip", int(frame.Return))
    context.set("rbp", int(frame.Rbp))
    context.set("rsp", frame.address + frame.record.size)
    return _file(session, context, frozenset(GENERAL) - {"rsp", "rbp"})


def trap_registers(session: Session, address: int) -> RegisterFile:
    """Of a KTRAP_FRAME. It holds the volatile registers; the others are zero."""
    frame = session.nt_view("_KTRAP_FRAME", address).snapshot()
    context = _kernel_context()
    for name, field in _TRAP_NAMES.items():
        context.set(name, int(frame[field]))
    return _file(session, context, frozenset(GENERAL) - _TRAP_NAMES.keys())


def record_registers(session: Session, address: int) -> RegisterFile:
    """Of a CONTEXT record."""
    return _file(session, Context(session.memory.read(address, CONTEXT_SIZE)))


def _kernel_context() -> Context:
    """An empty context with the kernel's own segments."""
    context = Context()
    for name, selector in _SELECTORS.items():
        context.set(name, selector)
    return context


def _file(
    session: Session, context: Context, unknown: frozenset[str] = frozenset()
) -> RegisterFile:
    return RegisterFile.of(context, lambda: session.live_registers.special, unknown)


def directory_base(session: Session, process: int) -> int:
    """Physical address of a process' top page table."""
    base = int(session.nt_view("_KPROCESS", process).DirectoryTableBase)
    if not base:
        raise SymbolError(f"{process:x} is no process: its DirectoryTableBase is 0")
    return base
