"""The machine: RAM, processors and a clock, run round robin on one thread.

A slice is a count of instructions in virtual mode and a time in wall mode. Between slices the
machine delivers clock and inter-processor interrupts, looks for requests and polls its links. The
same state and the same calls give the same bytes in virtual mode; where a caller stops the run in
between makes no difference to what executes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from kdsim.errors import TargetError, UserError
from kdsim.target.machine import saved, selftest
from kdsim.target.machine.clock import NS_PER_INSTRUCTION, NS_PER_UNIT, Clock
from kdsim.target.machine.paging import AddressSpace
from kdsim.target.machine.processor import Exit, Outcome, Processor
from kdsim.target.machine.ram import PhysicalMemory

CLOCK_VECTOR, IPI_VECTOR = 0xD1, 0xE1

SLICE_INSTRUCTIONS = 10_000
SLICE_NS = 5_000_000
# While an interrupt waits for IF or CR8, slices are short so that it is not late.
_MASKED_INSTRUCTIONS = 500
_MASKED_NS = 200_000
_SHORTEST_NS = 50_000  # starting and stopping a timed slice costs about as much
_VIRTUAL_SLICES_PER_POLL = 20  # 2 ms of work between looks at the links

Handler = Callable[[Processor], Outcome]
DebugPort = Callable[[Processor, int], Outcome]
Poll = Callable[[float | None], bool]


class Reason(Enum):
    """Why `Machine.run` returned."""

    DEBUG = "debug stop"
    POWER_OFF = "power off"
    RESTART = "restart"
    REQUEST = "request"
    UNTIL = "time reached"
    IDLE = "every processor is halted and nothing is due"
    ERROR = "error"


class Stop(NamedTuple):
    """The end of a run: why, on which processor, and for an error its text."""

    reason: Reason
    processor: int = 0
    detail: str = ""


class Machine:
    """See the module docstring.

    Args:
        ram: RAM, or its size ("512M").
        processors: how many; all in reset.
        clock: virtual from 0 by default.
        services: called with the processor for `int 0x81` in ring 0.
        debug_port: called with the processor and the vector for 1, 3 and 0x2D in ring 0.
        poll: called between slices with 0.0 and while idle with the seconds until the next event
            (None: no event); it may wait that long. True ends the run with Reason.REQUEST.
    """

    def __init__(
        self,
        ram: PhysicalMemory | str | int = "512M",
        processors: int = 1,
        clock: Clock | None = None,
        services: Handler | None = None,
        debug_port: DebugPort | None = None,
        poll: Poll | None = None,
    ) -> None:
        selftest.check()
        if processors < 1:
            raise UserError("a machine has at least one processor")
        self.ram = ram if isinstance(ram, PhysicalMemory) else PhysicalMemory(ram)
        self.clock = clock or Clock()
        self.poll = poll
        self.processors = tuple(Processor(number, self.ram) for number in range(processors))
        for cpu in self.processors:
            cpu.now = self.clock.now_ns
            cpu.space.on_code_write = self.forget_code
        self.attach(services, debug_port)
        self.turn, self.left = 0, 0
        self.port_memory = b""
        """What the debug port keeps for the kernel: the file it was given for a driver."""
        self._stop: Stop | None = None
        self._next_turn: int | None = None
        self._slice_end = 0
        self._slices = 0
        self._requested = False
        self._wake = threading.Event()

    def attach(self, services: Handler | None, debug_port: DebugPort | None) -> None:
        """Set the callbacks; None keeps what is there."""
        for cpu in self.processors:
            if services is not None:
                cpu.on_service = services
            if debug_port is not None:
                cpu.on_debug = debug_port

    def close(self) -> None:
        for cpu in self.processors:
            cpu.close()

    @property
    def current(self) -> Processor:
        return self.processors[self.turn]

    # -- what services do ------------------------------------------------------------------

    def set_clock(self, cpu: Processor, due: int) -> None:
        """The processor's next clock interrupt, in 100 ns since power-on; 0: none."""
        cpu.clock_due = due
        if due and due * NS_PER_UNIT < self._slice_end:
            self._yield(cpu.number + 1)

    def send_ipi(self, number: int) -> None:
        """Make vector 0xE1 pending there; that processor runs next. In reset it hears nothing."""
        if self._processor(number).started:
            self.raise_interrupt(number, IPI_VECTOR)
            self._yield(number)

    def raise_interrupt(self, number: int, vector: int) -> None:
        self._processor(number).pending.add(vector)

    def start_processor(self, caller: Processor, number: int, rip: int, rsp: int, rcx: int) -> None:
        """Take a processor out of reset, with the caller's CR0, CR3, CR4 and EFER."""
        cpu = self._processor(number)
        if cpu.started:
            raise TargetError(f"processor {number} is running already")
        cpu.start(
            rip=rip,
            rsp=rsp,
            rcx=rcx,
            cr0=caller.cr0,
            cr3=caller.cr3,
            cr4=caller.cr4,
            efer=caller.efer,
        )

    def power(self, restart: bool) -> None:
        """From a service: end the run for good."""
        cpu = self.current
        self._stop = Stop(Reason.RESTART if restart else Reason.POWER_OFF, cpu.number)
        cpu.stop()

    def _processor(self, number: int) -> Processor:
        if not 0 <= number < len(self.processors):
            raise TargetError(f"there is no processor {number}")
        return self.processors[number]

    def _yield(self, next_turn: int) -> None:
        """From a callback: end the running slice, and go on with processor `next_turn`."""
        self._next_turn = next_turn % len(self.processors)
        self.current.yield_slice()

    # -- what a debug stub does ------------------------------------------------------------

    def break_in(self) -> None:
        """Raise the clock interrupt, in whose handler the kernel looks for a break-in."""
        self.raise_interrupt(self.turn, CLOCK_VECTOR)

    def address_space(self, cr3: int) -> AddressSpace:
        """The address space at `cr3`; writing code through it tells the processors."""
        return AddressSpace(self.ram, cr3, on_code_write=self.forget_code)

    # -- changes from outside --------------------------------------------------------------

    def interrupt(self) -> None:
        """Ask the run to end with Reason.REQUEST; any thread may."""
        self._requested = True
        self._wake.set()

    def flush_tlb(self) -> None:
        """After making page-table entries stricter or pointing them elsewhere."""
        for cpu in self.processors:
            cpu.engine.flush_tlb()

    def flush_code(self) -> None:
        """After writing code through physical addresses."""
        for cpu in self.processors:
            cpu.engine.flush_code()

    def forget_code(self, va: int, size: int) -> None:
        """After writing code at `va`, within a page; the spaces made here call it themselves."""
        for cpu in self.processors:
            cpu.forget_code(va, size)

    def write_physical(self, pa: int, data: bytes) -> None:
        self.ram.write(pa, data)
        self.flush_code()

    # -- running ---------------------------------------------------------------------------

    def run(self, until: int | None = None) -> Stop:
        """Run until something ends it; `until` is a machine time in 100 ns.

        The run ends at the first slice boundary at or after `until`.
        """
        self.clock.resume()
        self._stop = self._next_turn = None
        try:
            while True:
                stop = self._requests(until) or self._step(until)
                if stop is not None:
                    return stop
        except TargetError as error:
            return Stop(Reason.ERROR, self.turn, str(error))
        finally:
            self.clock.executing = None
            self.clock.pause()

    def _requests(self, until: int | None) -> Stop | None:
        if self._requested:
            self._requested = False
            self._wake.clear()
            return Stop(Reason.REQUEST, self.turn)
        if self.poll is not None:
            self._slices += 1
            due = not self.clock.virtual or self._slices % _VIRTUAL_SLICES_PER_POLL == 0
            if due and self.poll(0.0):
                return Stop(Reason.REQUEST, self.turn)
        if until is not None and not self.left and self.clock.now() >= until:
            return Stop(Reason.UNTIL, self.turn)
        return None

    def _step(self, until: int | None) -> Stop | None:
        """One slice of the next processor, or a wait when all are halted."""
        cpu = self._next()
        if cpu is None:
            return self._idle(until)
        exit_ = self._counted_slice(cpu) if self.clock.virtual else self._timed_slice(cpu)
        stop, self._stop = self._stop, None
        if exit_ is Exit.STOPPED and stop is None:
            stop = Stop(Reason.DEBUG, cpu.number)
        # A stopped processor goes on with what is left of its slice, in wall time with a new one:
        # whoever single-steps it does not wait for the others.
        keeps_turn = self.left or (exit_ is Exit.STOPPED and not self.clock.virtual)
        if self._next_turn is not None:
            self.turn, self.left = self._next_turn, 0
            self._next_turn = None
        elif exit_ is Exit.HALTED or not keeps_turn:
            self.turn, self.left = (cpu.number + 1) % len(self.processors), 0
        return stop

    def _counted_slice(self, cpu: Processor) -> Exit:
        now = self.clock.now_ns()
        if not self.left:
            longest = _MASKED_INSTRUCTIONS if cpu.pending else SLICE_INSTRUCTIONS
            until_due = self._until_due(now, longest * NS_PER_INSTRUCTION)
            self.left = -(-until_due // NS_PER_INSTRUCTION)
        self._slice_end = now + self.left * NS_PER_INSTRUCTION
        self.clock.executing = cpu.progress
        try:
            return cpu.run(count=self.left)
        finally:
            self.clock.executing = None
            self.clock.charge(cpu.executed)
            self.left -= min(cpu.executed, self.left)

    def _timed_slice(self, cpu: Processor) -> Exit:
        now = self.clock.now_ns()
        longest = _MASKED_NS if cpu.pending else SLICE_NS
        length = max(self._until_due(now, longest), _SHORTEST_NS)
        self._slice_end = now + length
        return cpu.run(timeout=length // 1000)

    def _until_due(self, now: int, longest: int) -> int:
        """Length of a new slice in ns: it ends where the next clock interrupt is due."""
        due = self._next_due()
        if due is None or due * NS_PER_UNIT <= now:
            return longest
        return min(longest, due * NS_PER_UNIT - now)

    def _next(self) -> Processor | None:
        """The processor to run, starting at `turn`, with its interrupts delivered."""
        if self.left:
            return self.current
        count = len(self.processors)
        now = self.clock.now()
        for step in range(count):
            cpu = self.processors[(self.turn + step) % count]
            if not cpu.started:
                continue
            if cpu.clock_due and now >= cpu.clock_due:
                cpu.clock_due = 0
                cpu.pending.add(CLOCK_VECTOR)
            cpu.accept_interrupt()
            if not cpu.halted:
                self.turn = cpu.number
                return cpu
        return None

    def _next_due(self) -> int | None:
        return min((cpu.clock_due for cpu in self.processors if cpu.clock_due), default=None)

    def _idle(self, until: int | None) -> Stop | None:
        """All halted: skip or wait to the next event."""
        events = [time for time in (self._next_due(), until) if time is not None]
        if self.clock.virtual and events:
            self.clock.skip_to(min(events) * NS_PER_UNIT)
            return None
        if not events and self.poll is None:
            return Stop(Reason.IDLE, self.turn)
        wait = None
        if events:
            wait = max(min(events) * NS_PER_UNIT - self.clock.now_ns(), 0) / 1e9
        if self.poll is not None:
            return Stop(Reason.REQUEST, self.turn) if self.poll(wait) else None
        self._wake.wait(wait)
        self._wake.clear()
        return None

    # -- the whole of it -------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write RAM, processors and clock to a file."""
        saved.save(self, path)

    @classmethod
    def load(
        cls,
        path: Path,
        services: Handler | None = None,
        debug_port: DebugPort | None = None,
        poll: Poll | None = None,
    ) -> Machine:
        """The machine that `save` wrote; FormatError when the file is damaged."""
        image = saved.load(path)
        machine = cls(image.ram, len(image.processors), image.clock, services, debug_port, poll)
        saved.apply(image, machine)
        return machine

    def digest(self) -> str:
        """Hash of RAM, processors and clock: equal for machines that will do the same."""
        return saved.digest(self)
