"""KD_STATE_MANIPULATE: the requests of a debugger and the replies of a stopped target.

Request and reply share one 56-byte header whose last 40 bytes are a union; each API reads the union
its own way. Debuggers leave garbage in what they do not use, and a reply is the request's header
echoed with only status and result fields overwritten, so the header is kept as raw bytes here.
Layouts: `DBGKD_MANIPULATE_STATE64` in ReactOS `sdk/include/reactos/windbgkd.h`; the newer APIs are
from `wdbgexts.h`.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from struct import error as StructError
from typing import NamedTuple, TypeVar

from kdsim.errors import ProtocolError

HEADER_SIZE = 56
UNION_OFFSET = 16
UNION_SIZE = 40


class Api(IntEnum):
    READ_VIRTUAL = 0x3130
    WRITE_VIRTUAL = 0x3131
    GET_CONTEXT = 0x3132
    SET_CONTEXT = 0x3133
    WRITE_BREAKPOINT = 0x3134
    RESTORE_BREAKPOINT = 0x3135
    CONTINUE = 0x3136
    READ_CONTROL_SPACE = 0x3137
    WRITE_CONTROL_SPACE = 0x3138
    READ_IO = 0x3139
    WRITE_IO = 0x313A
    REBOOT = 0x313B
    CONTINUE2 = 0x313C
    READ_PHYSICAL = 0x313D
    WRITE_PHYSICAL = 0x313E
    QUERY_SPECIAL_CALLS = 0x313F
    SET_SPECIAL_CALL = 0x3140
    CLEAR_SPECIAL_CALLS = 0x3141
    SET_INTERNAL_BREAKPOINT = 0x3142
    GET_INTERNAL_BREAKPOINT = 0x3143
    READ_IO_EXTENDED = 0x3144
    WRITE_IO_EXTENDED = 0x3145
    GET_VERSION = 0x3146
    WRITE_BREAKPOINT_EX = 0x3147
    RESTORE_BREAKPOINT_EX = 0x3148
    CAUSE_BUGCHECK = 0x3149
    SWITCH_PROCESSOR = 0x3150
    PAGE_IN = 0x3151
    READ_MSR = 0x3152
    WRITE_MSR = 0x3153
    SEARCH_MEMORY = 0x3156
    GET_BUS_DATA = 0x3157
    SET_BUS_DATA = 0x3158
    CHECK_LOW_MEMORY = 0x3159
    CLEAR_ALL_INTERNAL_BREAKPOINTS = 0x315A
    FILL_MEMORY = 0x315B
    QUERY_MEMORY = 0x315C
    SWITCH_PARTITION = 0x315D
    WRITE_CUSTOM_BREAKPOINT = 0x315E
    GET_CONTEXT_EX = 0x315F
    SET_CONTEXT_EX = 0x3160


PARTING = frozenset(
    {
        Api.CONTINUE,
        Api.CONTINUE2,
        Api.REBOOT,
        Api.CAUSE_BUGCHECK,
        Api.SWITCH_PROCESSOR,
    }
)
"""Requests that end a stop; the next word of the target is a new state change, if any."""
NO_REPLY = PARTING | {Api.SET_INTERNAL_BREAKPOINT, Api.CLEAR_ALL_INTERNAL_BREAKPOINTS}
"""Requests that are acknowledged but not answered."""


PROMPT = frozenset(
    {
        Api.READ_VIRTUAL,
        Api.READ_PHYSICAL,
        Api.READ_CONTROL_SPACE,
        Api.GET_CONTEXT,
        Api.GET_VERSION,
        Api.WRITE_BREAKPOINT,
        Api.RESTORE_BREAKPOINT,
    }
)
"""Requests answered so fast that their ACK may leave together with the reply, which wakes the
debugger once instead of twice."""


class Status(IntEnum):
    """The NTSTATUS values KD replies use."""

    SUCCESS = 0
    PENDING = 0x103
    UNSUCCESSFUL = 0xC0000001
    NOT_IMPLEMENTED = 0xC0000002
    INVALID_HANDLE = 0xC0000008
    INVALID_PARAMETER = 0xC000000D
    NO_SUCH_DEVICE = 0xC000000E
    NO_SUCH_FILE = 0xC000000F
    END_OF_FILE = 0xC0000011
    ACCESS_DENIED = 0xC0000022
    NOT_FOUND = 0xC0000225


class VersionFlag(IntFlag):
    """DBGKD_GET_VERSION64.Flags."""

    MP = 1
    DATA = 2
    PTR64 = 4
    NO_MM = 8
    HSS = 16
    PARTITIONS = 32


class MemoryArguments(NamedTuple):
    """Virtual and physical memory, control space (`address` is the selector there).

    For physical memory a request's third word is the caching kind; in every reply it is the number
    of bytes done.
    """

    address: int
    size: int
    actual: int = 0


class ContextArguments(NamedTuple):
    flags: int = 0


class WriteBreakpointArguments(NamedTuple):
    address: int
    handle: int = 0


class RestoreBreakpointArguments(NamedTuple):
    handle: int


class ContinueArguments(NamedTuple):
    status: int


class Continue2Arguments(NamedTuple):
    """The AMD64 control set, packed to 4 bytes, follows the status. Symbol start 1: no change."""

    status: int
    trace: int = 0
    dr7: int = 0x400
    symbol_start: int = 1
    symbol_end: int = 0


class IoArguments(NamedTuple):
    port: int
    size: int
    value: int = 0


class IoExtendedArguments(NamedTuple):
    size: int
    interface: int
    bus: int
    space: int
    port: int
    value: int = 0


class SpecialCallArguments(NamedTuple):
    call: int


class InternalBreakpointArguments(NamedTuple):
    address: int
    flags: int = 0
    calls: int = 0
    max_calls_per_period: int = 0
    min_instructions: int = 0
    max_instructions: int = 0
    total_instructions: int = 0


class VersionArguments(NamedTuple):
    """DBGKD_GET_VERSION64."""

    major: int
    minor: int
    protocol: int = 6
    secondary: int = 2
    flags: int = VersionFlag.MP | VersionFlag.DATA | VersionFlag.PTR64
    machine: int = 0x8664
    max_packet_type: int = 0x0C
    max_state_change: int = 3
    max_manipulate: int = Api.SET_CONTEXT_EX + 1 - Api.READ_VIRTUAL
    simulation: int = 0
    unused: int = 0
    kernel_base: int = 0
    module_list: int = 0
    data_list: int = 0


class BreakpointExArguments(NamedTuple):
    number: int
    continue_status: int = 0


class MsrArguments(NamedTuple):
    msr: int
    low: int = 0
    high: int = 0


class SearchArguments(NamedTuple):
    """A reply's `address` is where the pattern was found."""

    address: int
    length: int
    pattern_length: int = 0


