"""The type stream of a PDB (TPI, and IPI for the identifiers), decoded record by record.

Records are found by index through the stream's own index-to-offset table and by name through its
hash table, so that asking for one type decodes that type only.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from kdsim.errors import FormatError
from kdsim.symbols.basetypes import FIRST_RECORD, builtin
from kdsim.symbols.codeview import Bytes, hash_v1, numeric, text, words
from kdsim.symbols.fields import LF_INDEX, Member, enum_values, member_fields, members
from kdsim.symbols.types import (
    Array,
    BaseType,
    BitField,
    Enum,
    Field,
    Function,
    Pointer,
    Record,
    RecordKind,
    Type,
)

LF_MODIFIER, LF_POINTER, LF_PROCEDURE, LF_MFUNCTION = 0x1001, 0x1002, 0x1008, 0x1009
LF_ARGLIST, LF_FIELDLIST, LF_BITFIELD = 0x1201, 0x1203, 0x1205
LF_ARRAY, LF_CLASS, LF_STRUCTURE, LF_UNION, LF_ENUM = 0x1503, 0x1504, 0x1505, 0x1506, 0x1507
LF_INTERFACE = 0x1519
LF_VTSHAPE = 0x000A
LF_FUNC_ID, LF_MFUNC_ID, LF_STRING_ID = 0x1601, 0x1602, 0x1605

_RECORD_KINDS: dict[int, RecordKind] = {
    LF_CLASS: "class",
    LF_STRUCTURE: "struct",
    LF_INTERFACE: "class",
    LF_UNION: "union",
}
_FORWARD = 0x0080
_UNIQUE_NAME = 0x0200

_HEADER = struct.Struct("<5I2H2I6I")
_VERSIONS = frozenset((19990903, 20040203))
_TAG_WITH_SIZE = {LF_CLASS: 16, LF_STRUCTURE: 16, LF_INTERFACE: 16, LF_UNION: 8}
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Tag:
    """The head of a class, struct, union or enum record."""

    index: int
    kind: int
    properties: int
    field_list: int
    base: int
    size: int
    name: str
    unique_name: str

    @property
    def forward(self) -> bool:
        return bool(self.properties & _FORWARD)


class TypeStream:
    """Raw records by index."""

    def __init__(self, data: Bytes, hashes: Callable[[int], Bytes], name: str) -> None:
        """`hashes` gives the stream of a number, for the hash stream the header names."""
        self.name = name
        if len(data) < _HEADER.size:
            raise FormatError(f"{name}: the type stream has no header")
        header = _HEADER.unpack_from(data)
        version, start, self.first, self.end, size, hash_stream, _, key_size, buckets = header[:9]
        if version not in _VERSIONS or self.first < FIRST_RECORD or self.end < self.first:
            raise FormatError(f"{name}: the type stream's header is damaged")
        if start + size > len(data) or (self.end - self.first) * 4 > size:
            raise FormatError(f"{name}: the type stream is cut short")
        self._records = data[start : start + size]
        self._values = self._skip_indices = self._skip_offsets = array("I")
        self.buckets = buckets
        table = bytes(hashes(hash_stream)) if hash_stream != 0xFFFF else b""
        if table and key_size == 4:
            self._read_hash_stream(table, header[9:13])
        self._offsets: dict[int, array[int]] = {}

    def _read_hash_stream(self, table: bytes, places: tuple[int, ...]) -> None:
        values, values_size, skips, skips_size = places
        if values_size == (self.end - self.first) * 4 and values + values_size <= len(table):
            self._value_bytes = table[values : values + values_size]
            self._values = words(self._value_bytes)
        pairs = words(table[skips : skips + skips_size // 8 * 8])
        ordered = all(a < b for a, b in zip(pairs[::2], pairs[2::2], strict=False))
        if pairs and pairs[0] == self.first and ordered and len(pairs) % 2 == 0:
            self._skip_indices, self._skip_offsets = pairs[::2], pairs[1::2]

    @property
    def hashed(self) -> bool:
        """Whether names can be looked up without reading all records."""
        return bool(self._values and self.buckets)

    def bucket(self, key: int) -> Iterator[int]:
        """Indices of the records whose name hash falls into the bucket of `key`."""
        wanted = struct.pack("<I", key % self.buckets)
        find = self._value_bytes.find
        position = find(wanted)
        while position >= 0:
            if position % 4 == 0:
                yield self.first + position // 4
            position = find(wanted, position + 1)

    def record(self, index: int) -> tuple[int, bytes]:
        """Kind and body (behind the kind) of a record."""
        if not self.first <= index < self.end:
            raise FormatError(f"{self.name}: type 0x{index:x} does not exist")
        block = bisect_right(self._skip_indices, index) - 1
        if block not in self._offsets:
            self._offsets[block] = self._walk(block)
        first = self._skip_indices[block] if block >= 0 else self.first
        offsets = self._offsets[block]
        if index - first >= len(offsets):
            raise FormatError(f"{self.name}: type 0x{index:x} is missing from the stream")
        offset = offsets[index - first]
        length, kind = struct.unpack_from("<HH", self._records, offset)
        return kind, bytes(self._records[offset + 4 : offset + 2 + length])

    def _walk(self, block: int) -> array[int]:
        """Offsets of the records from one entry of the index table to the next."""
        offset, count = 0, self.end - self.first
        if block >= 0:
            offset = self._skip_offsets[block]
            following = block + 1
            indices = self._skip_indices
            last = indices[following] if following < len(indices) else self.end
            count = last - indices[block]
        offsets = array("I")
        data, limit = self._records, len(self._records)
        for _ in range(count):
            if offset + 4 > limit:
                break
            length = data[offset] | data[offset + 1] << 8
            if length < 2 or offset + 2 + length > limit:
                break
            offsets.append(offset)
            offset += 2 + length
        return offsets

    def all(self) -> Iterator[tuple[int, int, bytes]]:
        """Index, kind and body of every record."""
        data = bytes(self._records)
        unpack = struct.Struct("<HH").unpack_from
        position, limit = 0, len(data)
        for index in range(self.first, self.end):
            if position + 4 > limit:
                return
            length, kind = unpack(data, position)
            following = position + 2 + length
            if length < 2 or following > limit:
                raise FormatError(f"{self.name}: type record 0x{index:x} is damaged")
            yield index, kind, data[position + 4 : following]
            position = following


def parse_tag(index: int, kind: int, body: bytes) -> Tag:
    """Decode the head of a tag record."""
    size = base = 0
    if kind == LF_ENUM:
        _, properties, base, fields = struct.unpack_from("<HHII", body)
        offset = 12
    else:
        _, properties, fields = struct.unpack_from("<HHI", body)
        size, offset = numeric(body, _TAG_WITH_SIZE[kind])
    name, offset = text(body, offset)
    unique = text(body, offset)[0] if properties & _UNIQUE_NAME else ""
    return Tag(index, kind, properties, fields, base, size, name, unique)


class TypeTable:
    """Types by index and by name."""

    def __init__(self, stream: TypeStream) -> None:
        self._stream = stream
        self._types: dict[int, Type] = {}
        self._sound: set[int] = set()
        self._depth = 0

    # -- by name ---------------------------------------------------------------------------------

    def find(self, name: str) -> Type | None:
        """The definition of a class, struct, union or enum, whatever the case of its name."""
        folded = name.lower()
        best: Tag | None = None
        for tag in self._candidates(name):
            if not tag.forward and tag.name.lower() == folded:
                if tag.name == name:
                    return self.type(tag.index)
                best = best or tag
        if best is not None:
            return self.type(best.index)
        index = self._names.get(folded) if self._scoped(name) else None
        return None if index is None else self.type(index)

    def _scoped(self, name: str) -> bool:
        """Whether a definition of that name may be hashed under another one."""
        return not self._stream.hashed or "::" in name or "<" in name

    def _candidates(self, name: str) -> Iterator[Tag]:
        if not self._stream.hashed:
            return
        for index in self._stream.bucket(hash_v1(name.encode(errors="replace"))):
            kind, body = self._stream.record(index)
            if kind in _RECORD_KINDS or kind == LF_ENUM:
                yield self._tag(index, kind, body)

    def _tag(self, index: int, kind: int, body: bytes) -> Tag:
        try:
            return parse_tag(index, kind, body)
        except struct.error as error:
            raise FormatError(f"{self._stream.name}: type 0x{index:x} is damaged") from error

    @cached_property
    def _names(self) -> dict[str, int]:
        """Every definition's lower-case name, the first of its name winning."""
        names: dict[str, int] = {}
        for tag in self.definitions():
            names.setdefault(tag.name.lower(), tag.index)
        return names

    def definitions(self) -> Iterator[Tag]:
        """Every complete class, struct, union and enum, in the order of the stream."""
        for index, kind, body in self._stream.all():
            if kind in _RECORD_KINDS or kind == LF_ENUM:
                tag = self._tag(index, kind, body)
                if not tag.forward:
                    yield tag

    @cached_property
    def names(self) -> list[str]:
        """Names of all definitions, each once, in the order of the stream."""
        return list(dict.fromkeys(tag.name for tag in self.definitions()))

    def _definition(self, forward: Tag) -> Tag | None:
        """What a forward reference stands for."""
        for key in (forward.name, forward.unique_name):
            for tag in self._candidates(key) if key else ():
                if not tag.forward and _same(tag, forward):
                    return tag
        if self._stream.hashed:
            return None
        index = self._names.get(forward.name.lower())
        return None if index is None else self._tag(index, *self._stream.record(index))

    # -- by index --------------------------------------------------------------------------------

    def type(self, index: int) -> Type:
        """The type of an index; forward references give the definition when there is one."""
        if index < FIRST_RECORD:
            return builtin(index)
        known = self._types.get(index)
        if known is None:
            try:
                self._verify(index, 0)
                known = self._build(index)
            except struct.error as error:
                raise FormatError(f"{self._stream.name}: type 0x{index:x} is damaged") from error
            self._types[index] = known
        return known

    def _verify(self, index: int, depth: int) -> None:
        """Refuse types that contain themselves other than through a named type."""
        if index < FIRST_RECORD or index in self._sound:
            return
        if depth > _MAX_DEPTH:
            raise FormatError(f"{self._stream.name}: type 0x{index:x} refers to itself")
        kind, body = self._stream.record(index)
        for referent in _referents(kind, body):
            self._verify(referent, depth + 1)
        self._sound.add(index)

    def _build(self, index: int) -> Type:
        kind, body = self._stream.record(index)
        if kind in _RECORD_KINDS or kind == LF_ENUM:
            return self._named(parse_tag(index, kind, body))
        if kind == LF_MODIFIER:
            return self.type(struct.unpack_from("<I", body)[0])
        if kind == LF_POINTER:
            referent, attributes = struct.unpack_from("<II", body)
            return Pointer(lambda: self.type(referent), attributes >> 13 & 0x3F or 8)
        if kind == LF_ARRAY:
            element = self.type(struct.unpack_from("<I", body)[0])
            size, _ = numeric(body, 8)
            return Array(element, size // element.size if element.size else 0)
        if kind == LF_BITFIELD:
            base, length, position = struct.unpack_from("<IBB", body)
            return BitField(self.type(base), position, length)
        if kind in (LF_PROCEDURE, LF_MFUNCTION):
            result = struct.unpack_from("<I", body)[0]
            (arguments,) = struct.unpack_from("<I", body, 8 if kind == LF_PROCEDURE else 16)
            return Function(lambda: self.type(result), lambda: self._arguments(arguments))
        if kind == LF_VTSHAPE:
            return builtin(0)
        return BaseType(f"<type 0x{kind:x}>", 0, "void", "<unknown>")

    def _arguments(self, index: int) -> tuple[Type, ...]:
        kind, body = self._stream.record(index) if index else (LF_ARGLIST, b"\0\0\0\0")
        if kind != LF_ARGLIST:
            raise FormatError(f"{self._stream.name}: type 0x{index:x} is no argument list")
        return tuple(self.type(argument) for argument in _argument_indices(body))

    def _named(self, tag: Tag) -> Type:
        if tag.forward:
            definition = self._definition(tag)
            if definition is not None:
                return self.type(definition.index)
        name = _display_name(tag.name)
        if tag.kind == LF_ENUM:
            base = self.type(tag.base or 0x74)
            if not isinstance(base, BaseType):
                raise FormatError(f"{self._stream.name}: enum {tag.name} has no integer base")
            return Enum(name, base, lambda: enum_values(self._members(tag), base))
        return Record(
            name,
            tag.size,
            _RECORD_KINDS[tag.kind],
            lambda: self._fields(tag),
        )

    def _fields(self, tag: Tag) -> tuple[Field, ...]:
        if self._depth > _MAX_DEPTH:
            raise FormatError(f"{self._stream.name}: {tag.name} is its own base class")
        self._depth += 1
        try:
            return member_fields(self._members(tag), self.type)
        finally:
            self._depth -= 1

    def _members(self, tag: Tag) -> Iterator[Member]:
        """The members of a tag's field list and of the lists it continues in."""
        following = 0 if tag.forward else tag.field_list
        seen = set[int]()
        while following and following not in seen:
            seen.add(following)
            kind, body = self._stream.record(following)
            if kind != LF_FIELDLIST:
                raise FormatError(f"{self._stream.name}: type 0x{following:x} is no field list")
            following = 0
            try:
                for member in members(body):
                    if member.leaf == LF_INDEX:
                        following = member.type
                    else:
                        yield member
            except struct.error as error:
                raise FormatError(
                    f"{self._stream.name}: the members of {tag.name} are damaged"
                ) from error


def _same(definition: Tag, forward: Tag) -> bool:
    if (definition.kind == LF_ENUM) != (forward.kind == LF_ENUM):
        return False
    if definition.unique_name and forward.unique_name:
        return definition.unique_name == forward.unique_name
    return definition.name == forward.name


def _display_name(name: str) -> str:
    """C's nameless types are all called the same, whatever surrounds them."""
    tail = name.rpartition("::")[2]
    return tail if tail in ("<unnamed-tag>", "<anonymous-tag>") else name


def _argument_indices(body: bytes) -> tuple[int, ...]:
    (count,) = struct.unpack_from("<I", body)
    return struct.unpack_from(f"<{min(count, len(body) // 4)}I", body, 4)


def _referents(kind: int, body: bytes) -> tuple[int, ...]:
    """The types a record is made of, those it only names left out."""
    if kind in (LF_MODIFIER, LF_POINTER, LF_ARRAY, LF_BITFIELD):
        return struct.unpack_from("<I", body)
    if kind == LF_PROCEDURE:
        return struct.unpack_from("<I4xI", body)
    if kind == LF_MFUNCTION:
        return struct.unpack_from("<I12xI", body)
    if kind == LF_ARGLIST:
        return _argument_indices(body)
    return ()


def identified_type(stream: TypeStream, index: int) -> int:
    """The type index of a function of the identifier stream (IPI)."""
    kind, body = stream.record(index)
    if kind not in (LF_FUNC_ID, LF_MFUNC_ID) or len(body) < 8:
        raise FormatError(f"{stream.name}: identifier 0x{index:x} is no function")
    return int.from_bytes(body[4:8], "little")
