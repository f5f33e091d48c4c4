"""What the other packet types carry: state changes, prints and prompts, file requests, control.

Manipulate messages (requests and replies) are in `kdsim.wire.manipulate`. Layouts:
`DBGKD_ANY_WAIT_STATE_CHANGE`, `DBGKD_DEBUG_IO`, `DBGKD_FILE_IO` in ReactOS
`sdk/include/reactos/windbgkd.h`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from struct import Struct
from typing import NamedTuple

from kdsim.errors import ProtocolError

STATE_CHANGE_SIZE = 0xF0
MAX_PARAMETERS = 15
INSTRUCTION_BYTES = 16


class StateKind(IntEnum):
    EXCEPTION = 0x3030
    LOAD_SYMBOLS = 0x3031
    COMMAND_STRING = 0x3032


ALTERNATE_SOURCE = 0x10000


class ReportFlag(IntFlag):
    """ControlReport.flags."""

    SEGMENTS = 1
    STANDARD_CS = 2


class ControlReport(NamedTuple):
    """AMD64_DBGKD_CONTROL_REPORT: what the debugger would ask first, sent along with every stop."""

    dr6: int = 0
    dr7: int = 0
    eflags: int = 0
    flags: int = 0
    instructions: bytes = b""
    cs: int = 0
    ds: int = 0
    es: int = 0
    fs: int = 0


_CHANGE = Struct("<IHHI4xQQ")
_REPORT = Struct("<QQIHH16sHHHH")
_EXCEPTION = Struct("<IIQQI4x15QI4x")
_LOAD = Struct("<I4xQQIIB127x")
_UNION = 0x20
_REPORT_OFFSET = 0xC0


@dataclass(frozen=True, slots=True)
class StateChange:
    """The part every state change has."""

    processor: int
    processors: int
    thread: int
    pc: int
    level: int = 0
    alternate: bool = False
    report: ControlReport = field(default=ControlReport())

    @staticmethod
    def unpack(payload: bytes) -> AnyStateChange:
        """The state change in a KD_STATE_CHANGE64 payload.

        Raises:
            ProtocolError: too short, or lengths that do not fit.
        """
        if len(payload) < STATE_CHANGE_SIZE:
            raise ProtocolError(f"state change of {len(payload)} bytes, 240 needed", payload)
        state, level, processor, processors, thread, pc = _CHANGE.unpack_from(payload)
        dr6, dr7, eflags, count, flags, stream, *segments = _REPORT.unpack_from(
            payload, _REPORT_OFFSET
        )
        stream = stream[: min(count, INSTRUCTION_BYTES)]
        report = ControlReport(dr6, dr7, eflags, flags, stream, *segments)
        alternate = bool(state & ALTERNATE_SOURCE)
        common = (processor, processors, thread, pc, level, alternate, report)
        match state & ~ALTERNATE_SOURCE:
            case StateKind.EXCEPTION:
                code, flags, record, address, number, *rest = _EXCEPTION.unpack_from(
                    payload, _UNION
                )
                parameters = tuple(rest[: min(number, MAX_PARAMETERS)])
                return ExceptionChange(
                    *common, code, flags, record, address, parameters, bool(rest[MAX_PARAMETERS])
                )
            case StateKind.LOAD_SYMBOLS:
                length, base, process, checksum, size, unload = _LOAD.unpack_from(payload, _UNION)
                text = payload[STATE_CHANGE_SIZE : STATE_CHANGE_SIZE + length]
                name = text.partition(b"\0")[0].decode("latin-1")
                return LoadSymbolsChange(*common, base, process, checksum, size, bool(unload), name)
            case StateKind.COMMAND_STRING:
                name, command, *_ = (
                    (payload[STATE_CHANGE_SIZE:] + b"\0\0").decode("latin-1").split("\0", 2)
                )
                return CommandStringChange(*common, name, command)
        return UnknownChange(*common, state & ~ALTERNATE_SOURCE)

    def _pack(self, kind: int, union: bytes, data: bytes = b"") -> bytes:
        state = kind | (ALTERNATE_SOURCE if self.alternate else 0)
        head = _CHANGE.pack(
            state, self.level, self.processor, self.processors, self.thread, self.pc
        )
        report = self.report
        tail = _REPORT.pack(
            report.dr6,
            report.dr7,
            report.eflags,
            len(report.instructions),
            report.flags,
            report.instructions,
            report.cs,
            report.ds,
            report.es,
            report.fs,
        )
        return head + union + tail + data


@dataclass(frozen=True, slots=True)
class ExceptionChange(StateChange):
    code: int = 0
    flags: int = 0
    record: int = 0
    address: int = 0
    parameters: tuple[int, ...] = ()
    first_chance: bool = True

    def pack(self) -> bytes:
        padded = self.parameters + (0,) * (MAX_PARAMETERS - len(self.parameters))
        union = _EXCEPTION.pack(
            self.code,
            self.flags,
            self.record,
            self.address,
            len(self.parameters),
            *padded,
            self.first_chance,
        )
        return self._pack(StateKind.EXCEPTION, union)


@dataclass(frozen=True, slots=True)
class LoadSymbolsChange(StateChange):
    """An image was loaded or unloaded. Base -1 with `unload` and no path: the target is leaving."""

    base: int = 0
    process_id: int = 0
    checksum: int = 0
    size: int = 0
    unload: bool = False
    path: str = ""

    def pack(self) -> bytes:
        name = self.path.encode("latin-1", "replace") + b"\0" if self.path else b""
        union = _LOAD.pack(
            len(name), self.base, self.process_id, self.checksum, self.size, self.unload
        )
        return self._pack(StateKind.LOAD_SYMBOLS, union, name)


@dataclass(frozen=True, slots=True)
class CommandStringChange(StateChange):
    name: str = ""
    command: str = ""

    def pack(self) -> bytes:
        text = f"{self.name}\0{self.command}\0".encode("latin-1", "replace")
        return self._pack(StateKind.COMMAND_STRING, bytes(_REPORT_OFFSET - _UNION), text)


@dataclass(frozen=True, slots=True)
class UnknownChange(StateChange):
    """A kind that is not known here. Its target waits for a continue, as after any other."""

    state: int = 0

    def pack(self) -> bytes:
        return self._pack(self.state, bytes(_REPORT_OFFSET - _UNION))


AnyStateChange = ExceptionChange | LoadSymbolsChange | CommandStringChange | UnknownChange


class DebugIoApi(IntEnum):
    PRINT_STRING = 0x3230
    GET_STRING = 0x3231


_DEBUG_IO = Struct("<IHHII")


class PrintString(NamedTuple):
    """DbgPrint text on its way to the debugger."""

    text: bytes
    processor: int = 0
    level: int = 0

    def pack(self) -> bytes:
        head = _DEBUG_IO.pack(
            DebugIoApi.PRINT_STRING, self.level, self.processor, len(self.text), 0
        )
        return head + self.text


class GetString(NamedTuple):
    """A prompt: the target waits for at most `limit` bytes of answer."""

    prompt: bytes
    limit: int
    processor: int = 0
    level: int = 0

    def pack(self) -> bytes:
        head = _DEBUG_IO.pack(
            DebugIoApi.GET_STRING, self.level, self.processor, len(self.prompt), self.limit
        )
        return head + self.prompt

    def answer(self, text: bytes) -> StringAnswer:
        return StringAnswer(text[: self.limit], self.processor, self.level)


class StringAnswer(NamedTuple):
    """The debugger's answer to a prompt."""

    text: bytes
    processor: int = 0
    level: int = 0

    def pack(self) -> bytes:
        head = _DEBUG_IO.pack(DebugIoApi.GET_STRING, self.level, self.processor, 0, len(self.text))
        return head + self.text

    @classmethod
    def unpack(cls, payload: bytes) -> StringAnswer:
        api, level, processor, _, length = _debug_io_header(payload)
        if api != DebugIoApi.GET_STRING:
            raise ProtocolError(f"debug I/O {api:04x} does not answer a prompt", payload)
        return cls(_debug_io_text(payload, length), processor, level)


