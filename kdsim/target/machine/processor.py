"""One virtual processor: the engine, and what the engine leaves to its user.

That is: delivery through the IDT, page-fault error codes, CR8, `rdtsc`, `syscall`, `hlt`, the
debug registers, and the dispatch of `int n`: 0x81 to the machine's services, 1, 3 and 0x2D to the
debug port, the rest to the IDT.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from kdsim.errors import MemoryFault, TargetError
from kdsim.target.machine import delivery, layout
from kdsim.target.machine.engine import (
    INSTRUCTION_RDTSC,
    INSTRUCTION_RDTSCP,
    INSTRUCTION_SYSCALL,
    Engine,
)
from kdsim.target.machine.paging import AddressSpace
from kdsim.target.machine.ram import PhysicalMemory
from kdsim.target.machine.registers import (
    CODE_RING0,
    DATA_RING0,
    FLAG_RF,
    FLAG_TF,
    Registers,
    Segment,
)
from kdsim.target.machine.watch import DR6_MATCHES, DR6_STEP, DebugRegisters

SERVICE_VECTOR = 0x81
DEBUG_SERVICE_VECTOR = 0x2D
_DEBUG_VECTORS = frozenset((delivery.DEBUG, delivery.BREAKPOINT, DEBUG_SERVICE_VECTOR))

_HFLAGS, _FLAGS = layout.HFLAGS >> 2, layout.FLAGS_PARTS >> 2
_IS_SOFTWARE = layout.IS_SOFTWARE >> 2
_NO_EXCEPTION = 0xFFFF_FFFF
_EFER_SCE = 1
_INT_LENGTH = 2

CR0 = 0x8005_0033
"""PE MP ET NE WP AM PG, as Windows runs."""
CR4 = 0x10_06F8
"""DE PSE PAE MCE PGE OSFXSR OSXMMEXCPT SMEP."""
EFER = 0xD01
"""SCE LME LMA NXE."""


class Outcome(Enum):
    """What a service, debug port or fault handler did with a trap."""

    DECLINED = auto()
    """Nothing: deliver it through the IDT."""
    HANDLED = auto()
    """Go on with the processor's registers as they are now."""
    STOP = auto()
    """Handled, and the run is to end here."""


class Exit(Enum):
    """Why `Processor.run` returned."""

    SLICE = auto()
    """The count or the time is used up."""
    HALTED = auto()
    """`hlt` parked the processor."""
    STOPPED = auto()
    """A callback's outcome was STOP."""
    YIELDED = auto()
    """A callback called `yield_slice`."""


def _no_handler(_processor: Processor, *_details: int) -> Outcome:
    return Outcome.DECLINED


