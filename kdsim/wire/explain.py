"""What a packet says, field by field, for people: the text of `kdsim wire`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from kdsim.errors import ProtocolError
from kdsim.wire.context import CONTEXT_SIZE, Context, RegisterBlock, SpecialRegisters
from kdsim.wire.manipulate import ARGUMENTS, Api, Manipulate, Status
from kdsim.wire.messages import (
    CommandStringChange,
    ControlApi,
    ControlRequest,
    DebugIoApi,
    ExceptionChange,
    FileApi,
    FileIo,
    LoadSymbolsChange,
    StateChange,
    StringAnswer,
    TraceIo,
    unpack_debug_io,
)
from kdsim.wire.packets import Frame, PacketType

Fields = Iterator[tuple[str, str]]

_TEXT = frozenset(range(0x20, 0x7F))

_DECIMAL = frozenset(
    {"processor", "processors", "size", "actual", "length", "limit", "level", "handle", "number"}
)
"""Fields that count something; all others are addresses, codes or bits."""

_CONTEXTS = (Api.GET_CONTEXT, Api.SET_CONTEXT)
_CONTROL_SPACES = (Api.READ_CONTROL_SPACE, Api.WRITE_CONTROL_SPACE)
_SPECIAL_REGISTERS = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Explained:
    """One packet: its name, its fields with their values, and the raw data that goes with them."""

    name: str
    fields: tuple[tuple[str, str], ...] = ()
    data: bytes = b""


def explain(frame: Frame, *, from_host: bool) -> Explained:
    """What a packet says. One that does not hold together is named so, with its bytes."""
    try:
        kind = PacketType(frame.type)
    except ValueError:
        return Explained(f"packet type {frame.type}", (), frame.payload)
    if frame.control:
        return Explained(kind.name)
    try:
        return _MESSAGES[kind](frame.payload, from_host)
    except KeyError:
        return Explained(kind.name, (), frame.payload)
    except ProtocolError as error:
        return Explained(f"{kind.name} (damaged: {error})", (), frame.payload)


def _manipulate(payload: bytes, from_host: bool) -> Explained:
    message = Manipulate.unpack(payload)
    number = message.api
    known = number in set(Api)
    name = Api(number).name if known else f"api {number:04x}"
    fields: list[tuple[str, str]] = [("processor", str(message.processor))]
    fields.append(("level", str(message.level)))
    if from_host:
        name = f"{name} request"
    else:
        name = f"{name} reply"
        fields.append(("status", _status(message.status)))
    if from_host and number == Api.GET_VERSION:
        # Debuggers send whatever their memory held; all of it is for the reply.
        return Explained(name, tuple(fields))
    if known:
        arguments = message.arguments(ARGUMENTS[Api(number)])
        fields += _values(arguments._asdict().items())  # type: ignore[attr-defined]
    else:
        fields.append(("union", message.header[16:].hex()))
    fields += _registers(message)
    return Explained(name, tuple(fields), message.data)


def _registers(message: Manipulate) -> Fields:
    """The registers in a context or in the special registers, when they travel along."""
    block: RegisterBlock
    if message.api in _CONTEXTS and len(message.data) == CONTEXT_SIZE:
        block = Context(message.data)
        shown: Iterable[str] = ("rip", "rsp", "efl", "rax", "rbx", "rcx", "rdx", "dr7")
    elif message.api in _CONTROL_SPACES and message.header[16:24] == bytes(
        (_SPECIAL_REGISTERS, 0, 0, 0, 0, 0, 0, 0)
    ):
        block = SpecialRegisters(message.data)
        shown = ("cr0", "cr2", "cr3", "cr4", "cr8")
    else:
        return
    for name in shown:
        if name in block:
            yield name, f"{block.get(name):x}"


def _state_change(payload: bytes, from_host: bool) -> Explained:
    change = StateChange.unpack(payload)
    kinds = {
        ExceptionChange: "exception",
        LoadSymbolsChange: "load symbols",
        CommandStringChange: "command string",
    }
    kind = kinds.get(type(change), "of an unknown kind")
    if isinstance(change, LoadSymbolsChange) and change.unload:
        kind = "unload symbols"
    return Explained(f"STATE_CHANGE64 {kind}", tuple(_values(dataclasses.asdict(change).items())))


def _debug_io(payload: bytes, from_host: bool) -> Explained:
    if from_host:
        answer = StringAnswer.unpack(payload)
        return Explained("DEBUG_IO answer", tuple(_values(answer._asdict().items())))
    message = unpack_debug_io(payload)
    api = int.from_bytes(payload[:4], "little")
    return Explained(f"DEBUG_IO {DebugIoApi(api).name}", tuple(_values(message._asdict().items())))


def _file_io(payload: bytes, from_host: bool) -> Explained:
    message = FileIo.unpack(payload)
    known = message.api in set(FileApi)
    name = FileApi(message.api).name if known else f"{message.api:04x}"
    fields = [("status", _status(message.status))]
    if message.api == FileApi.CREATE:
        fields += _values(message.creation._asdict().items())
        if not from_host:
            fields.append(("path", message.path))
            return Explained(f"FILE_IO {name} request", tuple(fields))
    elif known:
        fields += _values(message.transfer._asdict().items())
    way = "reply" if from_host else "request"
    return Explained(f"FILE_IO {name} {way}", tuple(fields), message.data)


def _control_request(payload: bytes, from_host: bool) -> Explained:
    message = ControlRequest.unpack(payload)
    known = message.api in set(ControlApi)
    name = ControlApi(message.api).name if known else f"{message.api:04x}"
    fields = tuple(_values([("number", message.number), ("granted", message.granted)]))
    return Explained(f"CONTROL_REQUEST {name}", fields)


def _trace_io(payload: bytes, from_host: bool) -> Explained:
    message = TraceIo.unpack(payload)
    fields = message._asdict()
    del fields["data"]
    return Explained("TRACE_IO", tuple(_values(fields.items())), message.data)


_MESSAGES = {
    PacketType.MANIPULATE: _manipulate,
    PacketType.STATE_CHANGE64: _state_change,
    PacketType.DEBUG_IO: _debug_io,
    PacketType.FILE_IO: _file_io,
    PacketType.CONTROL_REQUEST: _control_request,
    PacketType.TRACE_IO: _trace_io,
}


def _values(items: Iterable[tuple[str, object]]) -> Fields:
    for name, value in items:
        # The control report of a state change is a tuple with names of its own.
        if hasattr(value, "_asdict"):
            yield from _values(value._asdict().items())
        else:
            yield name, _value(name, value)


def _value(name: str, value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int() if name in _DECIMAL:
            return str(value)
        case int():
            return f"{value:x}"
        case bytes() if value and all(byte in _TEXT or byte in b"\r\n\t" for byte in value):
            return ascii(value.decode("ascii"))
        case bytes():
            return value.hex(" ")
        case tuple():
            return " ".join(_value(name, item) for item in value) or "none"
    return ascii(value)


def _status(status: int) -> str:
    known = status in set(Status)
    return f"{status:08x} {Status(status).name}" if known else f"{status:08x}"


def hex_lines(data: bytes) -> Iterator[str]:
    """Sixteen bytes a line, with their text."""
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        text = "".join(chr(byte) if byte in _TEXT else "." for byte in row)
        yield f"{start:04x}  {row.hex(' '):47}  {text}"
