"""Run control: resume the target, wait for it, decide what a stop means, step.

A *motion* is a function that runs the target once (go, step, until return ...) and answers with a
`Stop`. `RunControl.drive` performs a motion, reports the stop, and follows with the next motion
when a breakpoint's command string asks for one; so a breakpoint that continues by itself a million
times needs no stack.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from kdsim.debugger import events
from kdsim.debugger.backends.base import (
    CONTINUE,
    CONTINUE_HANDLED,
    CONTINUE_NOT_HANDLED,
    CommandEvent,
    Event,
    Halt,
    ModuleEvent,
    PrintEvent,
    PromptEvent,
    Reconnected,
    Resume,
    StopEvent,
    UnknownEvent,
)
from kdsim.debugger.breakpoints import DR7_QUIET, INT3, Breakpoint
from kdsim.debugger.output import Kind
from kdsim.debugger.progress import DELAY
from kdsim.debugger.report import Stop, StopReporter
from kdsim.errors import KdsimError, NotHalted, TargetError
from kdsim.symbols.wildcard import matches

if TYPE_CHECKING:
    from kdsim.debugger.session import Session

POLL = 0.1
"""Seconds between looks at the break-in flag while the target runs."""

EFLAGS_RESUME = 0x10000
"""RF: the next instruction runs whatever execution breakpoint is set on it."""

PATIENCE = 3
"""Ctrl+C this often without an answer gives the prompt back."""

Motion = Callable[[], Stop]


class CommandStringEnded(Exception):
    """A breakpoint's command string asked the target to run; the rest of the string is dropped."""


class SessionEnded(Exception):
    """`q` was given, perhaps in a breakpoint's command string; nothing after it is run."""


