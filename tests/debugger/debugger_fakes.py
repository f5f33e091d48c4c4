"""A target in memory: pages, one toy processor per number, and a kernel with a handful of names.

The toy executes the few instructions the tests use, so breakpoints and steps are really planted,
hit and stepped over.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import iced_x86 as iced

from kdsim.debugger.backends.base import (
    Caps,
    Event,
    ModuleEvent,
    Resume,
    StopEvent,
    TargetVersion,
)
from kdsim.errors import TargetError, TargetGone
from kdsim.wire.context import Context, SpecialRegisters

PAGE = 0x1000
KERNEL = 0xFFFFF807_11000000
STACK = 0xFFFFB000_00010000
DATA = KERNEL + 0x3000
LEAKY = 0xFFFFF807_20000000
THREAD = 0xFFFFA000_00001000
PROCESS = 0xFFFFA000_00002000
EXIT = 0xFFFFF807_11F00000

BREAKPOINT, SINGLE_STEP = 0x80000003, 0x80000004
WAKE_SYSTEM_DEBUGGER = 0x80000007
"""How a processor answers that the debugger switched to."""


class FakePages:
    """Sparse memory; a page that was never mapped cannot be read."""

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}

    def map(self, address: int, data: bytes = b"", size: int = 0) -> None:
        for page in range(address & -PAGE, address + max(len(data), size, 1), PAGE):
            self.pages.setdefault(page, bytearray(PAGE))
        self.poke(address, data)

    def poke(self, address: int, data: bytes) -> int:
        for index, byte in enumerate(data):
            page = self.pages.get((address + index) & -PAGE)
            if page is None:
                return index
            page[(address + index) % PAGE] = byte
        return len(data)

    def peek(self, address: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            at = address + len(data)
            page = self.pages.get(at & -PAGE)
            if page is None:
                break
            data += page[at % PAGE :]
        return bytes(data[:size])


@dataclass
class FakeBackend:
    """Implements `kdsim.debugger.backends.base.Backend`."""

    caps: Caps = ~Caps.NONE
    description: str = "fake"
    refusals: dict[Caps, str] = field(default_factory=dict)
    processors: int = 2
    virtual: FakePages = field(default_factory=FakePages)
    physical: FakePages = field(default_factory=FakePages)
    events: list[Event] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    on_resume: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.contexts = [Context() for _ in range(self.processors)]
        self.specials = [SpecialRegisters() for _ in range(self.processors)]
        self.planted: dict[int, tuple[int, int]] = {}
        self.msrs: dict[int, int] = {0xC0000080: 0xD01}
        self.current = 0
        self.closed = False
        for context in self.contexts:
            for name, value in (("cs", 0x10), ("ss", 0x18), ("ds", 0x2B), ("es", 0x2B)):
                context.set(name, value)
            context.set("fs", 0x53)
            context.set("gs", 0x2B)
            context.set("eflags", 0x246)

    # -- life ----------------------------------------------------------------------------------

    def connect(self, timeout: float | None) -> None:
        self.log.append("connect")

    def close(self) -> None:
        self.closed = True

    def banner(self) -> list[str]:
        return ["Kernel Debugger connection established."] if Caps.RUN in self.caps else []

    def version(self) -> TargetVersion:
        return TargetVersion(0x0F, 19041, 6, 7, 0x8664, KERNEL, DATA + 0x100, 0)

    # -- running -------------------------------------------------------------------------------

    def wait(self, timeout: float | None) -> Event | None:
        if not self.events:
            raise TargetGone("the fake target has nothing more to say")
        return self.events.pop(0)

    def break_in(self) -> None:
        self.log.append("break in")
        self.events.append(self.stop_event(BREAKPOINT))

    def stop_event(self, code: int, processor: int | None = None, **more: int) -> StopEvent:
        number = self.current if processor is None else processor
        pc = self.contexts[number].get("rip")
        for handle in [h for h, (va, _) in self.planted.items() if pc <= va < pc + 16]:
            self.clear_breakpoint(handle)  # as the kernel does before it reports the bytes there
        code_there = self.virtual.peek(pc, 16)
        return StopEvent(
            number,
            self.processors,
            THREAD,
            pc,
            code,
            address=pc,
            instructions=code_there,
            **more,  # type: ignore[arg-type]
        )

    def resume(self, how: Resume) -> None:
        self.log.append("trace" if how.trace else "go")
        if self.events:
            return
        if self.on_resume is not None:
            self.on_resume()
        dr7 = how.dr7 or 0
        for _ in range(100_000):
            context = self.contexts[self.current]
            pc = context.get("rip")
            if pc == EXIT:
                raise TargetGone("the toy program ended")
            if self.virtual.peek(pc, 1) == b"\xcc":
                self.events.append(self.stop_event(BREAKPOINT))
                return
            touched = self._execute(context)
            hit = self._watch(dr7, touched)
            if hit:
                self.events.append(self.stop_event(SINGLE_STEP, dr6=1 << hit - 1))
                return
            if how.trace:
                self.events.append(self.stop_event(SINGLE_STEP, dr6=0x4000))
                return
        raise TargetGone("the toy program does not end")

    def _watch(self, dr7: int, touched: int | None) -> int:
        """Number (from 1) of the debug register that covers a written address."""
        for slot in range(4):
            address = self.specials[self.current].get(f"dr{slot}")
            if dr7 >> 2 * slot & 3 and touched is not None and touched == address:
                return slot + 1
        return 0

    def _execute(self, context: Context) -> int | None:
        """One instruction; the address it wrote to, if any."""
        pc = context.get("rip")
        ins = iced.Decoder(64, self.virtual.peek(pc, 15), ip=pc).decode()
        words = iced.Formatter(iced.FormatterSyntax.MASM).format(ins).split(None, 1)
        after = pc + ins.len
        rsp = context.get("rsp")
        written = None
        match words[0]:
            case "nop":
                pass
            case "sub" | "add":
                sign = -1 if words[0] == "sub" else 1
                context.set("rsp", rsp + sign * ins.immediate(1))
            case "mov" if ins.op0_kind == iced.OpKind.MEMORY:
                written = ins.ip_rel_memory_address
                self.virtual.poke(written, context.get("rax").to_bytes(8, "little")[:4])
            case "mov":
                context.set("rax", ins.immediate(1))
            case "call":
                context.set("rsp", rsp - 8)
                self.virtual.poke(rsp - 8, struct.pack("<Q", after))
                after = ins.near_branch_target
            case "ret":
                context.set("rsp", rsp + 8)
                after = int.from_bytes(self.virtual.peek(rsp, 8), "little")
            case "jmp":
                after = ins.near_branch_target
            case other:
                raise NotImplementedError(other)
        context.set("rip", after)
        return written

    def switch_processor(self, number: int) -> None:
        self.current = number
        self.events.insert(0, self.stop_event(WAKE_SYSTEM_DEBUGGER))

    # -- state ---------------------------------------------------------------------------------

    def read_virtual(self, va: int, size: int) -> bytes:
        return self.virtual.peek(va, size)

    def write_virtual(self, va: int, data: bytes) -> int:
        return self.virtual.poke(va, data)

    def read_physical(self, pa: int, size: int) -> bytes:
        return self.physical.peek(pa, size)

    def write_physical(self, pa: int, data: bytes) -> int:
        return self.physical.poke(pa, data)

    def read_context(self, processor: int) -> bytes:
        return self.contexts[processor].raw

    def write_context(self, processor: int, context: bytes) -> None:
        self.log.append(f"write context {processor}")
        self.contexts[processor] = Context(context)

    def read_control_space(self, processor: int, selector: int, size: int) -> bytes:
        assert selector == 2
        return self.specials[processor].raw[:size]

    def write_control_space(self, processor: int, selector: int, data: bytes) -> None:
        self.specials[processor] = SpecialRegisters(data)

    def read_msr(self, msr: int) -> int:
        return self.msrs[msr]

    def write_msr(self, msr: int, value: int) -> None:
        self.msrs[msr] = value

    def set_breakpoint(self, va: int) -> int:
        handle = max(self.planted, default=0) + 1
        self.planted[handle] = (va, self.virtual.peek(va, 1)[0])
        self.virtual.poke(va, b"\xcc")
        return handle

    def clear_breakpoint(self, handle: int) -> None:
        if handle not in self.planted:
            raise TargetError(f"no breakpoint {handle}")
        va, byte = self.planted.pop(handle)
        self.virtual.poke(va, bytes([byte]))

    def reboot(self) -> None:
        self.log.append("reboot")

    def restart(self) -> None:
        self.log.append("restart")
        self.events.append(self.stop_event(BREAKPOINT))

    def bugcheck(self) -> None:
        self.log.append("bugcheck")

    def answer_prompt(self, text: str) -> None:
        self.log.append(f"answer {text}")


def load_event(path: str = "leaky.sys", *, unload: bool = False) -> ModuleEvent:
    return ModuleEvent(0, 2, THREAD, KERNEL + 0x1000, LEAKY, 0x6000, 0x1234, 4, path, unload)


def page_tables(backend: FakeBackend, root: int, va: int, pa: int) -> None:
    """Map one page in the fake physical memory."""
    tables = [root, root + 0x1000, root + 0x2000, root + 0x3000]
    for level, table in enumerate(tables):
        following = tables[level + 1] if level < 3 else pa
        index = va >> (39 - 9 * level) & 0x1FF
        backend.physical.map(table + 8 * index, struct.pack("<Q", following | 0x67))