def unpack_debug_io(payload: bytes) -> PrintString | GetString:
    """What a target's KD_DEBUG_IO packet says.

    Raises:
        ProtocolError: too short, or neither a print nor a prompt.
    """
    api, level, processor, length, limit = _debug_io_header(payload)
    text = _debug_io_text(payload, length)
    if api == DebugIoApi.PRINT_STRING:
        return PrintString(text, processor, level)
    if api == DebugIoApi.GET_STRING:
        return GetString(text, limit, processor, level)
    raise ProtocolError(f"unknown debug I/O {api:08x}", payload)


def _debug_io_header(payload: bytes) -> tuple[int, int, int, int, int]:
    if len(payload) < _DEBUG_IO.size:
        raise ProtocolError(f"debug I/O of {len(payload)} bytes, 16 needed", payload)
    api, level, processor, length, limit = _DEBUG_IO.unpack_from(payload)
    return api, level, processor, length, limit


def _debug_io_text(payload: bytes, length: int) -> bytes:
    text = payload[_DEBUG_IO.size : _DEBUG_IO.size + length]
    if len(text) != length:
        raise ProtocolError(f"debug I/O names {length} bytes of text, {len(text)} came", payload)
    return text


class FileApi(IntEnum):
    CREATE = 0x3430
    READ = 0x3431
    WRITE = 0x3432
    CLOSE = 0x3433


FILE_IO_SIZE = 64
_FILE_HEAD = Struct("<II")
_FILE_CREATE = Struct("<IIIII4xQQ")
_FILE_TRANSFER = Struct("<QQI")