class BusDataArguments(NamedTuple):
    kind: int
    bus: int
    slot: int
    offset: int
    length: int


class FillArguments(NamedTuple):
    """Flags: 1 virtual, 2 physical. A reply's `length` is the number of bytes filled."""

    address: int
    length: int
    flags: int
    pattern_length: int


class QueryMemoryArguments(NamedTuple):
    address: int
    reserved: int = 0
    space: int = 0
    flags: int = 0


class SwitchPartitionArguments(NamedTuple):
    partition: int


class CustomBreakpointArguments(NamedTuple):
    address: int
    instruction: int
    handle: int
    size: int
    alignment: int


class ContextExArguments(NamedTuple):
    """In SetContextEx `total` is the size of the whole context, in a reply the bytes copied."""

    offset: int
    size: int
    total: int = 0


class NoArguments(NamedTuple):
    pass


Arguments = tuple[int, ...]
"""Any of the classes above."""

_LAYOUTS: dict[type[Arguments], Struct] = {
    MemoryArguments: Struct("<QII"),
    ContextArguments: Struct("<I"),
    WriteBreakpointArguments: Struct("<QI"),
    RestoreBreakpointArguments: Struct("<I"),
    ContinueArguments: Struct("<I"),
    Continue2Arguments: Struct("<IIQQQ"),
    IoArguments: Struct("<QII"),
    IoExtendedArguments: Struct("<IIIIQI"),
    SpecialCallArguments: Struct("<Q"),
    InternalBreakpointArguments: Struct("<QIIIIII"),
    VersionArguments: Struct("<HHBBHHBBBBHQQQ"),
    BreakpointExArguments: Struct("<II"),
    MsrArguments: Struct("<III"),
    SearchArguments: Struct("<QQI"),
    BusDataArguments: Struct("<IIIII"),
    FillArguments: Struct("<QIHH"),
    QueryMemoryArguments: Struct("<QQII"),
    SwitchPartitionArguments: Struct("<I"),
    CustomBreakpointArguments: Struct("<QQIBB"),
    ContextExArguments: Struct("<III"),
    NoArguments: Struct("<"),
}

