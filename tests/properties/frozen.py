"""The lab machine as it stands at its first break: real bytes and symbols, nothing runs."""

from __future__ import annotations

from kdsim.debugger.backends.base import (
    Caps,
    Event,
    Reconnected,
    Resume,
    StopEvent,
    TargetVersion,
)
from kdsim.debugger.paging import PAGE_SIZE, PageTables
from kdsim.errors import MemoryFault, TargetError, TargetGone
from kdsim.wire.context import Context, SpecialRegisters
from kdsim.wire.messages import ExceptionChange
from kdsim.wire.requests import Requests
from tests.target.booted import Debugged

BREAKPOINT, SINGLE_STEP = 0x80000003, 0x80000004
SPECIAL_SIZE = 0xF0
MOST_STOPS = 30
"""After so many the target is gone, so that a breakpoint that goes on by itself ends."""


class FrozenMachine:
    """Booted once and never run again."""

    def __init__(self) -> None:
        debugged = Debugged()
        change = debugged.run_to_stop()
        assert isinstance(change, ExceptionChange)
        ask = Requests(lambda message: debugged.ask(message)[0], 0x1000, 0x1000)
        answer = ask.version()
        self.version = TargetVersion(
            answer.major, answer.minor, answer.protocol, answer.flags, answer.machine,
            answer.kernel_base, answer.module_list, answer.data_list,
        )  # fmt: skip
        self.processors = change.processors
        self.threads = [p.CurrentThread for p in debugged.kernel.processors()]
        self.contexts = [ask.context(number) for number in range(self.processors)]
        self.specials = [
            ask.control_space(number, 2, SPECIAL_SIZE) for number in range(self.processors)
        ]
        self.ram = debugged.system.machine.ram.view
        self._debugged = debugged


class FrozenBackend:
    """Implements `kdsim.debugger.backends.base.Backend`; what is written stays in here."""

    caps = ~Caps.NONE
    description = "frozen"

    def __init__(self, machine: FrozenMachine) -> None:
        self.refusals: dict[Caps, str] = {}
        self._machine = machine
        self._written: dict[int, bytearray] = {}
        self._contexts = list(machine.contexts)
        self._specials = list(machine.specials)
        self._planted: set[int] = set()
        self._stops = 0
        self._current = 0
        self._events: list[Event] = [self._stop(BREAKPOINT)]

    def connect(self, timeout: float | None) -> None:
        pass

    def close(self) -> None:
        pass

    def banner(self) -> list[str]:
        return []

    def version(self) -> TargetVersion:
        return self._machine.version

    # -- a machine that stops where it stands ----------------------------------------------------

    def _stop(self, code: int) -> StopEvent:
        number = self._current
        pc = Context(self._contexts[number]).get("rip")
        thread = self._machine.threads[number]
        return StopEvent(number, self._machine.processors, thread, pc, code, address=pc)

    def wait(self, timeout: float | None) -> Event | None:
        if not self._events:
            raise TargetGone("nothing runs here")
        return self._events.pop(0)

    def break_in(self) -> None:
        self._events.append(self._stop(BREAKPOINT))

    def resume(self, how: Resume) -> None:
        self._stops += 1
        if self._stops < MOST_STOPS:
            self._events.append(self._stop(SINGLE_STEP if how.trace else BREAKPOINT))

    def switch_processor(self, number: int) -> None:
        self._current = number
        self._events.append(self._stop(BREAKPOINT))

    def reboot(self) -> None:
        self._events += [Reconnected("restarted"), self._stop(BREAKPOINT)]

    def restart(self) -> None:
        self._events.append(self._stop(BREAKPOINT))

    def bugcheck(self) -> None:
        self._events.append(self._stop(BREAKPOINT))

    def answer_prompt(self, text: str) -> None:
        pass

    # -- memory ----------------------------------------------------------------------------------

    def read_physical(self, pa: int, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and pa + len(data) < len(self._machine.ram):
            start = (pa + len(data)) % PAGE_SIZE
            data += self._page(pa + len(data) - start)[start : start + size - len(data)]
        return bytes(data)

    def write_physical(self, pa: int, data: bytes) -> int:
        for done, byte in enumerate(data):
            if pa + done >= len(self._machine.ram):
                return done
            start = (pa + done) % PAGE_SIZE
            page = pa + done - start
            self._written.setdefault(page, bytearray(self._page(page)))[start] = byte
        return len(data)

    def _page(self, pa: int) -> bytes | bytearray | memoryview:
        return self._written.get(pa) or self._machine.ram[pa : pa + PAGE_SIZE]

    def read_virtual(self, va: int, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = min(size - len(data), PAGE_SIZE - (va + len(data)) % PAGE_SIZE)
            place = self._physical(va + len(data))
            if place is None:
                break
            data += self.read_physical(place, part)
        return bytes(data)

    def write_virtual(self, va: int, data: bytes) -> int:
        done = 0
        while done < len(data):
            part = data[done : done + PAGE_SIZE - (va + done) % PAGE_SIZE]
            place = self._physical(va + done)
            if place is None:
                break
            done += self.write_physical(place, part)
        return done

    def _physical(self, va: int) -> int | None:
        if 1 << 47 <= va < (1 << 64) - (1 << 47) or va >> 64:
            return None
        cr3 = SpecialRegisters(self._specials[self._current]).get("cr3")
        try:
            place = PageTables(self.read_physical, cr3).translate(va).pa
        except MemoryFault:
            return None
        return place if place < len(self._machine.ram) else None

    # -- registers and the rest ------------------------------------------------------------------

    def read_context(self, processor: int) -> bytes:
        return self._contexts[processor]

    def write_context(self, processor: int, context: bytes) -> None:
        self._contexts[processor] = context

    def read_control_space(self, processor: int, selector: int, size: int) -> bytes:
        return self._specials[processor][:size]

    def write_control_space(self, processor: int, selector: int, data: bytes) -> None:
        self._specials[processor] = data.ljust(SPECIAL_SIZE, b"\0")

    def read_msr(self, msr: int) -> int:
        raise TargetError(f"MSR {msr:#x} cannot be read")

    def write_msr(self, msr: int, value: int) -> None:
        raise TargetError(f"MSR {msr:#x} cannot be written")

    def read_io(self, port: int, size: int) -> int:
        raise TargetError(f"port {port:#x} cannot be read")

    def write_io(self, port: int, size: int, value: int) -> None:
        raise TargetError(f"port {port:#x} cannot be written")

    def set_breakpoint(self, va: int) -> int:
        if self._physical(va) is None:
            raise MemoryFault(va, 1, "the target could not plant a breakpoint there")
        self._planted.add(va)
        return len(self._planted)

    def clear_breakpoint(self, handle: int) -> None:
        self._planted.clear()