class Processor(Registers):
    """Processor `number` over `ram`. Registers are attributes (`rax`, `cr8`, `rflags` ...).

    In a callback they show the state right after the trapping instruction, or at the faulting one,
    and writing them takes effect when the callback returns.

    Attributes:
        space: the current page tables, for reads and writes by virtual address.
        on_service: called for `int 0x81` in ring 0.
        on_debug: called with the vector for 1, 3 and 0x2D in ring 0.
        on_fault: called with (address, error code) before a page fault is delivered.
        now: machine time in ns, for `rdtsc`.
        pending: interrupt vectors waiting for delivery.
        halted: parked by `hlt` until an interrupt.
        started: out of reset.
        clock_due: when its clock interrupts next, in 100 ns; 0: never.
        executed: instructions of the last counted run.
        trap: the vector of the trap at which the debug port's owner holds it; None: it is free.
    """

    def __init__(self, number: int, ram: PhysicalMemory) -> None:
        super().__init__(Engine(ram.pointer, ram.size))
        self.number = number
        self.ram = ram
        self.on_service: Callable[[Processor], Outcome] = _no_handler
        self.on_debug: Callable[[Processor, int], Outcome] = _no_handler
        self.on_fault: Callable[[Processor, int, int], Outcome] | None = None
        self.now: Callable[[], int] = lambda: 0
        self.pending: set[int] = set()
        self.halted = False
        self.started = False
        self.clock_due = 0
        self.executed = 0
        self.trap: int | None = None
        self.watch = DebugRegisters(self)
        self._space = AddressSpace(ram, 0)
        self._stopped = False
        self._yielded = False
        self._interrupted = False
        self._bus_error: int | None = None
        engine = self.engine
        engine.hook_interrupts(self._on_interrupt)
        engine.hook_invalid(self._on_invalid)
        engine.hook_unmapped(self._on_unmapped)
        engine.hook_instruction(INSTRUCTION_RDTSC, self._on_rdtsc)
        engine.hook_instruction(INSTRUCTION_RDTSCP, self._on_rdtscp)
        engine.hook_instruction(INSTRUCTION_SYSCALL, self._on_syscall)

    def __repr__(self) -> str:
        return f"<Processor {self.number} rip={self.rip:#x} cpl={self.cpl}>"

    @property
    def space(self) -> AddressSpace:
        self._space.cr3 = self.cr3
        return self._space

    def close(self) -> None:
        self.engine.close()

    # -- setting up ------------------------------------------------------------------------

    def start(
        self,
        *,
        rip: int,
        rsp: int,
        cr3: int,
        rcx: int = 0,
        cr4: int = CR4,
        efer: int = EFER,
        cr0: int = CR0,
    ) -> None:
        """Leave reset: ring 0 in long mode with flat segments, interrupts off, at `rip`."""
        self.set_long_mode(cr3=cr3, cr4=cr4, efer=efer, cr0=cr0)
        self.rip, self.rsp, self.rcx = rip, rsp, rcx
        self.started, self.halted = True, False

    def set_gdt(self, base: int, limit: int) -> None:
        self.gdt_base, self.gdt_limit = base, limit

    def set_idt(self, base: int, limit: int) -> None:
        self.idt_base, self.idt_limit = base, limit

    def load_tr(self, selector: int) -> None:
        """Load TR from the 64-bit TSS descriptor of the current GDT, as `ltr` does."""
        raw = self.space.read(self.gdt_base + (selector & ~7), 16)
        low = int.from_bytes(raw[:8], "little")
        base = low >> 16 & 0xFF_FFFF | low >> 56 << 24 | int.from_bytes(raw[8:12], "little") << 32
        limit = low & 0xFFFF | low >> 32 & 0xF_0000
        attributes = low >> 32 & 0xF0_FF00 | 0x200  # busy
        self.set_segment("tr", Segment(selector, base, limit, attributes))

    def forget_code(self, va: int, size: int) -> None:
        """Drop what was translated from `va`, within one page, after its bytes were changed."""
        if not self.started:
            return
        try:
            kernel_code = va >> 63 and self.space.translate(va).executable
        except MemoryFault:
            kernel_code = False
        if not kernel_code:
            self.engine.flush_code()
            return
        # The engine looks the page up by fetching from it: in ring 0, and what the fetch leaves
        # behind (CR2, an exception in flight) is undone when the blob goes back.
        hflags = self._hflags
        self._hflags = hflags & ~layout.HFLAGS_CPL
        self.engine.restore()
        self.engine.forget_code(va, size)
        self._hflags = hflags

    # -- running ---------------------------------------------------------------------------

    def run(self, count: int = 0, timeout: int = 0) -> Exit:
        """Run for `count` instructions or, with count 0, for `timeout` microseconds.

        `executed` then holds the number of instructions; after a timed run it means nothing.
        """
        self._stopped = self._yielded = False
        self.executed = 0
        while True:
            self.watch.arm()
            left = count - self.executed if count else self.watch.instructions(timeout)
            status = self._start(left, 0 if left else timeout)
            if status or self._bus_error is not None:
                raise self._failure(status)
            if left:
                self.executed += self.engine.executed
            again = self._interrupted or bool(self.watch.hit)
            if self.watch.hit:
                self._report_watch()
            self._interrupted = False
            if self._stopped:
                return Exit.STOPPED
            if self._yielded:
                return Exit.YIELDED
            if not again:
                return self._ended(bool(left))
            if count and self.executed >= count:
                return Exit.SLICE

    def _ended(self, counted: bool) -> Exit:
        """A run that nobody stopped: used up, or else it met `hlt`."""
        if self.engine.used_up if counted else self.engine.timed_out():
            return Exit.SLICE
        self.halted = True
        return Exit.HALTED

    def progress(self) -> int:
        """From a callback of a counted run: instructions so far, the trapping one included."""
        return self.executed + self.engine.executed

    def stop(self) -> None:
        """From a callback: end the run once the callback returned."""
        self._stopped = True
        self.engine.stop()

    def yield_slice(self) -> None:
        """From a callback: end the run behind this instruction, for another processor's sake."""
        self._yielded = True
        self.engine.stop()

    def _start(self, count: int, timeout: int) -> int:
        rip = self.rip
        self._pass_breakpoint()
        self._put_back()
        try:
            return self.engine.start(rip, timeout, count)
        finally:
            self._loaded = False

    def _failure(self, status: int) -> TargetError:
        if self._bus_error is not None:
            address, self._bus_error = self._bus_error, None
            return TargetError(
                f"bus error: processor {self.number} used physical address {address:#x}, "
                f"and RAM ends at {self.ram.size:#x} (RIP {self.rip:#x})"
            )
        text = self.engine.error_text(status)
        return TargetError(f"processor {self.number} stopped at {self.rip:#x}: {text}")

    def _report_watch(self) -> None:
        """A debug register matched and ended the run: raise #DB."""
        if self.watch.hit & self.watch.execute_bits:
            self.executed = max(self.executed - 1, 0)  # counted, and stopped before it executed
            self.watch.passing = self.rip
        self._take_matches()
        self._raise(delivery.DEBUG)

    def _take_matches(self) -> None:
        self.dr6 = self.dr6 & ~DR6_MATCHES | self.watch.hit
        self.watch.hit = 0

    def _pass_breakpoint(self) -> None:
        """Leaving an execute breakpoint that was reported: RF keeps it from matching again."""
        if self.watch.passing is not None:
            if self.rip == self.watch.passing:
                self._flag_parts |= FLAG_RF
            self.watch.passing = None

    # -- interrupts and exceptions ---------------------------------------------------------

    def accept_interrupt(self) -> bool:
        """Deliver the highest pending vector if IF, CR8 and the STI shadow allow it now."""
        if not self.pending or not self.interruptible:
            return False
        vector = max(self.pending)
        if vector >> 4 <= self.cr8:
            return False
        self.pending.discard(vector)
        self.halted = False
        self._pass_breakpoint()
        delivery.deliver(self, self.space, vector)
        return True

    def inject(self, vector: int, error_code: int | None = None) -> None:
        """Enter the handler of `vector` now, whatever the flags say."""
        self._pass_breakpoint()
        delivery.deliver(self, self.space, vector, error_code)

    def _raise(self, vector: int, error_code: int | None = None) -> None:
        """An exception of the processor's own: the debug port first, then the IDT."""
        if vector not in _DEBUG_VECTORS or not self._offer_debug(vector):
            delivery.deliver(self, self.space, vector, error_code)

    def _on_interrupt(self, vector: int) -> None:
        self._save()
        self._loaded = True
        try:
            if vector == SERVICE_VECTOR and self._is_plain_service():
                outcome = self.on_service(self)
                if outcome is not Outcome.HANDLED and not self._finish(outcome):
                    self._deliver_software(vector)
            else:
                self._dispatch(vector)
        finally:
            if self._dirty:
                self._restore()
                self._dirty = False
            self._loaded = False

    def _is_plain_service(self) -> bool:
        """`int 0x81` in ring 0 with neither TF nor RF: nothing but the service to see to."""
        words = self._words
        return not (
            words[_HFLAGS] & layout.HFLAGS_CPL
            or words[_FLAGS] & (FLAG_TF | FLAG_RF)
            or not words[_IS_SOFTWARE]
        )

    def _dispatch(self, vector: int) -> None:
        software = bool(self._is_software)
        if not software:
            # Left set, the engine turns the next fault into a double one, the third into a halt.
            self._in_flight = _NO_EXCEPTION
        if self._flag_parts & FLAG_RF:
            self._flag_parts &= ~FLAG_RF
        if not software:
            self._exception(vector)
        elif vector == SERVICE_VECTOR:
            self._service()
        elif vector not in _DEBUG_VECTORS or not self._offer_debug(vector):
            self._deliver_software(vector)

    def _exception(self, vector: int) -> None:
        error_code = self._error_code
        if self.watch.hit:
            if vector == delivery.DEBUG:
                self._take_matches()  # a step onto a data breakpoint: one trap for both
            self.watch.hit = 0  # after a fault the instruction is executed again
        if (
            vector == delivery.PAGE_FAULT
            and self.on_fault is not None
            and self._finish(self.on_fault(self, self.cr2, error_code))
        ):
            return
        if vector == delivery.DEBUG and not self._flag_parts & FLAG_TF:
            self.watch.passing = self.rip  # a breakpoint the engine armed: `mov dr7` in the guest
        self._raise(vector, error_code)
        if not self._stopped:
            self._pass_breakpoint()

    def _service(self) -> None:
        if self.cpl:
            self.rip -= _INT_LENGTH
            self._raise(delivery.GENERAL_PROTECTION, SERVICE_VECTOR << 3 | 2)
            return
        stepped = self._flag_parts & FLAG_TF
        if not self._finish(self.on_service(self)):
            self._deliver_software(SERVICE_VECTOR)
        elif stepped and not self._stopped:
            # A service is one instruction to whoever steps over it.
            self.dr6 |= DR6_STEP
            self._raise(delivery.DEBUG)

    def _offer_debug(self, vector: int) -> bool:
        """Show a debug trap of ring 0 to the debug port; False when it is not interested."""
        if self.cpl or not self._finish(self.on_debug(self, vector)):
            return False
        if self.watch.changed():
            self._interrupted = True
            self.engine.stop()
        return True

    def _finish(self, outcome: Outcome) -> bool:
        if outcome is Outcome.STOP:
            self.stop()
        return outcome is not Outcome.DECLINED

    def _deliver_software(self, vector: int) -> None:
        short = vector == delivery.BREAKPOINT and self.space.read(self.rip - 1, 1) == b"\xcc"
        length = 1 if short else _INT_LENGTH
        delivery.deliver(self, self.space, vector, software=length)

    def _on_invalid(self) -> None:
        try:
            self._raise(delivery.INVALID_OPCODE)
        finally:
            self._put_back()

    def _on_unmapped(self, address: int, _size: int) -> None:
        self._bus_error = address

    # -- instructions the engine leaves to us ----------------------------------------------

    def _on_rdtsc(self) -> None:
        ticks = self.now()
        self.rax, self.rdx = ticks & 0xFFFF_FFFF, ticks >> 32 & 0xFFFF_FFFF
        self._put_back()

    def _on_rdtscp(self) -> None:
        self.rcx = self.tsc_aux & 0xFFFF_FFFF
        self._on_rdtsc()

    def _on_syscall(self) -> None:
        if self.efer & _EFER_SCE:
            self.rcx, self.r11 = self.rip + 2, self.rflags & ~FLAG_RF
            self.rflags = self.r11 & ~self.sfmask | 2
            selector = self.star >> 32 & 0xFFFC
            self.set_segment("cs", Segment(selector, attributes=CODE_RING0))
            self.set_segment("ss", Segment(selector + 8, attributes=DATA_RING0))
            self.rip = self.lstar
        else:
            self._raise(delivery.INVALID_OPCODE)
        self.rip -= 2  # the engine adds the instruction's length afterwards
        self._put_back()