class RunControl:
    """One per session.

    Attributes:
        moving: a motion is under way.
        break_requested: somebody asked for a stop; `backend.break_in` is still to be called.
        stopped_by_output: the break-in was ours, because `sxe out` asked for it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._reporter = StopReporter(session)
        self._next: Motion | None = None
        self._reporting = False
        self._motion: Motion | None = None
        self._unfinished: Motion | None = None
        self._counting = False
        # What the next resumption says, whatever the motion would say.
        self._status: int | None = None
        self._module_stops = False
        self._command_string = ""
        self._aimed_commands = ""
        self.moving = False
        self.break_requested = False
        self._breaking_in = False
        self.stopped_by_output = False

    def drive(self, motion: Motion, *, counting: bool = False, commands: str = "") -> None:
        """Perform a motion, report where it ended, and whatever motion that leads to.

        Args:
            motion: what to do.
            counting: the motion is a `g`, so breakpoints count passes.
            commands: to run when a step has ended as it should, before its place is shown.
        """
        if self._reporting:
            self._next, self._counting = motion, counting
            raise CommandStringEnded
        self.stopped_by_output, self._status = False, None
        try:
            self._drive(motion, counting, commands)
        finally:
            self.break_requested = self._breaking_in = False
            self._aimed_commands = ""
            self._session.breakpoints.clear_temporary()

    def _drive(self, motion: Motion, counting: bool, commands: str) -> None:
        following: Motion | None = motion
        while following is not None:
            self._motion, self._counting = following, counting
            with self.undisturbed():
                stop = following()
            following = self._report(stop, commands)
            counting, commands = self._counting, ""
            if following is not None and self.break_wanted:
                self._reporter.location()
                return

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Ctrl+C within the block is a wish to stop soon, and tears nothing apart.

        What is planted in the target has to be noted, and what is noted taken out again.
        """
        before, self.moving = self.moving, True
        try:
            yield
        finally:
            self.moving = before

    @property
    def break_wanted(self) -> bool:
        """The user pressed Ctrl+C since the target was last set going.

        A break-in that meets another stop on its way is lost; then that stop has to do.
        """
        return self.break_requested or self._breaking_in

    def repeat(self) -> None:
        """`gc`: go on in the way the breakpoint was reached."""
        if self._motion is None:
            raise NotHalted("The target has not run yet")
        self.drive(self._motion, counting=self._counting)

    def wait_for_stop(self, *, break_in: bool = False) -> None:
        """Wait without resuming first: the target runs already, unless it is asked to stop."""
        if break_in:
            self._break_in()
        waits = [lambda: self._classify(self._wait(), traced=False)]
        self.drive(lambda: waits.pop()() if waits else self.go())

    def release(self) -> None:
        """Let the target run and do not wait for it."""
        self._pass_hard_breakpoint()
        self._session.before_resume()
        self._session.backend.resume(Resume(dr7=DR7_QUIET))

    def show_location(self) -> None:
        """What is printed where the target stands."""
        self._reporter.location()

    def aim(self, addresses: Iterable[int], *, hardware: bool = False, commands: str = "") -> None:
        """The break addresses of a `g`. A `g` without any, in a command string, keeps the old."""
        breakpoints = self._session.breakpoints
        self._aimed_commands = commands
        breakpoints.clear_temporary()
        if hardware:
            breakpoints.temporary_hardware += [Breakpoint(-1, "ba", "", va) for va in addresses]
        else:
            breakpoints.temporary.update(addresses)

    def rest_of_command_string(self, command: str) -> str:
        """What follows a command in the command string that is run now; "" outside of one."""
        _, _, rest = self._command_string.partition(command.strip())
        rest = rest.lstrip()
        return rest[1:].strip() if rest.startswith(";") and "}" not in rest else ""

    # -- motions -------------------------------------------------------------------------------

    def resumable(self, motion: Motion) -> Motion:
        """A motion that goes on, when it is performed again, where a breakpoint interrupted it."""
        rest: Motion | None = None

        def perform() -> Stop:
            nonlocal rest
            self._unfinished = None
            stop = (rest or motion)()
            rest = self._unfinished
            return stop

        return perform

    def go(self, status: int = CONTINUE) -> Stop:
        """Run until a stop the user wants to see."""
        self._pass_hard_breakpoint()
        while True:
            stop = self._leave(status)
            if stop is None:
                stop = self._classify(self._run(Resume(status)), traced=False)
            stop, next_status = self._verdict(stop)
            if next_status is None:
                return stop
            if self.break_wanted:
                return dataclasses.replace(stop, kind="step", hits=())
            status = next_status

    def go_until(self, address: int, accept: Callable[[StopEvent], bool]) -> Stop:
        """Run to an address; arrivals that `accept` turns down do not count."""
        temporary = self._session.breakpoints.temporary
        known = address in temporary
        temporary.add(address)
        try:
            while True:
                stop = self.go()
                event = stop.event
                if stop.kind != "temporary" or not isinstance(event, StopEvent):
                    self._unfinished = partial(self.go_until, address, accept)
                    return stop
                if (event.pc == address and accept(event)) or self.break_wanted:
                    return dataclasses.replace(stop, kind="step")
        finally:
            if not known:
                temporary.discard(address)

    def trace(self) -> Stop:
        """One instruction; a function of `.step_filter` is run to its end."""
        if self._filtered():
            return self.up()
        stop = self.trace_plainly()
        return self.up() if stop.kind == "step" and self._filtered() else stop

    def trace_plainly(self) -> Stop:
        """One instruction."""
        if self._pass_hard_breakpoint():
            return self._stepped_over_int3()
        pc = self._session.instruction_pointer
        while True:
            event = self._run(Resume(CONTINUE, trace=True), skip=pc)
            stop, status = self._verdict(self._classify(event, traced=True))
            if status is None:
                return stop

    def step(self) -> Stop:
        """One instruction, a call together with what it calls."""
        if self._filtered():
            return self.up()
        after = self._session.disassembler.step_target(self._session.instruction_pointer)
        if after is None:
            return self.trace()
        thread, depth = self._current_thread(), self._session.registers["rsp"]
        return self.go_until(
            after, lambda e: e.thread == thread and self._session.registers["rsp"] >= depth
        )

    def up(self) -> Stop:
        """Until the current function returns to its caller."""
        frames = self._session.stack(count=2)
        if len(frames) < 2 or not frames[0].return_address:
            raise TargetError("Unable to step out: the stack has no caller")
        thread, depth = self._current_thread(), frames[1].child_sp
        return self.go_until(
            frames[0].return_address,
            lambda e: e.thread == thread and self._session.registers["rsp"] >= depth,
        )

    def met(self, stop: Stop) -> Stop:
        """The end of a step; a breakpoint where it arrived ends a longer walk.

        It has not been hit yet: the step ended in front of it.
        """
        if stop.kind != "step":
            return stop
        there = self._session.breakpoints.at(self._session.live_ip)
        hits = tuple([hit for hit in there if self._due(hit)])
        return dataclasses.replace(stop, kind="breakpoint", hits=hits) if hits else stop

    def _filtered(self) -> bool:
        """Whether `.step_filter` names the function we stand in."""
        session = self._session
        if not session.settings.step_filter:
            return False
        name = (session.disassembler.symbol(session.instruction_pointer) or "").partition("+")[0]
        patterns = session.settings.step_filter
        return any(matches(pattern, name) for pattern in patterns)

    # -- running and waiting -------------------------------------------------------------------

    def _run(self, how: Resume, skip: int | None = None) -> Halt:
        session = self._session
        if self._status is not None:
            how = dataclasses.replace(how, status=self._status)
            self._status = None
        session.breakpoints.plant(skip)
        if session.breakpoints.executes_at(session.live_ip):
            # Or the processor would stop again before it has executed anything.
            session.live_registers["efl"] |= EFLAGS_RESUME
        session.before_resume()
        session.backend.resume(dataclasses.replace(how, dr7=session.breakpoints.dr7()))
        return self._wait()

    def _wait(self) -> Halt:
        """The next stop. Prints and module loads that need nobody are dealt with on the way."""
        session = self._session
        while True:
            event = self._next_event()
            if isinstance(event, StopEvent | CommandEvent | UnknownEvent):
                session.halt(event)
                session.breakpoints.unplant()
                return event
            if isinstance(event, ModuleEvent):
                session.halt(event)
                session.breakpoints.unplant()
                if self._module_wants_stop(event):
                    return event
                session.breakpoints.plant()
                session.before_resume()
                session.backend.resume(Resume(CONTINUE, dr7=session.breakpoints.dr7()))
                if self._breaking_in:
                    # It may have reached the target while it stood still for this notice.
                    session.backend.break_in()
            elif isinstance(event, PrintEvent):
                self._print(event.text)
            elif isinstance(event, PromptEvent):
                session.backend.answer_prompt(session.ask(event.text)[: event.limit])
            elif isinstance(event, Reconnected):
                session.lose_target(event.reason)
                self._prepare_restart()

    def _print(self, text: str) -> None:
        """Show what the target prints, unless `.ofilter` hides it; `sxe out` makes it stop us."""
        session = self._session
        if events.shown(text, session.settings.output_filter):
            stamp = session.time_stamp() if session.out.at_line_start else ""
            session.out.write(stamp + text, Kind.TARGET)
        if session.filters.wants_output(text) and not self._breaking_in:
            self.stopped_by_output = True
            self._break_in()

    def _prepare_restart(self) -> None:
        """`sxe iml` and `sxe ibp` stop a target that boots anew."""
        session = self._session
        session.break_on_load = session.break_on_load or session.filters.breaks_at("iml")
        if session.filters.breaks_at("ibp"):
            self._break_in()

    def _break_in(self) -> None:
        self._breaking_in = True
        self._session.backend.break_in()

    def _next_event(self) -> Event:
        backend, asked = self._session.backend, 0
        since = time.monotonic()
        while True:
            try:
                if self.break_requested:
                    self.break_requested = False
                    raise KeyboardInterrupt
                event = backend.wait(POLL)
            except KeyboardInterrupt:
                asked += 1
                if asked >= PATIENCE:
                    raise
                self.stopped_by_output = False
                self._break_in()
                continue
            if event is not None:
                self._session.out.status("")
                return event
            if time.monotonic() > since + DELAY:
                self._session.out.status(f"{backend.description} runs - Ctrl+C breaks in")

    def switch_answer(self) -> StopEvent:
        """How the processor reports that `~Ns` made the current one."""
        self.break_requested = False
        while not self.break_requested:
            event = self._session.backend.wait(POLL)
            if isinstance(event, StopEvent):
                return event
        raise KeyboardInterrupt

    def _module_wants_stop(self, event: ModuleEvent) -> bool:
        """Take note of the module and say so; True to stop, or to run the filter's command."""
        session = self._session
        wanted = session.filters.module_filter(event, self._unloaded_name(event))
        session.modules.note(event)
        session.events.add(events.module_text(event))
        if wanted.mode != "i":
            session.out.fresh_line()
            session.out.line(session.time_stamp() + events.module_line(event))
        self._module_stops = wanted.mode == "e"
        if event.unload:
            session.breakpoints.module_unloaded(event.base, event.size)
        else:
            session.breakpoints.resolve_deferred()
        if session.break_on_load and not event.unload:
            session.break_on_load = False
            self._module_stops = True
        return self._module_stops or bool(wanted.command)

    def _unloaded_name(self, event: ModuleEvent) -> str:
        """An unload notice may tell the address only."""
        if event.path or not event.unload:
            return ""
        module = self._session.symbols.module_at(event.base)
        return module.image_name if module else ""

    # -- leaving the place we stand on ---------------------------------------------------------

    def _pass_hard_breakpoint(self) -> bool:
        """Move RIP past an `int3` of the code itself that stopped us here."""
        session = self._session
        event = session.stopped_by
        if not isinstance(event, StopEvent) or event.code != events.STATUS_BREAKPOINT:
            return False
        code = session.code_at_stop or session.memory.read_some(event.pc, 1)
        if code[:1] != INT3:
            return False
        registers = session.register_file(event.processor)
        if registers["rip"] != event.pc:
            return False
        registers["rip"] = event.pc + 1
        return event.processor == session.processor

    def _stepped_over_int3(self) -> Stop:
        session = self._session
        assert isinstance(session.event, StopEvent)
        event = dataclasses.replace(
            session.event, code=events.STATUS_SINGLE_STEP, pc=session.live_registers["rip"]
        )
        session.event = event
        session.scope.reset_registers()
        return Stop("step", event)

    def _leave(self, status: int) -> Stop | None:
        """Step off a breakpoint at RIP. A stop that is not this step's own end is returned."""
        breakpoints = self._session.breakpoints
        pc = self._session.live_ip
        if not breakpoints.at(pc) and pc not in breakpoints.temporary:
            return None
        stop = self._classify(self._run(Resume(status, trace=True), skip=pc), traced=True)
        return None if stop.kind == "step" else stop

    # -- what a stop means ---------------------------------------------------------------------

    def _classify(self, event: Halt, *, traced: bool) -> Stop:
        if isinstance(event, ModuleEvent):
            return Stop("module", event, resume=None if self._module_stops else CONTINUE)
        if isinstance(event, CommandEvent):
            return Stop("command", event, resume=CONTINUE)
        if isinstance(event, UnknownEvent):
            return Stop("unknown", event)
        breakpoints = self._session.breakpoints
        if event.code == events.STATUS_BREAKPOINT:
            hits = tuple(breakpoints.at(event.pc))
            if event.pc in breakpoints.temporary:
                return Stop("temporary", event, hits)
            if hits:
                return Stop("breakpoint", event, hits)
        if event.code == events.STATUS_SINGLE_STEP:
            hits = tuple(breakpoints.hardware_hits(event.dr6))
            if hits and any(hit in breakpoints.temporary_hardware for hit in hits):
                return Stop("temporary", event)
            if hits:
                return Stop("breakpoint", event, hits)
            if traced:
                return Stop("step", event)
        return Stop("exception", event)

    def _verdict(self, stop: Stop) -> tuple[Stop, int | None]:
        """The stop with the breakpoints that are due; None to stop here, or the status to go on."""
        due = tuple([hit for hit in stop.hits if self._due(hit)])
        if due:
            return dataclasses.replace(stop, kind="breakpoint", hits=due), None
        if stop.kind == "breakpoint":
            return stop, CONTINUE
        stop = dataclasses.replace(stop, hits=())
        event = stop.event
        if not isinstance(event, StopEvent) or stop.kind in ("temporary", "step"):
            return stop, None
        chosen = self._session.filters.for_code(event.code)
        if chosen.mode == "e" or (chosen.mode == "d" and not event.first_chance):
            return stop, None
        if chosen.mode in ("d", "n"):
            self._session.out.fresh_line()
            self._session.out.line(self._session.time_stamp() + events.exception_text(event))
        status = CONTINUE_HANDLED if chosen.handled else CONTINUE_NOT_HANDLED
        if chosen.command_for(event):
            return dataclasses.replace(stop, resume=status), None
        return stop, status

    def _due(self, hit: Breakpoint) -> bool:
        """Whether a breakpoint that was hit is to stop the target; counts passes."""
        session = self._session
        if hit.thread and hit.thread != self._current_thread():
            return False
        if hit.process and hit.process != session.current_process():
            return False
        if hit.max_depth or hit.min_depth:
            depth = len(session.stack())
            if (hit.max_depth and depth >= hit.max_depth) or depth <= hit.min_depth:
                return False
        if hit.condition and not self._holds(hit.condition):
            return False
        if hit.remaining > 1:
            hit.remaining -= 1 if self._counting else 0
            return False
        return True

    def _holds(self, condition: str) -> bool:
        """Whether a C++ expression is true; one without a value stops, so that the user sees it."""
        try:
            return bool(self._session.evaluate_cpp(condition))
        except KdsimError as error:
            self._session.report_error(error)
            return True

    def _current_thread(self) -> int:
        event = self._session.event
        return event.thread if event is not None else 0

    # -- reporting -----------------------------------------------------------------------------

    def _report(self, stop: Stop, step_commands: str = "") -> Motion | None:
        """Say what happened; the motion that a command string asked for, if any."""
        session = self._session
        breakpoints = session.breakpoints
        commands = self._reporter.announce(stop)
        if stop.kind == "step" and step_commands:
            commands.append(step_commands)
        if stop.kind == "temporary" and self._aimed_commands:
            commands.append(self._aimed_commands)
        for hit in stop.hits:
            if hit.one_shot:
                breakpoints.remove(hit.id)
        self._next = None
        session.for_target = stop.kind == "command"
        try:
            following = self._run_commands(commands)
        finally:
            session.for_target = False
        if following is None and stop.resume is not None:
            self._status = stop.resume
            return self._motion
        if following is None:
            self._reporter.location()
            prompt_command = session.settings.prompt_command
            following = self._run_commands([prompt_command] if prompt_command else [])
        return following

    def _run_commands(self, commands: Iterable[str]) -> Motion | None:
        """Run command strings; the motion one of them asked for, which ends it and all others."""
        self._reporting = True
        try:
            for command in commands:
                self._command_string = command
                self._session.execute(command)
                if self._session.ended:
                    raise SessionEnded
        except CommandStringEnded:
            return self._next
        finally:
            self._reporting = False
            self._command_string = ""
        return None
