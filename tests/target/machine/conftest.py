"""A bare guest: page tables, GDT, TSS and IDT in place, code supplied by the test as bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from kdsim.target.machine.clock import Clock, ClockMode
from kdsim.target.machine.machine import Machine
from kdsim.target.machine.paging import NO_EXECUTE, USER, WRITABLE, AddressSpace
from kdsim.target.machine.processor import Outcome, Processor

KERNEL = 0xFFFF_F807_1100_0000
GDT, IDT, TSS = KERNEL + 0x1000, KERNEL + 0x2000, KERNEL + 0x3000
DATA = KERNEL + 0x1_0000
HANDLERS = KERNEL + 0x2_0000
STACK = KERNEL + 0x4_0000
RING0_STACK, IST_STACK = KERNEL + 0x5_0000, KERNEL + 0x6_0000
USER_CODE, USER_STACK = 0x40_0000, 0x50_0000

# Windows' selectors.
CS0, SS0, SS3, CS3, TR = 0x10, 0x18, 0x2B, 0x33, 0x40
_DESCRIPTORS = {
    0x10: 0x0020_9B00_0000_0000,
    0x18: 0x0040_9300_0000_0000,
    0x28: 0x00CF_F300_0000_FFFF,
    0x30: 0x0020_FB00_0000_0000,
}

HLT = b"\xf4"
IRETQ = b"\x48\xcf"
SERVICE = b"\xcd\x81"
INT3 = b"\xcc"
STI = b"\xfb"
POP_ERROR_CODE = b"\x48\x83\xc4\x08"  # add rsp, 8


def mov_rax(value: int) -> bytes:
    return b"\x48\xb8" + struct.pack("<Q", value & (1 << 64) - 1)


def mov_rcx(value: int) -> bytes:
    return b"\x48\xb9" + struct.pack("<Q", value & (1 << 64) - 1)


class Guest:
    """A machine with one address space; code goes to KERNEL unless the test says otherwise."""

    def __init__(self, processors: int = 1, clock: Clock | None = None) -> None:
        self.machine = Machine("8M", processors, clock)
        self.ram = self.machine.ram
        self._next_page = 0x10_0000
        self.space = AddressSpace(
            self.ram, self.page(), self.page, on_code_write=self.machine.forget_code
        )
        self.space.map(KERNEL, 0x20_0000, 0x10_0000)
        self.space.map(USER_CODE, 0x40_0000, 0x1_0000, WRITABLE | USER)
        self.space.map(USER_STACK, 0x42_0000, 0x1_0000, WRITABLE | USER | NO_EXECUTE)
        for selector, descriptor in _DESCRIPTORS.items():
            self.space.write_u64(GDT + selector, descriptor)
        low = 0x67 | (TSS & 0xFF_FFFF) << 16 | 0x89 << 40 | (TSS >> 24 & 0xFF) << 56
        self.space.write(GDT + TR, struct.pack("<QQ", low, TSS >> 32))
        self.space.write_u64(TSS + 4, RING0_STACK)
        self.space.write_u64(TSS + 0x24, IST_STACK)
        self._next_handler = HANDLERS

    def page(self) -> int:
        self._next_page += 0x1000
        return self._next_page - 0x1000

    def gate(
        self, vector: int, handler: int, *, ist: int = 0, dpl: int = 0, trap: bool = False
    ) -> None:
        kind = 0x80 | dpl << 5 | (0xF if trap else 0xE)
        raw = struct.pack(
            "<HHBBHII",
            handler & 0xFFFF,
            CS0,
            ist,
            kind,
            handler >> 16 & 0xFFFF,
            handler >> 32,
            0,
        )
        self.space.write(IDT + vector * 16, raw)

    def handler(
        self, vector: int, code: bytes, *, ist: int = 0, dpl: int = 0, trap: bool = False
    ) -> int:
        """Put `code` somewhere and point the gate of `vector` at it."""
        va = self._next_handler
        self._next_handler += 0x100
        self.space.write(va, code)
        self.gate(vector, va, ist=ist, dpl=dpl, trap=trap)
        return va

    def start(self, code: bytes, number: int = 0, at: int = KERNEL) -> Processor:
        """A processor about to execute `code`, set up as a kernel would leave it."""
        self.space.write(at, code)
        cpu = self.machine.processors[number]
        cpu.start(rip=at, rsp=STACK - number * 0x4000, cr3=self.space.cr3)
        cpu.set_gdt(GDT, 0x57)
        cpu.set_idt(IDT, 0xFFF)
        cpu.load_tr(TR)
        return cpu

    def enter_user(self, code: bytes, flags: int = 0x202) -> Processor:
        """A processor about to `iretq` to `code` in ring 3."""
        self.space.write(USER_CODE, code)
        cpu = self.start(IRETQ)
        frame = (USER_CODE, CS3, flags, USER_STACK + 0x8000, SS3)
        cpu.rsp = STACK - 40
        self.space.write(STACK - 40, struct.pack("<5Q", *frame))
        return cpu

    def frame(self, rsp: int, count: int = 5) -> tuple[int, ...]:
        return struct.unpack(f"<{count}Q", self.space.read(rsp, count * 8))


class Calls:
    """Records services: (RAX, RCX) each, answering with `results` in turn or 0."""

    def __init__(self, *results: int) -> None:
        self.seen: list[tuple[int, int]] = []
        self._results = list(results)

    def __call__(self, cpu: Processor) -> Outcome:
        self.seen.append((cpu.rax, cpu.rcx))
        cpu.rax = self._results.pop(0) if self._results else 0
        return Outcome.HANDLED


def tick_service(machine: Machine) -> Callable[[Processor], Outcome]:
    """A service that sets the caller's next clock interrupt 15.6 ms ahead."""

    def service(cpu: Processor) -> Outcome:
        machine.set_clock(cpu, machine.clock.now() + 156_250)
        return Outcome.HANDLED

    return service


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    yield made
    made.machine.close()


@pytest.fixture(params=[ClockMode.VIRTUAL, ClockMode.WALL], ids=["counted", "timed"])
def any_guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """The same guest with counted and with timed slices."""
    made = Guest(clock=Clock(request.param))
    yield made
    made.machine.close()
