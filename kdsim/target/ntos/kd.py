"""The KD stub: what the kernel's KdTrap does, between the machine's debug port and the wire.

The machine calls `trapped` when an exception or a debug service reaches the port in ring 0. What
the debugger must see becomes the `stop`; the machine then ends its run, and whoever runs it calls
`hold`, which talks to the debugger until the guest may go on. Whether a debugger is there changes
nothing in the guest: without one an exception waits for the next to come, and prints and module
notices go nowhere. A stop can be told from the processors and RAM alone, so a machine that was
saved at one stands at it again when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto

from kdsim.errors import MemoryFault
from kdsim.target.machine.machine import CLOCK_VECTOR, Machine
from kdsim.target.machine.paging import AddressSpace
from kdsim.target.machine.processor import (
    DEBUG_SERVICE_VECTOR,
    SERVICE_VECTOR,
    Outcome,
    Processor,
)
from kdsim.target.ntos import breakpoints, memory_requests, state_requests
from kdsim.target.ntos.kernel import Kernel
from kdsim.target.ntos.requests import Debuggee, answer
from kdsim.target.ntos.state import ProcessorStates
from kdsim.wire.context import CONTEXT_SIZE, Context, SpecialRegisters
from kdsim.wire.endpoint import Lost
from kdsim.wire.manipulate import (
    NO_REPLY,
    Api,
    Continue2Arguments,
    ContinueArguments,
    Manipulate,
    Status,
)
from kdsim.wire.messages import (
    INSTRUCTION_BYTES,
    AnyStateChange,
    CommandStringChange,
    ControlReport,
    ExceptionChange,
    GetString,
    LoadSymbolsChange,
    ReportFlag,
)
from kdsim.wire.target_connection import Request, TargetConnection

HANDLERS = (breakpoints, memory_requests, state_requests)
"""The modules whose import fills the request table."""

STATUS_BREAKPOINT = 0x8000_0003
STATUS_SINGLE_STEP = 0x8000_0004
STATUS_WAKE_SYSTEM_DEBUGGER = 0x8000_0007
"""What a processor reports that the debugger switched to and that did not trap itself."""
MANUALLY_INITIATED_CRASH = 0xE2
_FIRST_FAILURE = 0x8000_0000
"""Statuses of a continue from here on mean that the debugger did not handle the exception."""

DEBUG_VECTOR, BREAKPOINT_VECTOR = 1, 3
KERNEL_CODE = 0x10
_TRACE_FLAG = 0x100
_MAX_TEXT = 4096


class DebugService(int, Enum):
    """EAX at `int 2Dh`: BREAKPOINT_PRINT and so on in ReactOS sdk/include/ndk/rtltypes.h."""

    PRINT = 1
    PROMPT = 2
    LOAD_SYMBOLS = 3
    UNLOAD_SYMBOLS = 4
    COMMAND_STRING = 5


class After(Enum):
    """What continuing does to the processor that stopped."""

    RESUME = auto()
    """Load its registers."""
    SKIP = auto()
    """A debug service: go on behind its int 3, unless the debugger moved RIP."""
    WRITE_BACK = auto()
    """A reported exception: its registers are a CONTEXT in memory, and RAX tells the outcome."""


class PowerRequest(Enum):
    NONE = auto()
    RESTART = auto()


@dataclass(slots=True)
class Stop:
    """Why the machine stands still. `change` lacks what every report fills in anew."""

    processor: int
    change: AnyStateChange
    after: After = After.RESUME
    context_va: int = 0
    prompt: tuple[bytes, int, int] | None = None


class DebugStub:
    """See the module docstring.

    Args:
        machine: the machine it stops.
        kernel: its kernel.
        memory: the kernel's address space.
        connection: the way to the debugger.
        console: takes one line for the machine's console.
    """

    def __init__(
        self,
        machine: Machine,
        kernel: Kernel,
        memory: AddressSpace,
        connection: TargetConnection,
        console: Callable[[str], None],
    ) -> None:
        self._machine = machine
        self._kernel = kernel
        self._memory = memory
        self._connection = connection
        self._console = console
        self._states: ProcessorStates | None = None
        self.stop: Stop | None = None
        self.power = PowerRequest.NONE
        self._recall()

    # -- the machine's side ------------------------------------------------------------------

    def trapped(self, processor: Processor, vector: int) -> Outcome:
        """Vectors 1, 3 and 2Dh of ring 0, RIP behind the instruction; 81h reports an exception."""
        if not self._kernel.read("KdDebuggerEnabled", 1) or not self._kernel.started:
            return Outcome.DECLINED
        if vector == BREAKPOINT_VECTOR:
            processor.rip -= 1
        elif vector == DEBUG_VECTOR:
            processor.rflags &= ~_TRACE_FLAG
        elif vector == DEBUG_SERVICE_VECTOR:
            return self._debug_service(processor)
        self._halt(processor, vector)
        return Outcome.STOP

    def _debug_service(self, processor: Processor) -> Outcome:
        service = processor.rax & 0xFFFF_FFFF
        if service == DebugService.PRINT:
            self._print(processor)
        elif service in tuple(DebugService):
            self._halt(processor, DEBUG_SERVICE_VECTOR)
            if self._connection.present or service == DebugService.PROMPT:
                return Outcome.STOP
            # A notice: without a debugger go on, with the same bytes in RAM.
            self._go(None)
            return Outcome.HANDLED
        processor.rip += 1
        return Outcome.HANDLED

    def _halt(self, processor: Processor, vector: int) -> None:
        processor.trap = vector
        self.stop = self._stop_at(processor, vector)
        self._states = ProcessorStates(self._machine, self._kernel)
        self._states.save()
        self._states.look_at(processor.number)
        if self.stop.after is After.WRITE_BACK:
            raw = self._memory.read(self.stop.context_va, CONTEXT_SIZE)
            self._states.show(processor.number, Context(raw))

    def _recall(self) -> None:
        """A loaded machine may stand at a trap; the processors' saved registers lie in RAM."""
        for processor in self._machine.processors:
            if processor.trap is not None:
                self.stop = self._stop_at(processor, processor.trap)
                self._states = ProcessorStates(self._machine, self._kernel)
                current = self._states.looked_at()
                self._states.look_at(processor.number if current is None else current)

    def _stop_at(self, processor: Processor, vector: int) -> Stop:
        """The stop of a processor that stands at a trap, from its registers and RAM."""
        number = processor.number
        if vector == BREAKPOINT_VECTOR:
            return Stop(number, self._exception(processor, STATUS_BREAKPOINT, (0,)))
        if vector == DEBUG_VECTOR:
            return Stop(number, self._exception(processor, STATUS_SINGLE_STEP))
        if vector == SERVICE_VECTOR:
            return Stop(number, self._dispatched(processor), After.WRITE_BACK, processor.rdx)
        service = processor.rax & 0xFFFF_FFFF
        if service == DebugService.PROMPT:
            text = self._text(processor.rcx, processor.rdx & 0xFFFF)
            question = self._exception(processor, STATUS_BREAKPOINT)
            prompt = (text, processor.r8, processor.r9 & 0xFFFF)
            return Stop(number, question, After.SKIP, prompt=prompt)
        if service == DebugService.COMMAND_STRING:
            name, command = (self._counted(va) for va in (processor.rcx, processor.rdx))
            change = CommandStringChange(number, 0, 0, 0, name=name, command=command)
            return Stop(number, change, After.SKIP)
        notice = self._module_notice(processor, service == DebugService.UNLOAD_SYMBOLS)
        return Stop(number, notice, After.SKIP)

    def _exception(
        self, processor: Processor, code: int, parameters: tuple[int, ...] = ()
    ) -> ExceptionChange:
        return ExceptionChange(
            processor.number, 0, 0, 0, code=code, address=processor.rip, parameters=parameters
        )

    def _dispatched(self, processor: Processor) -> ExceptionChange:
        """What ServiceReportException shows: EXCEPTION_RECORD in RCX, first chance in R8."""
        record = self._kernel.view("_EXCEPTION_RECORD", processor.rcx)
        count = min(record.NumberParameters, 15)
        return replace(
            self._exception(
                processor,
                record.ExceptionCode & 0xFFFF_FFFF,
                tuple(record.ExceptionInformation[index] for index in range(count)),
            ),
            flags=record.ExceptionFlags,
            record=record.ExceptionRecord,
            address=record.ExceptionAddress,
            first_chance=bool(processor.r8),
        )

    def _print(self, processor: Processor) -> None:
        text = self._text(processor.rcx, processor.rdx & 0xFFFF)
        self._connection.print(text, processor.number, self._level(processor.number))
        processor.rax = 0

    def _module_notice(self, processor: Processor, unload: bool) -> LoadSymbolsChange:
        info = self._kernel.view("_KD_SYMBOLS_INFO", processor.rdx)
        return LoadSymbolsChange(
            processor.number,
            0,
            0,
            0,
            base=info.BaseOfDll,
            process_id=info.ProcessId,
            checksum=info.CheckSum,
            size=info.SizeOfImage,
            unload=unload,
            path=self._counted(processor.rcx),
        )

    def _counted(self, va: int) -> str:
        """Text of a STRING; empty for none."""
        if not va:
            return ""
        string = self._kernel.view("_STRING", va)
        return self._text(string.Buffer, string.Length).decode("latin-1")

    def _text(self, va: int, length: int) -> bytes:
        return self._memory.read_prefix(va, min(length, _MAX_TEXT))

    # -- the debugger's side -----------------------------------------------------------------

    def break_in(self) -> None:
        """Stop soon: the kernel's next clock interrupt breaks in."""
        if self.stop is None:
            self._kernel.write("KdpBreakInRequested", 1, 1)
            # On all of them: one may stand in a loop with its interrupts off.
            for processor in self._machine.processors:
                if processor.started:
                    self._machine.raise_interrupt(processor.number, CLOCK_VECTOR)

    def hold(self) -> None:
        """Talk to the debugger until the guest may go on. Blocks.

        Sleeps in the connection; what the connection watches is served meanwhile.
        """
        stop, states = self.stop, self._states
        assert stop is not None
        assert states is not None
        if not self._connection.present:
            self._complain(stop)
        if stop.prompt is not None:
            self._ask(stop)
            return
        self._report(stop, states)
        while self.stop is not None:
            event = self._connection.wait()
            if isinstance(event, Request):
                self._serve(event.message)
            elif isinstance(event, Lost):
                if not isinstance(stop.change, ExceptionChange):
                    self._go(None)
            elif event is not None:
                self._report(stop, states)

    def _serve(self, request: Manipulate) -> None:
        assert self._states is not None
        control = _RUN_CONTROL.get(request.api)
        if control is not None:
            control(self, request)
            return
        try:
            reply = answer(self._debuggee(self._states), request)
        except MemoryFault:
            # The debugger wrote over what holds the processors' states, or over the page tables.
            reply = request.reply(Status.UNSUCCESSFUL)
        if request.api not in NO_REPLY:
            self._connection.reply(reply)

    def _debuggee(self, states: ProcessorStates) -> Debuggee:
        # As in Windows: user addresses are those of the processor the debugger looks at.
        cr3 = SpecialRegisters(states.special(states.current)).get("cr3")
        return Debuggee(
            self._machine,
            self._kernel,
            self._machine.address_space(cr3),
            self._connection.data_limit,
            states,
        )

    def _report(self, stop: Stop, states: ProcessorStates) -> None:
        """Send the state change, with everything that may have changed since it was made."""
        number = states.current
        context = Context(states.context(number))
        special = SpecialRegisters(states.special(number))
        change = stop.change
        if number != stop.processor:
            change = ExceptionChange(
                number, 0, 0, 0, code=STATUS_WAKE_SYSTEM_DEBUGGER, address=context.get("rip")
            )
        pc = context.get("rip")
        breakpoints.BreakpointTable(self._kernel, self._memory).remove_range(pc, INSTRUCTION_BYTES)
        report = ControlReport(
            dr6=special.get("dr6"),
            dr7=special.get("dr7"),
            eflags=context.get("eflags"),
            flags=ReportFlag.SEGMENTS
            | (ReportFlag.STANDARD_CS if context.get("cs") == KERNEL_CODE else 0),
            instructions=self._memory.read_prefix(pc, INSTRUCTION_BYTES),
            cs=context.get("cs"),
            ds=context.get("ds"),
            es=context.get("es"),
            fs=context.get("fs"),
        )
        self._connection.report(
            replace(
                change,
                processor=number,
                processors=len(states),
                thread=states.prcbs[number].CurrentThread,
                pc=pc,
                level=self._level(number),
                report=report,
            )
        )

    def _level(self, number: int) -> int:
        prcb = next((p for p in self._kernel.processors() if p.Number == number), None)
        return prcb.CpuType if prcb is not None else 0

    def _ask(self, stop: Stop) -> None:
        """DbgPrompt: wait for the answer; without a debugger it is empty."""
        assert stop.prompt is not None
        text, buffer, room = stop.prompt
        question = GetString(text, room, stop.processor, self._level(stop.processor))
        reply = self._connection.prompt(question) or b""
        processor = self._machine.processors[stop.processor]
        try:
            self._memory.write(buffer, reply[:room])
            processor.rax = len(reply[:room])
        except MemoryFault:
            processor.rax = 0
        self._go(None)

    def _complain(self, stop: Stop) -> None:
        """One line on a console nobody debugs; breakpoints are none of its business."""
        values = [
            self._memory.read_u64(self._kernel.address("KiBugCheckData") + 8 * index)
            for index in range(5)
        ]
        if values[0]:
            shown = ", ".join(f"{value:016x}" for value in values[1:])
            self._console(f"bug check {values[0]:08X} ({shown}), waiting for a debugger")
        elif stop.after is After.WRITE_BACK and isinstance(stop.change, ExceptionChange):
            where = f"{stop.change.code:08x} at {stop.change.address:016x}"
            self._console(f"exception {where}, waiting for a debugger")

    # -- going on ------------------------------------------------------------------------------

    def _continue(self, request: Manipulate) -> None:
        self._go(request.arguments(ContinueArguments).status)

    def _continue2(self, request: Manipulate) -> None:
        wanted = request.arguments(Continue2Arguments)
        assert self._states is not None
        if wanted.status < _FIRST_FAILURE:
            self._states.set_trace(bool(wanted.trace))
            self._states.set_dr7(wanted.dr7)
        self._go(wanted.status)

    def _switch_processor(self, request: Manipulate) -> None:
        assert self.stop is not None
        assert self._states is not None
        if request.processor in self._states:
            self._states.look_at(request.processor)
        # Only a new report makes the debugger ask again, not one that is repeated.
        self._states.context_sent = False
        self._report(self.stop, self._states)

    def _reboot(self, request: Manipulate) -> None:
        self.power = PowerRequest.RESTART
        self.stop = self._states = None

    def _bug_check(self, request: Manipulate) -> None:
        """Enter nt!KdpCauseBugCheck as an interrupt would: on top of whatever was interrupted."""
        states = self._states
        assert states is not None
        context = Context(states.context(states.current))
        frame = [context.get(name) for name in ("rip", "cs", "eflags", "rsp", "ss")]
        rsp = (context.get("rsp") & ~0xF) - 8 * len(frame)
        raw = b"".join(value.to_bytes(8, "little") for value in frame)
        with suppress(MemoryFault):
            # Without a stack there is nothing to go back to; the guest finds that out itself.
            self._memory.write(rsp, raw)
        context.set("rsp", rsp)
        context.set("rip", self._kernel.address("KdpCauseBugCheck"))
        context.set("rcx", MANUALLY_INITIATED_CRASH)
        states.set_context(states.current, context.raw)
        self._go(None)

    def _go(self, status: int | None) -> None:
        """Load what changed and let the guest run; `status` is the debugger's verdict."""
        stop, states = self.stop, self._states
        assert stop is not None
        assert states is not None
        processor = self._machine.processors[stop.processor]
        handled = status is None or status < _FIRST_FAILURE
        old_rip, trap, processor.trap = processor.rip, processor.trap, None
        self.stop = self._states = None
        if stop.after is After.WRITE_BACK:
            self._memory.write(stop.context_va, states.context(stop.processor))
            states.load(skip=stop.processor)
            processor.rax = int(handled)
            return
        states.load()
        if stop.after is After.SKIP:
            if processor.rip == old_rip:
                processor.rip += 1
        elif not handled and trap is not None:
            if trap == BREAKPOINT_VECTOR and processor.rip != old_rip + 1:
                processor.rip += 1  # the handler looks for the int 3 in front of it
            processor.inject(trap)


_RUN_CONTROL: dict[int, Callable[[DebugStub, Manipulate], None]] = {
    Api.CONTINUE: DebugStub._continue,
    Api.CONTINUE2: DebugStub._continue2,
    Api.SWITCH_PROCESSOR: DebugStub._switch_processor,
    Api.REBOOT: DebugStub._reboot,
    Api.CAUSE_BUGCHECK: DebugStub._bug_check,
}