class FileCreate(NamedTuple):
    """The union of a create request; `handle` and `length` belong to the reply."""

    access: int
    attributes: int
    share: int
    disposition: int
    options: int
    handle: int = 0
    length: int = 0


class FileTransfer(NamedTuple):
    """The union of a read, write or close request."""

    handle: int
    offset: int = 0
    length: int = 0


class FileIo(NamedTuple):
    """A target's file request or the debugger's reply: the raw 64-byte header and the data."""

    header: bytes
    data: bytes = b""

    @classmethod
    def request(cls, api: FileApi, union: FileCreate | FileTransfer, data: bytes = b"") -> FileIo:
        layout = _FILE_CREATE if isinstance(union, FileCreate) else _FILE_TRANSFER
        head = _FILE_HEAD.pack(api, 0x103) + layout.pack(*union)
        return cls(head.ljust(FILE_IO_SIZE, b"\0"), data)

    @classmethod
    def create(cls, path: str, access: int = 0x120089, disposition: int = 1) -> FileIo:
        """Open `path` on the debugger's side, for reading unless `access` says otherwise."""
        union = FileCreate(access, 0x80, 1, disposition, 0)
        return cls.request(FileApi.CREATE, union, path.encode("utf-16-le") + b"\0\0")

    @classmethod
    def unpack(cls, payload: bytes) -> FileIo:
        if len(payload) < FILE_IO_SIZE:
            raise ProtocolError(f"file I/O of {len(payload)} bytes, 64 needed", payload)
        return cls(payload[:FILE_IO_SIZE], payload[FILE_IO_SIZE:])

    def pack(self) -> bytes:
        return self.header + self.data

    def reply(self, status: int, data: bytes = b"") -> FileIo:
        """This request's header echoed with `status`."""
        return FileIo(self.header[:4] + status.to_bytes(4, "little") + self.header[8:], data)

    def created(self, handle: int, length: int) -> FileIo:
        """The reply to a create request that opened a file of `length` bytes."""
        done = bytearray(self.reply(0).header)
        union = self.creation._replace(handle=handle, length=length)
        _FILE_CREATE.pack_into(done, _FILE_HEAD.size, *union)
        return FileIo(bytes(done))

    def read(self, data: bytes) -> FileIo:
        """The reply to a read request: what was read, and how much it is."""
        done = bytearray(self.reply(0).header)
        _FILE_TRANSFER.pack_into(done, _FILE_HEAD.size, *self.transfer._replace(length=len(data)))
        return FileIo(bytes(done), data)

    @property
    def api(self) -> int:
        return int.from_bytes(self.header[:4], "little")

    @property
    def status(self) -> int:
        return int.from_bytes(self.header[4:8], "little")

    @property
    def creation(self) -> FileCreate:
        return FileCreate._make(_FILE_CREATE.unpack_from(self.header, _FILE_HEAD.size))

    @property
    def transfer(self) -> FileTransfer:
        return FileTransfer._make(_FILE_TRANSFER.unpack_from(self.header, _FILE_HEAD.size))

    @property
    def path(self) -> str:
        return self.data.decode("utf-16-le", "replace").split("\0", 1)[0]


class ControlApi(IntEnum):
    REQUEST_BREAKPOINT = 0x4300
    RELEASE_BREAKPOINT = 0x4301


_CONTROL = Struct("<III")


class ControlRequest(NamedTuple):
    """The target asks for, or gives back, a hardware breakpoint register."""

    api: int
    number: int
    granted: int = 0

    def pack(self) -> bytes:
        return _CONTROL.pack(self.api, self.number, self.granted)

    @classmethod
    def unpack(cls, payload: bytes) -> ControlRequest:
        if len(payload) < _CONTROL.size:
            raise ProtocolError(f"control request of {len(payload)} bytes, 12 needed", payload)
        return cls(*_CONTROL.unpack_from(payload))


TRACE_IO_SIZE = 64
_TRACE = Struct("<IHHI")


class TraceIo(NamedTuple):
    """Event-tracing data on its way to the debugger."""

    data: bytes
    processor: int = 0
    level: int = 0
    api: int = 0x3330

    def pack(self) -> bytes:
        head = _TRACE.pack(self.api, self.level, self.processor, len(self.data))
        return head.ljust(TRACE_IO_SIZE, b"\0") + self.data

    @classmethod
    def unpack(cls, payload: bytes) -> TraceIo:
        if len(payload) < TRACE_IO_SIZE:
            raise ProtocolError(f"trace I/O of {len(payload)} bytes, 64 needed", payload)
        api, level, processor, length = _TRACE.unpack_from(payload)
        data = payload[TRACE_IO_SIZE : TRACE_IO_SIZE + length]
        if len(data) != length:
            raise ProtocolError(f"trace I/O names {length} bytes, {len(data)} came", payload)
        return cls(data, processor, level, api)
