"""What every way of reaching a target offers: live (KDNET, KDCOM), local, dump.

Life cycle: construct -> `connect()` -> use -> `close()`. Not thread-safe.
A backend answers in bytes and integers; names and types belong to the session above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable


class Caps(Flag):
    """What a backend can do. Commands declare what they need."""

    NONE = 0
    READ = auto()
    WRITE = auto()
    PHYSICAL = auto()
    REGISTERS = auto()
    RUN = auto()
    BREAKPOINTS = auto()
    MSR = auto()
    IO = auto()


@dataclass(frozen=True, slots=True)
class TargetVersion:
    """DBGKD_GET_VERSION64, the fields a debugger uses."""

    major: int
    minor: int
    protocol: int
    flags: int
    machine: int
    kernel_base: int
    module_list: int
    data_list: int


@dataclass(frozen=True, slots=True)
class StopEvent:
    """The target stopped with an exception (STATE_CHANGE64 0x3030)."""

    processor: int
    processors: int
    thread: int
    pc: int
    code: int
    flags: int = 0
    address: int = 0
    parameters: tuple[int, ...] = ()
    first_chance: bool = True
    dr6: int = 0
    dr7: int = 0
    instructions: bytes = b""
    """What lies at `pc`, as far as the target told; free of breakpoints of ours."""


@dataclass(frozen=True, slots=True)
class ModuleEvent:
    """An image was loaded or unloaded (0x3031); the target waits for a continue."""

    processor: int
    processors: int
    thread: int
    pc: int
    base: int
    size: int
    checksum: int
    process_id: int
    path: str
    unload: bool
    instructions: bytes = b""


@dataclass(frozen=True, slots=True)
class PrintEvent:
    """DbgPrint text; the target goes on by itself."""

    text: str
    processor: int = 0


@dataclass(frozen=True, slots=True)
class PromptEvent:
    """DbgPrompt: the target waits for `Backend.answer_prompt`."""

    text: str
    limit: int
    processor: int = 0


@dataclass(frozen=True, slots=True)
class CommandEvent:
    """The target asks the debugger to run a command string (0x3032); waits for a continue."""

    processor: int
    processors: int
    thread: int
    pc: int
    name: str
    command: str
    instructions: bytes = b""


@dataclass(frozen=True, slots=True)
class UnknownEvent:
    """The target stopped and says why in a way that is not known here; waits for a continue."""

    processor: int
    processors: int
    thread: int
    pc: int
    state: int
    instructions: bytes = b""


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The target came back (reboot or a new connection); everything known of it is stale."""

    reason: str = ""


Halt = StopEvent | ModuleEvent | CommandEvent | UnknownEvent
"""The events after which the target stands still."""

Event = Halt | PrintEvent | PromptEvent | Reconnected

CONTINUE_HANDLED = 0x0001_0001
CONTINUE = 0x0001_0002
CONTINUE_NOT_HANDLED = 0x8001_0001


@dataclass(frozen=True, slots=True)
class Resume:
    """How to continue: NTSTATUS, trace flag for one step, Dr7 for all processors (None: leave)."""

    status: int = CONTINUE
    trace: bool = False
    dr7: int | None = field(default=None)