ARGUMENTS: dict[Api, type[Arguments]] = {
    Api.READ_VIRTUAL: MemoryArguments,
    Api.WRITE_VIRTUAL: MemoryArguments,
    Api.GET_CONTEXT: ContextArguments,
    Api.SET_CONTEXT: ContextArguments,
    Api.WRITE_BREAKPOINT: WriteBreakpointArguments,
    Api.RESTORE_BREAKPOINT: RestoreBreakpointArguments,
    Api.CONTINUE: ContinueArguments,
    Api.READ_CONTROL_SPACE: MemoryArguments,
    Api.WRITE_CONTROL_SPACE: MemoryArguments,
    Api.READ_IO: IoArguments,
    Api.WRITE_IO: IoArguments,
    Api.REBOOT: NoArguments,
    Api.CONTINUE2: Continue2Arguments,
    Api.READ_PHYSICAL: MemoryArguments,
    Api.WRITE_PHYSICAL: MemoryArguments,
    Api.QUERY_SPECIAL_CALLS: ContextArguments,
    Api.SET_SPECIAL_CALL: SpecialCallArguments,
    Api.CLEAR_SPECIAL_CALLS: NoArguments,
    Api.SET_INTERNAL_BREAKPOINT: InternalBreakpointArguments,
    Api.GET_INTERNAL_BREAKPOINT: InternalBreakpointArguments,
    Api.READ_IO_EXTENDED: IoExtendedArguments,
    Api.WRITE_IO_EXTENDED: IoExtendedArguments,
    Api.GET_VERSION: VersionArguments,
    Api.WRITE_BREAKPOINT_EX: BreakpointExArguments,
    Api.RESTORE_BREAKPOINT_EX: BreakpointExArguments,
    Api.CAUSE_BUGCHECK: NoArguments,
    Api.SWITCH_PROCESSOR: NoArguments,
    Api.PAGE_IN: MemoryArguments,
    Api.READ_MSR: MsrArguments,
    Api.WRITE_MSR: MsrArguments,
    Api.SEARCH_MEMORY: SearchArguments,
    Api.GET_BUS_DATA: BusDataArguments,
    Api.SET_BUS_DATA: BusDataArguments,
    Api.CHECK_LOW_MEMORY: NoArguments,
    Api.CLEAR_ALL_INTERNAL_BREAKPOINTS: NoArguments,
    Api.FILL_MEMORY: FillArguments,
    Api.QUERY_MEMORY: QueryMemoryArguments,
    Api.SWITCH_PARTITION: SwitchPartitionArguments,
    Api.WRITE_CUSTOM_BREAKPOINT: CustomBreakpointArguments,
    Api.GET_CONTEXT_EX: ContextExArguments,
    Api.SET_CONTEXT_EX: ContextExArguments,
}

_ADDRESS = slice(UNION_OFFSET, UNION_OFFSET + 8)
_ADDRESSED = frozenset(api for api, kind in ARGUMENTS.items() if kind is MemoryArguments)

