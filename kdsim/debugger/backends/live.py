"""A live target over KDNET or KDCOM."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic

from kdsim.debugger.backends.base import (
    Caps,
    CommandEvent,
    Event,
    Halt,
    ModuleEvent,
    PrintEvent,
    PromptEvent,
    Reconnected,
    Resume,
    StopEvent,
    TargetVersion,
    UnknownEvent,
    WireState,
)
from kdsim.errors import NotHalted, ProtocolError, TargetError
from kdsim.wire.context import Context, ContextFlag, SpecialRegisters
from kdsim.wire.endpoint import Connected
from kdsim.wire.host_connection import HostConnection
from kdsim.wire.kdnet import KdnetHost
from kdsim.wire.links import UdpLink
from kdsim.wire.manipulate import Api, Continue2Arguments, Manipulate
from kdsim.wire.messages import (
    AnyStateChange,
    CommandStringChange,
    ExceptionChange,
    FileIo,
    GetString,
    LoadSymbolsChange,
    PrintString,
    StateChange,
    UnknownChange,
)
from kdsim.wire.requests import ADDRESS_MASK, Requests, Take
from kdsim.wire.transport import Transport, open_host, parse_transport

READ_SIZE = 0x800
"""Asked for in one read at least; over KDNET a target answers with as much as fits a datagram."""
WRITE_SIZE = 0x400
BREAKPOINT_HANDLES = range(1, 33)
EVERYTHING = ADDRESS_MASK
"""Base of the unload notice with which a target leaves: shutdown or restart."""
CONTROL_SPACE_SPECIAL = 2
DR7_CLEAR = 0x400


class _Known:
    """What we know of the target; all of it is void when the target restarts."""

    def __init__(self) -> None:
        self.version: TargetVersion | None = None
        self.halted = False
        self.switching: int | None = None
        """The processor we asked to hear from next."""
        self.swept = False
        self.leaving = False
        """It said farewell, and so did we to whoever asked us."""
        self.restarting = False
        """We told it to restart."""
        self.contexts_read: set[int] = set()
        self.dr7 = DR7_CLEAR


class LiveBackend:
    """Implements `kdsim.debugger.backends.base.Backend` over a HostConnection."""

    def __init__(self, connection: HostConnection) -> None:
        self.caps = (
            Caps.READ
            | Caps.WRITE
            | Caps.PHYSICAL
            | Caps.REGISTERS
            | Caps.RUN
            | Caps.BREAKPOINTS
            | Caps.MSR
            | Caps.IO
        )
        self.refusals: dict[Caps, str] = {}
        self.description = connection.description
        self._connection = connection
        read_size = max(READ_SIZE, connection.data_limit)
        self._requests = Requests(self._ask, read_size, WRITE_SIZE, self._converse)
        self._prompt: GetString | None = None
        self._known = _Known()
        self._pending: deque[Event] = deque()

    @classmethod
    def from_text(cls, text: str, key: str | None = None) -> LiveBackend:
        """A backend for `net:port=50000,key=1.2.3.4` and the like.

        Args:
            text: what follows `-k`.
            key: the KDNET key, for a text that does not hold it.
        """
        if key is not None and text.startswith("net:") and "key=" not in text:
            text = f"{text},key={key}"
        return cls.from_transport(parse_transport(text))

    @classmethod
    def from_transport(cls, transport: Transport) -> LiveBackend:
        return cls(open_host(transport))

    @property
    def port(self) -> int:
        """The UDP port we listen at, also when the system chose it."""
        link = self._connection.link
        if not isinstance(link, UdpLink):
            raise TargetError(f"{self.description} has no UDP port")
        return link.local[1]

    @property
    def peer(self) -> str:
        """The address a KDNET target speaks from; empty before, and on a stream."""
        endpoint = self._connection.endpoint
        known = endpoint.peer if isinstance(endpoint, KdnetHost) else None
        return known[0] if known else ""

    def give_up_after(self, seconds: float) -> None:
        """Call a stopped target gone that does not answer for so long, if that is sooner."""
        connection = self._connection
        connection.reply_timeout = min(connection.reply_timeout, seconds / connection.attempts)
        connection.patience = min(connection.patience, seconds)

    def wire_state(self) -> WireState:
        """What came and went so far, up to now."""
        connection = self._connection
        connection.look()
        endpoint, peer = connection.endpoint, ""
        if isinstance(endpoint, KdnetHost) and endpoint.peer is not None:
            peer = f"{endpoint.peer[0]} port {endpoint.peer[1]}"
        return WireState(
            transport=self.description,
            version=endpoint.version if isinstance(endpoint, KdnetHost) else 0,
            peer=peer,
            sessions=connection.sessions,
            unit=endpoint.unit,
            received=endpoint.tally.received,
            sent=endpoint.tally.sent,
            repeated=endpoint.tally.repeated,
            repetitions=endpoint.repetitions,
            round_trip=endpoint.round_trip,
            dropped={drop.value: count for drop, count in endpoint.tally.dropped.items()},
        )

    def on_notice(self, tell: Callable[[str], None]) -> None:
        """Have `tell` take a line about what is wrong on the wire while we wait for a target."""
        self._connection.notice = tell

    @property
    def halted(self) -> bool:
        """Whether the target stands still, as far as it told us."""
        return self._known.halted

    # -- life cycle ----------------------------------------------------------------------------

    def connect(self, timeout: float | None) -> None:
        """Reach the target. One that is stopped says so in the next `wait`."""
        self._connection.open(timeout)

    def close(self) -> None:
        self._connection.close()

    def banner(self) -> list[str]:
        return ["Kernel Debugger connection established."]

    def version(self) -> TargetVersion:
        if self._known.version is None:
            self._need_halt()
            answer = self._requests.version()
            self._known.version = TargetVersion(
                major=answer.major,
                minor=answer.minor,
                protocol=answer.protocol,
                flags=answer.flags,
                machine=answer.machine,
                kernel_base=answer.kernel_base,
                module_list=answer.module_list,
                data_list=answer.data_list,
            )
        return self._known.version

    # -- events --------------------------------------------------------------------------------

    def wait(self, timeout: float | None) -> Event | None:
        """See `Backend.wait`. TargetGone when the target left for good."""
        end = None if timeout is None else monotonic() + timeout
        while not self._pending:
            left = None if end is None else max(0.0, end - monotonic())
            try:
                message = self._connection.wait(left)
            except ProtocolError as error:
                # Of a target newer or stranger than we know; whatever else it says may be clear.
                self._pending.append(
                    PrintEvent(f"*** The target sent what is not known: {error}\n")
                )
                continue
            if message is None:
                return None
            self._take(message)
        if self._known.halted and not self._known.swept:
            self._sweep()
        return self._pending.popleft()

    def _take(self, message: AnyStateChange | PrintString | GetString | Connected) -> None:
        if isinstance(message, PrintString):
            self._pending.append(PrintEvent(message.text.decode("latin-1"), message.processor))
        elif isinstance(message, GetString):
            self._prompt = message
            text = message.prompt.decode("latin-1")
            self._pending.append(PromptEvent(text, message.limit, message.processor))
        elif isinstance(message, Connected):
            announced, self._known = self._known.leaving, _Known()
            if not announced:
                self._pending.append(Reconnected("the target connected again"))
        else:
            self._stopped(message)

    def _stopped(self, change: AnyStateChange) -> None:
        known = self._known
        if known.halted and change.processor != known.switching:
            # The same stop once more: an answer to a break-in or RESET that crossed it.
            return
        if known.restarting and not known.leaving and not _is_farewell(change):
            self._pending.append(Reconnected("the target restarted"))
        if known.restarting or known.leaving:
            known = self._known = _Known()
        known.halted = True
        known.switching = None
        known.contexts_read.clear()
        known.dr7 = change.report.dr7
        if _is_farewell(change):
            self.resume(Resume())
            self._known = _Known()
            self._known.leaving = True
            self._pending.append(Reconnected("the target is shutting down"))
            return
        self._pending.append(_decode(change))

    def _sweep(self) -> None:
        """Take out breakpoints that a debugger before us left in the target."""
        for handle in BREAKPOINT_HANDLES:
            self._requests.clear_breakpoint(handle)
        self._known.swept = True

    def serve_files(self, answer: Callable[[FileIo], FileIo]) -> None:
        """Let `answer` reply to the target's requests for files."""
        self._connection.files = answer

    def break_in(self) -> None:
        self._connection.break_in()

    def answer_prompt(self, text: str) -> None:
        if self._prompt is None:
            raise TargetError("the target asked nothing")
        prompt, self._prompt = self._prompt, None
        self._connection.answer(prompt, text.encode("latin-1", "replace"))

    # -- execution -----------------------------------------------------------------------------

    def resume(self, how: Resume) -> None:
        self._need_halt()
        dr7 = self._known.dr7 if how.dr7 is None else how.dr7
        arguments = Continue2Arguments(how.status, int(how.trace), dr7)
        self._leave(Manipulate.request(Api.CONTINUE2, arguments))

    def switch_processor(self, number: int) -> None:
        self._need_halt()
        self._connection.discard(StateChange)
        self._known.switching = number
        self._connection.post(Manipulate.request(Api.SWITCH_PROCESSOR, processor=number))

    def reboot(self) -> None:
        self._need_halt()
        self._known.restarting = True
        self._leave(Manipulate.request(Api.REBOOT))

    def restart(self) -> None:
        self._need_halt()
        self._connection.discard(StateChange)
        self._known = _Known()
        self._connection.reset()

    def bugcheck(self) -> None:
        self._need_halt()
        self._leave(Manipulate.request(Api.CAUSE_BUGCHECK))

    def _leave(self, message: Manipulate) -> None:
        """Send a request after which the target runs."""
        # State changes that wait here are repetitions of the stop that ends now.
        self._connection.discard(StateChange)
        self._known.halted = False
        self._connection.post(message)

    # -- memory, registers, ports --------------------------------------------------------------

    def read_virtual(self, va: int, size: int) -> bytes:
        return self._requests.read(Api.READ_VIRTUAL, va & ADDRESS_MASK, size)

    def write_virtual(self, va: int, data: bytes) -> int:
        return self._requests.write(Api.WRITE_VIRTUAL, va & ADDRESS_MASK, data)

    def read_physical(self, pa: int, size: int) -> bytes:
        return self._requests.read(Api.READ_PHYSICAL, pa & ADDRESS_MASK, size)

    def write_physical(self, pa: int, data: bytes) -> int:
        return self._requests.write(Api.WRITE_PHYSICAL, pa & ADDRESS_MASK, data)

    def search_virtual(self, va: int, size: int, pattern: bytes) -> int:
        return self._requests.search(va, size, pattern)

    def read_context(self, processor: int) -> bytes:
        context = self._requests.context(processor)
        self._known.contexts_read.add(processor)
        return context

    def write_context(self, processor: int, context: bytes) -> None:
        if processor not in self._known.contexts_read:
            # A target refuses a context it has not shown at this stop.
            self.read_context(processor)
        try:
            self._requests.set_context(processor, context)
        except TargetError:
            # A RESET, or noise that it took for a break-in, made it tell its stop once more.
            self.read_context(processor)
            self._requests.set_context(processor, context)
        registers = Context(context)
        if registers.get("flags") & ContextFlag.DEBUG_REGISTERS:
            self._known.dr7 = registers.get("dr7")

    def read_control_space(self, processor: int, selector: int, size: int) -> bytes:
        return self._requests.control_space(processor, selector, size)

    def write_control_space(self, processor: int, selector: int, data: bytes) -> None:
        self._requests.set_control_space(processor, selector, data)
        special = SpecialRegisters(data)
        if selector == CONTROL_SPACE_SPECIAL and "dr7" in special:
            self._known.dr7 = special.get("dr7")

    def read_msr(self, msr: int) -> int:
        return self._requests.msr(msr)

    def write_msr(self, msr: int, value: int) -> None:
        self._requests.set_msr(msr, value)

    def read_io(self, port: int, size: int) -> int:
        """The value of an I/O port of 1, 2 or 4 bytes."""
        return self._requests.port(port, size)

    def write_io(self, port: int, size: int, value: int) -> None:
        self._requests.set_port(port, size, value)

    def set_breakpoint(self, va: int) -> int:
        return self._requests.set_breakpoint(va & ADDRESS_MASK)

    def clear_breakpoint(self, handle: int) -> None:
        if not self._requests.clear_breakpoint(handle):
            raise TargetError(f"the target has no breakpoint with handle {handle}")

    def _ask(self, message: Manipulate) -> Manipulate:
        self._need_halt()
        return self._connection.request(message)

    def _converse(self, messages: Iterable[Manipulate], take: Take) -> None:
        self._need_halt()
        self._connection.converse(messages, take)

    def _need_halt(self) -> None:
        if not self._known.halted:
            raise NotHalted("the target is running; break in first")


def _is_farewell(change: AnyStateChange) -> bool:
    return isinstance(change, LoadSymbolsChange) and change.unload and change.base == EVERYTHING


def _decode(change: AnyStateChange) -> Halt:
    where = (change.processor, change.processors, change.thread, change.pc)
    match change:
        case ExceptionChange():
            return StopEvent(
                *where,
                code=change.code,
                flags=change.flags,
                address=change.address,
                parameters=change.parameters,
                first_chance=change.first_chance,
                dr6=change.report.dr6,
                dr7=change.report.dr7,
                instructions=change.report.instructions,
            )
        case LoadSymbolsChange():
            return ModuleEvent(
                *where,
                base=change.base,
                size=change.size,
                checksum=change.checksum,
                process_id=change.process_id,
                path=change.path,
                unload=change.unload,
            )
        case CommandStringChange():
            return CommandEvent(
                *where,
                name=change.name,
                command=change.command,
            )
        case UnknownChange():
            return UnknownEvent(
                processor=change.processor,
                processors=max(change.processors, change.processor + 1),
                thread=change.thread,
                pc=change.pc,
                state=change.state,
            )
