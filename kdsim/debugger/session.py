"""One attached debugger: the target, its symbols, and what the user is looking at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from kdsim.debugger import kernel, threads, times
from kdsim.debugger.backends.base import (
    Backend,
    Caps,
    Halt,
    TargetVersion,
)
from kdsim.debugger.breakpoints import INT3, Breakpoints
from kdsim.debugger.control import RunControl, SessionEnded
from kdsim.debugger.disassembly import Disassembler
from kdsim.debugger.driver_map import DriverMap
from kdsim.debugger.events import EventFilters, EventLog
from kdsim.debugger.memory import CachedMemory, VirtualMemory
from kdsim.debugger.modules import Modules
from kdsim.debugger.output import Kind, Output
from kdsim.debugger.progress import Progress
from kdsim.debugger.registers import SLOTS, RegisterFile
from kdsim.debugger.scope import Cursor, SavedState, Scope
from kdsim.debugger.settings import Settings
from kdsim.debugger.stack import Frame, walk
from kdsim.errors import (
    ArgumentError,
    CommandSyntaxError,
    KdsimError,
    MemoryFault,
    NotHalted,
    SimBug,
    SymbolError,
    TargetGone,
    UserError,
)
from kdsim.wire.context import Context, SpecialRegisters

if TYPE_CHECKING:
    from kdsim.symbols.space import SymbolSpace
    from kdsim.symbols.views import View

DEFAULT_SYMBOL_PATH = "srv*"

CONTROL_SPACE_SPECIAL = 2
"""Control space selector of KSPECIAL_REGISTERS on AMD64."""

SPECIAL_SIZE_1803 = 0xF0
SPECIAL_SIZE_1709 = 0xE0
BUILD_1803 = 17134


class Runner(Protocol):
    """Executes a command line."""

    def __call__(self, line: str, *, keep_going: bool = False) -> None: ...


class AliasScope(Protocol):
    """Gives names a text for a while."""

    def scoped(self, name: str) -> AbstractContextManager[Callable[[str], None]]:
        """Yields the function that gives `name` its text; it lasts as long as the context."""


class Session:
    """See the module docstring.

    Attributes:
        memory, physical: target memory, cached while it stands still.
        symbols: the modules of the target; listed from the target when first asked for.
        version, facts: of the kernel; set once the target has stopped for the first time.
        event: the last stop; `last_event` is its text for `.lastevent`.
        stopped_by: the same, but for the answers to `~Ns`, which stop nothing.
        code_at_stop: the bytes there as the stop told them, until somebody writes to memory.
        processor, processors: the current one, and how many there are.
        cursor: where listings without an address go on.
        scope: a context chosen by `.thread`, `.cxr`, `.trap`, `.frame` or `.process`.
        runner: executes a command line; the commands package puts itself here.
        evaluate, evaluate_cpp: the value of an expression (C++: whatever the default is); the same.
        aliases: of the command language; the same.
        ask: answers a question of the target or of a command.
        on_reached: called when the target has answered, before its first stop is waited for.
        on_bugcheck: called after kd's bug check banner (`Probably caused by`).
        errors: how many commands reported an error.
        ended: set by `q`, `qq` and `qd`.
        quit_lock: the password without which it is not (`.quit_lock`).
        saved: by `.push`, for `.pop`.
        shell_allowed: until `.noshell`.
        for_target: the commands being run were given by the target.
        events: what happened lately, for `.eventlog`.
        reached: the target has answered once, and is one that can be stopped.
        lost: the last error, when it says that the target does not answer any more.
    """

    aliases: AliasScope

    def __init__(
        self,
        backend: Backend,
        out: Output,
        *,
        symbol_path: str | None = None,
        image_path: str | None = None,
        json: bool = False,
        break_on_load: bool = False,
        verbose: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.backend = backend
        self.out = out
        self.symbol_path = DEFAULT_SYMBOL_PATH if symbol_path is None else symbol_path
        self.image_path = image_path or ""
        self.clock = clock
        self.settings = Settings(json=json)
        self.settings.symbol_noise = verbose
        self.physical = CachedMemory(backend.read_physical, backend.write_physical)
        self.memory = VirtualMemory(backend, self.physical)
        self.memory.live_cr3 = self._live_cr3
        self.memory.on_fault = self._tell_fault
        self.memory.on_write = self.physical.on_write = self.flush_memory
        self.modules = Modules(self)
        self.disassembler = Disassembler(self)
        self.breakpoints = Breakpoints(self)
        self.filters = EventFilters()
        self.events = EventLog()
        self.driver_map = DriverMap(self.report)
        self.control = RunControl(self)
        self.scope = Scope()
        self.cursor = Cursor()
        self.runner: Runner = _no_runner
        self.evaluate: Callable[[str], int] = _no_evaluator
        self.evaluate_cpp: Callable[[str], int] = _no_evaluator
        self.ask: Callable[[str], str] = lambda _prompt: ""
        self.register_lines: Callable[[], list[str]] = list
        self.on_bugcheck: Callable[[Session], None] | None = None
        self.on_reached: Callable[[], None] | None = None
        self.break_on_load = break_on_load
        self.errors = 0
        self.ended: Literal["", "q", "qq", "qd"] = ""
        self.quit_lock = ""
        self.saved: list[SavedState] = []
        self.for_target = False
        self.shell_allowed = True
        self._interrupted = False
        self._progress: Progress | None = None
        self.reached = False
        self.lost: TargetGone | None = None
        self._closed = False
        self._forget_target()

    def _forget_target(self) -> None:
        self.facts: kernel.KernelFacts | None = None
        self.event: Halt | None = None
        self.stopped_by: Halt | None = None
        self.code_at_stop = b""
        self.last_event = ""
        self.last_event_time = ""
        self.previous_ip = 0
        self.halted = False
        self.processor = 0
        self.processors = 1
        self._version: TargetVersion | None = None
        self._break_instruction: int | None = None
        self._registers: dict[int, RegisterFile] = {}

    # -- connecting ------------------------------------------------------------------------------

    @property
    def local(self) -> bool:
        """The target runs while we look at it."""
        return Caps.RUN not in self.backend.caps and Caps.REGISTERS not in self.backend.caps

    @property
    def dump(self) -> bool:
        """The target is a file."""
        return Caps.RUN not in self.backend.caps and Caps.REGISTERS in self.backend.caps

    def prepare(self) -> None:
        """Import what the first stop needs, while a target that was just started boots."""
        self.modules.prepare()
        self.disassembler.prepare()

    def attach(self, *, break_in: bool = False, timeout: float | None = None) -> None:
        """Reach the target, and wait for its first stop where it is one that stops."""
        if not self.settings.json:
            self._attach(break_in, timeout)
            return
        with self.out.capture() as pieces:
            self._attach(break_in, timeout)
        self.out.line(json.dumps({"command": "", "output": "".join(pieces)}))

    def _attach(self, break_in: bool, timeout: float | None) -> None:
        self.backend.connect(timeout)
        if self.local:
            self.connected()
            return
        if self.dump:
            self.control.wait_for_stop()
            return
        self.reached = True
        if self.on_reached is not None:
            self.on_reached()
        self.control.wait_for_stop(break_in=break_in)

    def connected(self) -> None:
        """First contact with a target that stands still (or is read while it runs): the banner."""
        if Caps.PHYSICAL not in self.backend.caps:
            # Pieces of memory instead of pages: a cache line may begin in a hole.
            self.memory.cache.most_lines = 0
        self._version = self.backend.version()
        self.modules.add_kernel()
        if self.local:
            self.processors = kernel.processor_count(self)
        facts = kernel.read_facts(self, self._version, self.processors)
        self.facts = facts
        self.out.fresh_line()
        if not self.dump:
            self.out.line(facts.connected_line(times.from_unix(self.clock())))
        for line in self.backend.banner():
            self.out.line(line)
        self.out.line(f"Symbol search path is: {self.modules.kernel_space.path}")
        self.out.line(f"Executable search path is: {self.image_path}")
        for problem in self.modules.kernel_problems():
            self.out.line(problem)
        for line in (*facts.lines(), *kernel.read_clock(self).lines()):
            self.out.line(line)
        self.breakpoints.resolve_deferred()

    def lose_target(self, reason: str) -> None:
        """The target restarted or went away; everything known of it is stale."""
        if self._version is not None:
            self.out.fresh_line()
            when = times.session_time(times.from_unix(self.clock()))
            self.out.line(f"Shutdown occurred at ({when})...unloading all symbol tables.")
            self.out.line(f"Waiting to reconnect...{f' ({reason})' if reason else ''}")
        self._drop_target()

    def _drop_target(self) -> None:
        self.breakpoints.target_lost()
        self.modules.clear()
        self.scope = Scope()
        self.memory.held = False
        self.flush_memory()
        self.memory.select_process(None)
        self._forget_target()

    def reconnect(self) -> None:
        """`.restart`: what was known of the target is forgotten, and it is asked to report anew."""
        self._write_registers()
        self._drop_target()
        self.backend.restart()
        self.control.wait_for_stop()

    def quit(self, how: Literal["q", "qq", "qd"]) -> None:
        """`q` and `qq` leave the target as it is, `qd` lets it run."""
        if how == "qd" and self.halted and Caps.RUN in self.backend.caps:
            self.control.release()
        elif self.halted:
            self._write_registers()
        self.ended = how
        self.close()

    def close(self) -> None:
        """Let go of the target and of the log file; once is enough, twice does no harm."""
        self.out.close_log()
        if not self._closed:
            self._closed = True
            self.backend.close()

    # -- standing still and running --------------------------------------------------------------

    def halt(self, event: Halt) -> None:
        """The target stopped."""
        self.stopped_by = event
        self.code_at_stop = event.instructions
        self._look_at(event)

    def _look_at(self, event: Halt) -> None:
        self.event = event
        self.processor = event.processor
        self.processors = event.processors
        self.halted = True
        self.cursor.data = self.cursor.code = self.cursor.instruction = None
        self._registers.clear()
        if self._version is None:
            self.connected()

    def before_resume(self) -> None:
        """Write back what was changed and drop what will be stale."""
        self._write_registers()
        self._registers.clear()
        self.modules.let_go()
        self.previous_ip = self.event.pc if self.event else 0
        self.scope = Scope()
        self.memory.select_process(None)
        self.flush_memory()
        self.halted = False

    def code_told(self, va: int, size: int) -> bytes:
        """What the stop itself told of the code there, which saves a step the read; or nothing."""
        stop, code = self.stopped_by, self.code_at_stop[:size]
        whole = stop is not None and stop.pc == va and len(code) == size
        # A breakpoint of ours that the target left in would look like code.
        return code if whole and INT3 not in code and self.memory.tables(va) is None else b""

    def flush_memory(self) -> None:
        self.memory.flush()
        self.physical.flush()
        self.modules.forget_unloaded()
        self.code_at_stop = b""

    def require_execution(self) -> None:
        """Before a command that runs the target."""
        self.require_halted()
        if not self.settings.allow_execution:
            raise UserError("Execution commands are not allowed; .allow_exec_cmds 1 allows them")

    def time_stamp(self) -> str:
        """What `.echotimestamps` puts in front of a line; usually nothing."""
        if not self.settings.time_stamps:
            return ""
        return f"{times.session_time(times.from_unix(self.clock()))}: "

    def require_halted(self) -> None:
        if not self.halted and not self.local and Caps.RUN in self.backend.caps:
            raise NotHalted("The target is running")

    @property
    def running(self) -> bool:
        """The target was reached and runs, so that Ctrl+C means: break in."""
        return self.reached and not self.ended and (not self.halted or self.control.moving)

    def interrupt(self) -> None:
        """Ctrl+C from any thread: break into a running target, end a long listing."""
        if self.running:
            self.control.break_requested = True
        else:
            self._interrupted = True

    def check_interrupt(self) -> None:
        """Long listings call this between lines."""
        if self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt
        if self._progress is not None:
            self._progress.tick()

    @contextmanager
    def progress(self, label: str, total: int = 0) -> Iterator[Progress]:
        """Long work: `advance` tells how far it is, and ends it when the user wants no more."""
        before = self._progress
        self._progress = Progress(label, total, self.out.status, self.check_interrupt)
        try:
            yield self._progress
        finally:
            self._progress = before
            self.out.status("")

    # -- what is where ---------------------------------------------------------------------------

    @property
    def version(self) -> TargetVersion:
        if self._version is None:
            raise NotHalted("The target has not answered yet")
        return self._version

    @property
    def symbols(self) -> SymbolSpace:
        return self.modules.space

    def resolve_nt(self, name: str) -> int:
        """Address of a kernel symbol, without listing the target's modules."""
        return self.modules.kernel_space.resolve(name)

    def nt_view(self, type_name: str, va: int) -> View:
        """A kernel type over target memory, without listing the target's modules."""
        return self.modules.kernel_space.view(f"nt!{type_name}", va)

    @property
    def break_instruction(self) -> int:
        """Address of the `int3` in nt!DbgBreakPointWithStatus; 0 when unknown."""
        if self._break_instruction is None:
            block = kernel.debugger_data(self)
            if block is not None:
                self._break_instruction = int(block.BreakpointWithStatus)
            else:
                try:
                    self._break_instruction = self.resolve_nt("nt!DbgBreakPointWithStatus")
                except SymbolError:
                    self._break_instruction = 0
        return self._break_instruction

    # -- registers -------------------------------------------------------------------------------

    @property
    def registers(self) -> RegisterFile:
        """Of the scope: a chosen context, or the current processor."""
        return self.scope.registers or self.live_registers

    @property
    def live_registers(self) -> RegisterFile:
        """Of the current processor as it stopped."""
        return self.register_file(self.processor)

    def register_file(self, processor: int) -> RegisterFile:
        if processor not in self._registers:
            self.require_halted()
            backend = self.backend
            self._registers[processor] = RegisterFile(
                lambda: Context(backend.read_context(processor)),
                lambda: self.read_special(processor),
            )
        return self._registers[processor]

    def register_names(self) -> list[str]:
        """What completion offers after `@`."""
        return sorted(SLOTS)

    @contextmanager
    def on_processor(self, number: int) -> Iterator[None]:
        """Look at another processor's registers for a while (`1r`, `2k`)."""
        if number >= self.processors:
            raise ArgumentError(f"{number} is not a valid processor number")
        before = self.scope
        self.scope = Scope(registers=self.register_file(number), borrowed=True)
        try:
            yield
        finally:
            self.scope = before

    def _live_cr3(self) -> int:
        if Caps.REGISTERS in self.backend.caps:
            return self.live_registers.special.get("cr3")
        return threads.directory_base(self, self.current_process())

    def read_special(self, processor: int) -> SpecialRegisters:
        old = self._version is not None and self._version.minor < BUILD_1803
        size = SPECIAL_SIZE_1709 if old else SPECIAL_SIZE_1803
        raw = self.backend.read_control_space(processor, CONTROL_SPACE_SPECIAL, size)
        return SpecialRegisters(raw)

    def _write_registers(self) -> None:
        for processor, registers in self._registers.items():
            if registers.context_changed:
                self.backend.write_context(processor, registers.context.raw)
            if registers.special_changed:
                self.backend.write_control_space(
                    processor, CONTROL_SPACE_SPECIAL, registers.special.raw
                )

    @property
    def instruction_pointer(self) -> int:
        """RIP of the scope. The stop itself says it, so a plain stop costs no register read."""
        return self.live_ip if self.scope.registers is None else self.registers["rip"]

    @property
    def live_ip(self) -> int:
        """RIP of the current processor."""
        event = self.event
        known = event is not None and event.processor == self.processor
        if event is not None and known and self.processor not in self._registers:
            return event.pc
        return self.live_registers["rip"]

    def select_processor(self, number: int) -> None:
        """`~Ns`."""
        self._write_registers()
        with self.control.undisturbed():
            self.backend.switch_processor(number)
            self._look_at(self.control.switch_answer())
        self.scope = Scope()
        self.memory.select_process(None)
        # The target reads user addresses by the page tables of this processor from now on.
        self.memory.cache.forget_doubtful()

    # -- processes and threads -------------------------------------------------------------------

    def current_thread(self) -> int:
        """The ETHREAD the user means: `.thread`'s, or the current processor's."""
        if self.scope.thread:
            return self.scope.thread
        return self.processor_thread(self.processor)

    def processor_thread(self, processor: int) -> int:
        """The ETHREAD a processor runs, from its KPRCB (the local debugger asks processor 0)."""
        event = self.event
        if event is not None and event.processor == processor and event.thread:
            return event.thread
        blocks = self.resolve_nt("nt!KiProcessorBlock")
        prcb = self.memory.u64(blocks + 8 * processor)
        return int(self.nt_view("_KPRCB", prcb).CurrentThread)

    def current_process(self) -> int:
        """The EPROCESS the user means: `.process`'s, or the current thread's."""
        if self.scope.process:
            return self.scope.process
        thread = self.nt_view("_KTHREAD", self.processor_thread(self.processor))
        return int(thread.ApcState.Process)

    # -- stack -----------------------------------------------------------------------------------

    def stack(self, registers: RegisterFile | None = None, count: int | None = None) -> list[Frame]:
        """Frames of the scope (or of given registers), innermost first."""
        return walk(self, registers or self.registers, count or self.settings.stack_frames)

    # -- the user --------------------------------------------------------------------------------

    @property
    def prompt(self) -> str:
        """`0: kd> `, `kd> ` or `lkd> `."""
        if self.local:
            return "lkd> "
        if self.processors > 1 and self.settings.echo_processor:
            return f"{self.processor}: kd> "
        return "kd> "

    def execute(self, line: str, *, keep_going: bool = False) -> None:
        """Run a command line; errors are printed and counted.

        An error drops the rest of the line, unless the line is to `keep_going`.
        """
        if self.local:
            self.flush_memory()
        self._guarded(lambda: self.runner(line, keep_going=keep_going))

    def await_stop(self) -> None:
        """Wait for a target that runs; errors are treated as those of a command."""
        self._guarded(self.control.wait_for_stop)

    def _guarded(self, work: Callable[[], None]) -> None:
        self.lost = None
        try:
            with self.progress("Working"):
                work()
        except SessionEnded:
            pass
        except SimBug:
            raise
        except KdsimError as error:
            self.report_error(error)
        except KeyboardInterrupt:
            self.out.fresh_line()
            self.out.line("^C")
        finally:
            # It came too late for what has ended.
            self._interrupted = False

    def _tell_fault(self, fault: MemoryFault) -> None:
        if self.settings.read_failures:
            self.report(str(fault))

    def report(self, line: str) -> None:
        """A line that comes between other output."""
        self.out.fresh_line()
        self.out.line(line)

    def report_error(self, error: KdsimError) -> None:
        """Print an error. A caret points into the line as it stands behind the prompt."""
        self.errors += 1
        if isinstance(error, TargetGone):
            self.lost = error
        self.out.fresh_line()
        text = str(error)
        if self.settings.json:
            self.out.line(json.dumps({"error": text.strip()}))
            return
        if isinstance(error, CommandSyntaxError) and text.lstrip().startswith("^"):
            text = " " * len(self.prompt) + text
        self.out.line(text, Kind.ERROR)


def _no_runner(line: str, *, keep_going: bool = False) -> None:
    raise SimBug("no command engine: call kdsim.debugger.commands.engine.equip(session)")


def _no_evaluator(_expression: str) -> int:
    raise SimBug("no command engine: call kdsim.debugger.commands.engine.equip(session)")