class Backend(Protocol):
    """See the module docstring. Errors: `TargetGone`, `MemoryFault`, `Unsupported`."""

    caps: Caps
    description: str
    """For the banner, for instance 'net:port=50000'."""
    refusals: dict[Caps, str]
    """Why a capability is missing, one sentence each."""

    def connect(self, timeout: float | None) -> None:
        """Reach the target; TargetGone after `timeout` seconds (None: wait for ever)."""

    def close(self) -> None: ...

    def banner(self) -> list[str]:
        """Lines that tell how the target was reached."""

    def version(self) -> TargetVersion: ...

    def wait(self, timeout: float | None) -> Event | None:
        """Next event, or None after `timeout` seconds. Ctrl+C leaves it as KeyboardInterrupt."""

    def break_in(self) -> None: ...

    def resume(self, how: Resume) -> None: ...

    def switch_processor(self, number: int) -> None:
        """The next event is a StopEvent from that processor."""

    def read_virtual(self, va: int, size: int) -> bytes:
        """The readable prefix of the range: shorter than `size` (or empty) where it ends."""

    def write_virtual(self, va: int, data: bytes) -> int:
        """Bytes written."""

    def read_physical(self, pa: int, size: int) -> bytes: ...

    def write_physical(self, pa: int, data: bytes) -> int: ...

    def read_context(self, processor: int) -> bytes:
        """CONTEXT of AMD64, 1232 bytes."""

    def write_context(self, processor: int, context: bytes) -> None: ...

    def read_control_space(self, processor: int, selector: int, size: int) -> bytes: ...

    def write_control_space(self, processor: int, selector: int, data: bytes) -> None: ...

    def read_msr(self, msr: int) -> int: ...

    def write_msr(self, msr: int, value: int) -> None: ...

    def set_breakpoint(self, va: int) -> int:
        """Plant a software breakpoint; returns its handle."""

    def clear_breakpoint(self, handle: int) -> None: ...

    def reboot(self) -> None: ...

    def restart(self) -> None:
        """Connect anew to a target that stands still; the next event is its stop, once more."""

    def bugcheck(self) -> None:
        """Ask for a manual crash (0xE2); no reply, the next event is the bug check's stop."""

    def answer_prompt(self, text: str) -> None: ...


class ListedModule(NamedTuple):
    """An image that a target lists, without a look at its memory."""

    name: str
    base: int
    size: int
    timestamp: int
    checksum: int


@runtime_checkable
class ModuleList(Protocol):
    """What a backend may offer besides `Backend`: a module list where memory holds none."""

    def listed_modules(self) -> Sequence[ListedModule]:
        """The kernel first; empty: nt!PsLoadedModuleList can be walked."""


@dataclass(frozen=True, slots=True)
class CrashFacts:
    """What the header of a crash dump says; times in 100 ns units.

    Attributes:
        bugcheck: code and four parameters; all 0 for a machine that did not crash.
    """

    bugcheck: tuple[int, ...]
    system_time: int
    uptime: int
    product: int
    suite: int


@runtime_checkable
class CrashRecord(Protocol):
    """What a backend may offer besides `Backend`: facts where memory or types are missing."""

    def crash_facts(self) -> CrashFacts: ...


@runtime_checkable
class DumpFile(Protocol):
    """What a backend over a crash dump tells besides: which file it is."""

    path: Path


@runtime_checkable
class MemorySearch(Protocol):
    """What a backend may offer besides `Backend`: searching where the memory is."""

    def search_virtual(self, va: int, size: int, pattern: bytes) -> int:
        """The place up to which `pattern` begins nowhere; `va` when that is not known."""


@dataclass(frozen=True, slots=True)
class WireState:
    """The wire to a live target.

    Attributes:
        transport: as in the connection string.
        version: of KDNET; 0 on a stream.
        peer: where a KDNET target speaks from.
        sessions: how often the target was met.
        unit: what is counted, "datagram" or "packet".
        repeated, repetitions: packets the target sent twice, and we.
        round_trip: seconds to an acknowledgement.
        dropped: what changed nothing, by what was wrong with it.
    """

    transport: str
    version: int
    peer: str
    sessions: int
    unit: str
    received: int
    sent: int
    repeated: int
    repetitions: int
    round_trip: float
    dropped: dict[str, int]

    def lines(self) -> Iterator[str]:
        yield f"Transport    : {self.transport}"
        if self.version:
            yield f"KDNET version: {self.version}"
            yield f"Peer         : {self.peer}"
        yield f"Sessions     : {self.sessions}"
        units = f"{self.unit.capitalize()}s"
        yield f"{units:<13}: {self.received} received, {self.sent} sent"
        yield f"Repeated     : {self.repeated} by the target, {self.repetitions} by us"
        yield f"Round trip   : {self.round_trip * 1000:.2f} ms"
        yield f"Dropped      : {sum(self.dropped.values())}"
        for what, count in self.dropped.items():
            yield f"  {count:>11}  {what}"


@runtime_checkable
class Wire(Protocol):
    """What a backend with a wire offers besides `Backend`."""

    def wire_state(self) -> WireState: ...