A = TypeVar("A", bound=Arguments)

_HEAD = Struct("<IHHI")
_STATUS = Struct("<I")


class Manipulate(NamedTuple):
    """One request or reply: the raw 56-byte header and the data behind it."""

    header: bytes
    data: bytes = b""

    @classmethod
    def request(
        cls,
        api: Api,
        arguments: Arguments | None = None,
        data: bytes = b"",
        *,
        processor: int = 0,
        level: int = 0,
    ) -> Manipulate:
        """A debugger's request; unused bytes are zero.

        Raises:
            ProtocolError: an argument does not fit its field.
        """
        header = bytearray(HEADER_SIZE)
        try:
            _HEAD.pack_into(header, 0, api, level, processor, Status.PENDING)
            if arguments is not None:
                _LAYOUTS[type(arguments)].pack_into(header, UNION_OFFSET, *arguments)
        except StructError as error:
            raise ProtocolError(f"{api.name} cannot carry {arguments}: {error}") from error
        return cls(bytes(header), data)

    def reply(
        self, status: int = Status.SUCCESS, arguments: Arguments | None = None, data: bytes = b""
    ) -> Manipulate:
        """The answer to this request: its own header with status and arguments overwritten."""
        header = bytearray(self.header)
        try:
            _STATUS.pack_into(header, 8, status)
            if arguments is not None:
                _LAYOUTS[type(arguments)].pack_into(header, UNION_OFFSET, *arguments)
        except StructError as error:
            raise ProtocolError(f"reply cannot carry {arguments}: {error}") from error
        return Manipulate(bytes(header), data)

    @classmethod
    def unpack(cls, payload: bytes) -> Manipulate:
        """Raises `ProtocolError` when the payload is shorter than the header."""
        if len(payload) < HEADER_SIZE:
            raise ProtocolError(f"manipulate message of {len(payload)} bytes, 56 needed", payload)
        return cls(payload[:HEADER_SIZE], payload[HEADER_SIZE:])

    @classmethod
    def unpack_reply(cls, payload: bytes) -> Manipulate:
        """Like `unpack`; a refusal may consist of what comes before the union (VirtualBox)."""
        if UNION_OFFSET <= len(payload) < HEADER_SIZE:
            payload = payload.ljust(HEADER_SIZE, b"\0")
        return cls.unpack(payload)

    def pack(self) -> bytes:
        return self.header + self.data

    def arguments(self, kind: type[A]) -> A:
        """The union read as `kind`, for instance `message.arguments(MemoryArguments).address`."""
        return tuple.__new__(kind, _LAYOUTS[kind].unpack_from(self.header, UNION_OFFSET))

    @property
    def api(self) -> int:
        """API number; compare with `Api`, which an unknown number is not a member of."""
        number: int = _HEAD.unpack_from(self.header)[0]
        return number

    @property
    def level(self) -> int:
        level: int = _HEAD.unpack_from(self.header)[1]
        return level

    @property
    def processor(self) -> int:
        """Garbage unless the request is about a context or control space."""
        processor: int = _HEAD.unpack_from(self.header)[2]
        return processor

    @property
    def status(self) -> int:
        status: int = _HEAD.unpack_from(self.header)[3]
        return status

    @property
    def succeeded(self) -> bool:
        """NT_SUCCESS: the sign bit of the status is clear."""
        return self.status < 0x80000000

    def answers(self, request: Manipulate) -> bool:
        """Whether this can be the reply to `request`, and not a late one to an earlier request."""
        api = request.api
        if self.api != api:
            return False
        return api not in _ADDRESSED or self.header[_ADDRESS] == request.header[_ADDRESS]

    def __str__(self) -> str:
        try:
            api = Api(self.api)
        except ValueError:
            return f"api {self.api:04x} status {self.status:08x} + {len(self.data)} bytes"
        arguments = self.arguments(ARGUMENTS[api])
        return f"{api.name} status {self.status:08x} {arguments} + {len(self.data)} bytes"
