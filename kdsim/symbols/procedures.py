"""The symbol stream of one object file: procedures, their scopes and their local variables."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal, NamedTuple

from kdsim.errors import FormatError
from kdsim.symbols.codeview import records, text
from kdsim.symbols.registers import register_name
from kdsim.symbols.types import Type

S_END, S_FRAMEPROC, S_THUNK32, S_BLOCK32 = 0x0006, 0x1012, 0x1102, 0x1103
S_REGISTER, S_BPREL32, S_LDATA32, S_REGREL32 = 0x1106, 0x110B, 0x110C, 0x1111
S_LPROC32, S_GPROC32, S_LOCAL = 0x110F, 0x1110, 0x113E
S_DEFRANGE_REGISTER, S_DEFRANGE_FRAMEPOINTER_REL = 0x1141, 0x1142
S_DEFRANGE_SUBFIELD_REGISTER, S_DEFRANGE_FRAMEPOINTER_REL_FULL_SCOPE = 0x1143, 0x1144
S_DEFRANGE_REGISTER_REL = 0x1145
S_LPROC32_ID, S_GPROC32_ID, S_LPROC32_DPC, S_LPROC32_DPC_ID = 0x1146, 0x1147, 0x1155, 0x1156
S_INLINESITE, S_INLINESITE_END, S_PROC_ID_END, S_INLINESITE2 = 0x114D, 0x114E, 0x114F, 0x115D
S_SEPCODE = 0x1132

PROCEDURES = frozenset(
    (S_LPROC32, S_GPROC32, S_LPROC32_ID, S_GPROC32_ID, S_LPROC32_DPC, S_LPROC32_DPC_ID)
)
IDENTIFIED = frozenset((S_LPROC32_ID, S_GPROC32_ID, S_LPROC32_DPC_ID))
STATIC = frozenset((S_LPROC32, S_LPROC32_ID, S_LPROC32_DPC, S_LPROC32_DPC_ID))
_OPENING = PROCEDURES | {S_THUNK32, S_BLOCK32, S_INLINESITE, S_INLINESITE2, S_SEPCODE}
_CLOSING = frozenset((S_END, S_INLINESITE_END, S_PROC_ID_END))
_SIGNATURE_C13 = 4
_PARAMETER, _OPTIMISED_OUT = 0x0001, 0x0100
_FRAME_REGISTERS = {1: "rsp", 2: "rbp", 3: "r13"}

_PROCEDURE = struct.Struct("<IIIIIIIIHB")
_THUNK = struct.Struct("<IIIIHHB")
_BLOCK = struct.Struct("<IIIIH")
_RANGE = struct.Struct("<IHH")

Place = Literal["register", "memory", "static", "unavailable"]


class Procedure(NamedTuple):
    """A procedure or thunk: where its record is and which code it covers."""

    rva: int
    size: int
    offset: int
    kind: int
    type: int
    name: str


class Local(NamedTuple):
    """A parameter or local variable, as seen from one address.

    `place` says where it is: in `register`; in memory at `register` + `offset`; at the image's
    address `offset` (static); or nowhere at that address.
    """

    name: str
    type: Type
    is_parameter: bool
    place: Place
    register: str = ""
    offset: int = 0


class ModuleSymbols:
    """Symbol records of one object file."""

    def __init__(self, data: bytes, rva: Callable[[int, int], int | None], name: str) -> None:
        """`data` is the symbol part of the stream; `rva` makes addresses of (segment, offset)."""
        self._data = data
        self._rva = rva
        self._name = name
        if data and int.from_bytes(data[:4], "little") != _SIGNATURE_C13:
            raise FormatError(f"{name}: symbols older than CodeView C13")

    def procedure(self, offset: int) -> Procedure | None:
        """The procedure whose record is at an offset of the stream."""
        if not 4 <= offset <= len(self._data) - 4:
            return None
        length, kind = struct.unpack_from("<HH", self._data, offset)
        body = self._data[offset + 4 : offset + 2 + length]
        return self._parse(offset, kind, body)[0]

    def _parse(self, offset: int, kind: int, body: bytes) -> tuple[Procedure | None, int]:
        """A procedure (None when it lies in no section) and the offset of its end record."""
        try:
            if kind == S_THUNK32:
                _, end, _, start, segment, size, _ = _THUNK.unpack_from(body)
                type_index, name_at = 0, _THUNK.size
            elif kind in PROCEDURES:
                row = _PROCEDURE.unpack_from(body)
                _, end, _, size, _, _, type_index, start, segment, _ = row
                name_at = _PROCEDURE.size
            else:
                return None, 0
        except struct.error as error:
            raise FormatError(f"{self._name}: procedure at 0x{offset:x} is damaged") from error
        rva = self._rva(segment, start)
        if rva is None:
            return None, end
        return Procedure(rva, size, offset, kind, type_index, text(body, name_at)[0]), end

    @cached_property
    def _procedures(self) -> tuple[array[int], list[Procedure]]:
        """Procedures by address. Their insides are skipped by the records' end offsets."""
        found: list[Procedure] = []
        data, limit, position = self._data, len(self._data), 4
        unpack = struct.Struct("<HH").unpack_from
        while position + 4 <= limit:
            length, kind = unpack(data, position)
            following = position + 2 + length
            if length < 2 or following > limit:
                raise FormatError(f"{self._name}: symbol at 0x{position:x} is damaged")
            if kind in PROCEDURES or kind == S_THUNK32:
                found_here, end = self._parse(position, kind, data[position + 4 : following])
                if found_here is not None:
                    found.append(found_here)
                following = end if following <= end < limit else following
            position = following
        found.sort(key=lambda procedure: procedure.rva)
        return array("Q", (procedure.rva for procedure in found)), found

    @property
    def procedures(self) -> list[Procedure]:
        return self._procedures[1]

    def containing(self, rva: int) -> Procedure | None:
        """The procedure whose code covers an address."""
        starts, found = self._procedures
        index = bisect_right(starts, rva) - 1
        while index >= 0 and starts[index] == starts[index - 1] and index > 0:
            index -= 1
        if index < 0 or rva >= found[index].rva + max(found[index].size, 1):
            return None
        return found[index]

    def locals(
        self, procedure: Procedure, rva: int, resolve: Callable[[int], Type]
    ) -> Iterator[Local]:
        """Variables of the scopes of `procedure` that are open at `rva`."""
        frame_flags = 0
        for entry in self._visible(procedure, rva):
            if entry.kind == S_FRAMEPROC:
                frame_flags = struct.unpack_from("<I", entry.body, 22)[0]
            else:
                yield _Variable(self, entry, frame_flags).place(rva, resolve)

    def _visible(self, procedure: Procedure, rva: int) -> Iterator[_Entry]:
        """Variable records in open scopes, each with the ranges that follow it."""
        closed_at = 0
        depth = 0
        pending: _Entry | None = None
        for offset, kind, end in records(self._data, procedure.offset, len(self._data)):
            body = self._data[offset + 4 : end]
            if S_DEFRANGE_REGISTER <= kind <= S_DEFRANGE_REGISTER_REL:
                if pending is not None:
                    pending.ranges.append((kind, body))
                continue
            if pending is not None:
                yield pending
                pending = None
            if kind in _OPENING:
                depth += 1
                if not closed_at and depth > 1 and not self._open(kind, body, rva):
                    closed_at = depth
            elif kind in _CLOSING:
                closed_at = 0 if closed_at == depth else closed_at
                depth -= 1
                if depth == 0:
                    return
            elif not closed_at and (kind in _VARIABLES or kind == S_FRAMEPROC):
                pending = _Entry(kind, body, [])

    def _open(self, kind: int, body: bytes, rva: int) -> bool:
        if kind != S_BLOCK32:
            return False
        _, _, size, start, segment = _BLOCK.unpack_from(body)
        begin = self._rva(segment, start)
        return begin is not None and begin <= rva < begin + size

    def covers(self, body: bytes, at: int, rva: int) -> bool:
        """Whether the range at `at` of a S_DEFRANGE_* holds `rva`, gaps taken out."""
        start, segment, length = _RANGE.unpack_from(body, at)
        begin = self._rva(segment, start)
        if begin is None or not begin <= rva < begin + length:
            return False
        gaps = body[at + _RANGE.size :]
        pairs = struct.iter_unpack("<HH", gaps[: len(gaps) // 4 * 4])
        return not any(begin + gap <= rva < begin + gap + size for gap, size in pairs)

    def register(self, number: int) -> str:
        return register_name(number)

    def address(self, segment: int, offset: int) -> int | None:
        return self._rva(segment, offset)


class _Entry(NamedTuple):
    kind: int
    body: bytes
    ranges: list[tuple[int, bytes]]


_VARIABLES = frozenset((S_REGISTER, S_BPREL32, S_LDATA32, S_REGREL32, S_LOCAL))


class _Variable:
    """One variable record and its ranges, turned into a `Local`."""

    def __init__(self, module: ModuleSymbols, entry: _Entry, frame_flags: int) -> None:
        self._module = module
        self._entry = entry
        self._frame_flags = frame_flags

    def place(self, rva: int, resolve: Callable[[int], Type]) -> Local:
        kind, body, _ = self._entry
        if kind == S_LOCAL:
            return self._ranged(rva, resolve)
        module = self._module
        if kind == S_REGISTER:
            index, register = struct.unpack_from("<IH", body)
            where = module.register(register)
            return Local(_name(body, 6), resolve(index), False, "register", where)
        if kind == S_BPREL32:
            offset, index = struct.unpack_from("<iI", body)
            return Local(_name(body, 8), resolve(index), offset > 0, "memory", "rbp", offset)
        if kind == S_REGREL32:
            offset, index, register = struct.unpack_from("<iIH", body)
            base = module.register(register)
            return Local(_name(body, 10), resolve(index), False, "memory", base, offset)
        index, offset, segment = struct.unpack_from("<IIH", body)
        address = module.address(segment, offset)
        place: Place = "unavailable" if address is None else "static"
        return Local(_name(body, 10), resolve(index), False, place, "", address or 0)

    def _ranged(self, rva: int, resolve: Callable[[int], Type]) -> Local:
        index, flags = struct.unpack_from("<IH", self._entry.body)
        name = _name(self._entry.body, 6)
        parameter = bool(flags & _PARAMETER)
        place: tuple[Place, str, int] = ("unavailable", "", 0)
        if not flags & _OPTIMISED_OUT:
            for kind, body in self._entry.ranges:
                found = self._range(kind, body, rva, parameter)
                if found is not None:
                    place = found
                    break
        return Local(name, resolve(index), parameter, *place)

    def _range(
        self, kind: int, body: bytes, rva: int, parameter: bool
    ) -> tuple[Place, str, int] | None:
        module = self._module
        if kind == S_DEFRANGE_REGISTER:
            if module.covers(body, 4, rva):
                return "register", module.register(struct.unpack_from("<H", body)[0]), 0
        elif kind == S_DEFRANGE_REGISTER_REL:
            register, flags, offset = struct.unpack_from("<HHi", body)
            if module.covers(body, 8, rva) and not flags >> 4:
                return "memory", module.register(register), offset
        elif kind == S_DEFRANGE_FRAMEPOINTER_REL:
            if module.covers(body, 4, rva):
                return "memory", self._frame(parameter), struct.unpack_from("<i", body)[0]
        elif kind == S_DEFRANGE_FRAMEPOINTER_REL_FULL_SCOPE:
            return "memory", self._frame(parameter), struct.unpack_from("<i", body)[0]
        return None

    def _frame(self, parameter: bool) -> str:
        """S_FRAMEPROC tells the base register: bits 14-15 for locals, 16-17 for parameters."""
        return _FRAME_REGISTERS.get(self._frame_flags >> (16 if parameter else 14) & 3, "rsp")


def _name(body: bytes, offset: int) -> str:
    return text(body, offset)[0]
