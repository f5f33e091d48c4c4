"""Program databases: names, types, lines and locals of one image.

Opening reads the stream directory and two headers. A name is found through the hash tables, a type
through the type hash, an address through the section contributions and the one object file they
name.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial, wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from kdsim.errors import FormatError, SymbolError
from kdsim.symbols import symbols as record
from kdsim.symbols.basetypes import builtin_named
from kdsim.symbols.codeview import guid_text, records
from kdsim.symbols.dbi import NONE, Dbi
from kdsim.symbols.gsi import PUBLICS_HEADER, NameHash
from kdsim.symbols.lines import LineTable, SourceLine, StringTable
from kdsim.symbols.msf import MsfFile
from kdsim.symbols.procedures import IDENTIFIED, STATIC, Local, ModuleSymbols, Procedure
from kdsim.symbols.symbols import Symbol, SymbolKind
from kdsim.symbols.tpi import TypeStream, TypeTable, identified_type
from kdsim.symbols.types import Type
from kdsim.symbols.wildcard import compile_wildcard

__all__ = ["Local", "Pdb", "SourceLine", "Symbol"]

_INFO = struct.Struct("<III16s")
_INFO_STREAM, _TPI_STREAM, _IPI_STREAM = 1, 2, 4

P = ParamSpec("P")
R = TypeVar("R")


def _checked(method: Callable[Concatenate[Pdb, P], R]) -> Callable[Concatenate[Pdb, P], R]:
    """Reading past the end of a record means a damaged file."""

    @wraps(method)
    def guarded(self: Pdb, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except struct.error as error:
            raise FormatError(f"{self.path}: a symbol record is cut short") from error

    return guarded


def _checked_items(
    method: Callable[Concatenate[Pdb, P], Iterator[R]],
) -> Callable[Concatenate[Pdb, P], Iterator[R]]:
    """As `_checked`, for a method that gives its answers one by one."""

    @wraps(method)
    def guarded(self: Pdb, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        try:
            yield from method(self, *args, **kwargs)
        except struct.error as error:
            raise FormatError(f"{self.path}: a symbol record is cut short") from error

    return guarded


class Pdb:
    """One program database. Damage gives FormatError, at the call that meets it."""

    def __init__(self, msf: MsfFile, path: Path) -> None:
        self.path = path
        self._msf = msf
        info = msf.required(_INFO_STREAM, "information stream")
        if len(info) < _INFO.size:
            raise FormatError(f"{path}: the information stream is cut short")
        _, _, info_age, guid = _INFO.unpack_from(info)
        self.guid = guid_text(guid)
        self._info = bytes(info[_INFO.size :])
        self._dbi = Dbi(msf)
        # Images carry the age of the debug information; rewriting a PDB raises only the other one.
        self.age = self._dbi.age or info_age

    @classmethod
    def open(cls, path: Path) -> Pdb:
        """Map a PDB file.

        Raises:
            FormatError: not a PDB, or a damaged one.
        """
        return cls(MsfFile.open(path), path)

    @property
    def key(self) -> str:
        """What a symbol store files it under."""
        return f"{self.guid}{self.age:x}"

    @property
    def machine(self) -> int:
        return self._dbi.machine

    @property
    def is_private(self) -> bool:
        """Whether it tells types, lines and locals, not only public names."""
        return not self._dbi.stripped and any(
            module.symbol_bytes > 4 and module.stream != NONE for module in self._dbi.modules
        )

    # -- types -----------------------------------------------------------------------------------

    @cached_property
    def types(self) -> TypeTable:
        """All types, by index and by name."""
        data = self._msf.required(_TPI_STREAM, "type stream")
        return TypeTable(TypeStream(data, self._msf.stream, str(self.path)))

    @cached_property
    def _identifiers(self) -> TypeStream:
        data = self._msf.required(_IPI_STREAM, "identifier stream")
        return TypeStream(data, self._msf.stream, str(self.path))

    def type(self, name: str) -> Type:
        """The complete definition of a class, struct, union, enum, typedef or base type.

        Raises:
            SymbolError: no such type.
        """
        found = self.find_type(name) or builtin_named(name)
        if found is None:
            raise SymbolError(f"no type {name} in {self.path.name}")
        return found

    @_checked
    def find_type(self, name: str) -> Type | None:
        """A class, struct, union, enum or typedef defined here."""
        return self.types.find(name) or self._typedef(name)

    def _typedef(self, name: str) -> Type | None:
        for _, kind, body in self._hashed(self._globals, name):
            if kind == record.S_UDT:
                return self.types.type(int.from_bytes(body[:4], "little"))
        return None

    def type_names(self, pattern: str = "*") -> Iterator[str]:
        """Names of the types defined here that fit a string wildcard."""
        fits = compile_wildcard(pattern, symbol=True).fullmatch
        return (name for name in self.types.names if fits(name))

    # -- the record stream -----------------------------------------------------------------------

    @cached_property
    def _records(self) -> bytes:
        return bytes(self._msf.stream(self._dbi.records))

    @cached_property
    def _globals(self) -> NameHash | None:
        data = self._msf.stream(self._dbi.globals)
        return NameHash(data, str(self.path)) if data else None

    @cached_property
    def _publics(self) -> NameHash | None:
        data = self._msf.stream(self._dbi.publics)[PUBLICS_HEADER:]
        return NameHash(data, str(self.path)) if data else None

    def _hashed(self, table: NameHash | None, name: str) -> Iterator[tuple[int, int, bytes]]:
        """Offset, kind and body of the records of a name, whatever its case."""
        folded = name.lower()
        for offset in table.offsets(name) if table else ():
            kind, body = self._record(offset)
            found = record.record_name(kind, body)
            if found is not None and found.lower() == folded:
                yield offset, kind, body

    def _record(self, offset: int) -> tuple[int, bytes]:
        data = self._records
        if not 0 <= offset <= len(data) - 4:
            raise FormatError(f"{self.path}: a symbol at 0x{offset:x} lies outside its stream")
        length, kind = struct.unpack_from("<HH", data, offset)
        return kind, data[offset + 4 : offset + 2 + length]

    @cached_property
    def _index(self) -> tuple[list[str], array[int], array[int]]:
        """Name, offset and kind of every global and public record."""
        names: list[str] = []
        offsets, kinds = array("I"), array("H")
        data = self._records
        wanted = record.SEARCHED
        for offset, kind, end in records(data, 0, len(data)):
            if kind in wanted:
                name = record.record_name(kind, data[offset + 4 : end])
                if name:
                    names.append(name)
                    offsets.append(offset)
                    kinds.append(kind)
        return names, offsets, kinds

    # -- symbols by name -------------------------------------------------------------------------

    @_checked
    def symbols(self, name: str) -> list[Symbol]:
        """Every symbol of a name, whatever its case; those with types first."""
        found = [
            *self._hashed(self._globals, name),
            *self._hashed(self._publics, name),
        ]
        return list(self._without_doubles(found))

    @_checked
    def names(self) -> list[str]:
        """The names of all symbols, in no order; some stand there twice."""
        return self._index[0]

    @_checked_items
    def match(self, pattern: str) -> Iterator[Symbol]:
        """Symbols whose names fit a string wildcard, those with types first."""
        fits = compile_wildcard(pattern, symbol=True).fullmatch
        names, offsets, kinds = self._index
        hits = [index for index, name in enumerate(names) if fits(name)]
        hits.sort(key=lambda index: kinds[index] == record.S_PUB32)
        return self._without_doubles(
            (offsets[index], *self._record(offsets[index])) for index in hits
        )

    def _without_doubles(self, found: Iterable[tuple[int, int, bytes]]) -> Iterator[Symbol]:
        """Symbols of records; a public name is left out where a private symbol says the same."""
        seen: set[tuple[int, str]] = set()
        for _, kind, body in found:
            symbol = self._symbol(kind, body)
            if symbol is None or (symbol.is_public and (symbol.rva, symbol.name) in seen):
                continue
            seen.add((symbol.rva, symbol.name))
            yield symbol

    def _symbol(self, kind: int, body: bytes) -> Symbol | None:
        if kind == record.S_PUB32:
            return self._public(body)
        if kind in record.DATA_KINDS:
            index, offset, segment = record.data(body)
            rva = self._dbi.rva(segment, offset)
            name = record.record_name(kind, body) or ""
            if rva is None:
                return None
            static = kind == record.S_LDATA32
            return Symbol(
                name, rva, 0, "data", is_static=static, type_source=partial(self.types.type, index)
            )
        if kind in record.REFERENCE_KINDS:
            procedure = self._referenced(body)
            return self._function(procedure) if procedure else None
        if kind == record.S_CONSTANT:
            index, value = record.constant(body)
            name = record.record_name(kind, body) or ""
            source = partial(self.types.type, index)
            return Symbol(name, 0, 0, "constant", value=value, type_source=source)
        return None

    def _referenced(self, body: bytes) -> Procedure | None:
        module, offset = record.reference(body)
        symbols = self._module(module)
        return symbols.procedure(offset) if symbols else None

    def _public(self, body: bytes) -> Symbol | None:
        flags, offset, segment = record.public(body)
        rva = self._dbi.rva(segment, offset)
        if rva is None:
            return None
        kind: SymbolKind = "data"
        if flags & (record.PUBLIC_CODE | record.PUBLIC_FUNCTION) or self._dbi.executable(segment):
            kind = "function"
        elif not self._dbi.sections:
            kind = "public"
        return Symbol(record.record_name(record.S_PUB32, body) or "", rva, 0, kind, is_public=True)

    def _function(self, procedure: Procedure) -> Symbol:
        source: Callable[[], Type] | None = None
        if procedure.type:
            source = partial(self.types.type, procedure.type)
            if procedure.kind in IDENTIFIED:
                source = partial(self._identified, procedure.type)
        return Symbol(
            procedure.name,
            procedure.rva,
            procedure.size,
            "function",
            is_static=procedure.kind in STATIC,
            type_source=source,
        )

    def _identified(self, index: int) -> Type:
        return self.types.type(identified_type(self._identifiers, index))

    # -- symbols by address ----------------------------------------------------------------------

    @_checked
    def nearest(self, rva: int) -> Symbol | None:
        """The highest symbol not above an address.

        The procedure whose code covers the address comes first. Otherwise it is the nearest name of
        the same section; at one address a symbol with a type beats a public name.
        """
        procedure = self._procedure(rva)
        if procedure is not None:
            return self._function(procedure)
        starts, offsets = self._addresses
        index = bisect_right(starts, rva) - 1
        if index < 0 or self._dbi.section_of(starts[index]) != self._dbi.section_of(rva):
            return None
        first = bisect_left(starts, starts[index])
        return self._symbol(*self._record(offsets[first]))

    def _procedure(self, rva: int) -> Procedure | None:
        module = self._dbi.module_at(self._dbi.linked(rva))
        symbols = None if module is None else self._module(module)
        return symbols.containing(rva) if symbols else None

    @cached_property
    def _addresses(self) -> tuple[array[int], array[int]]:
        """Addresses and record offsets of all publics, data and procedures, sorted."""
        rows: list[tuple[int, bool, int]] = []
        _, offsets, kinds = self._index
        for offset, kind in zip(offsets, kinds, strict=True):
            body = self._record(offset)[1]
            if kind in record.REFERENCE_KINDS:
                procedure = self._referenced(body)
                rva = procedure.rva if procedure else None
            elif kind == record.S_CONSTANT:
                rva = None
            else:
                _, start, segment = record.public(body)
                rva = self._dbi.rva(segment, start)
            if rva is not None:
                rows.append((rva, kind == record.S_PUB32, offset))
        rows.sort()
        return array("Q", (row[0] for row in rows)), array("I", (row[2] for row in rows))

    @_checked
    def at(self, rva: int) -> list[Symbol]:
        """Every symbol that begins at an address, those with types first."""
        starts, offsets = self._addresses
        first, last = bisect_left(starts, rva), bisect_right(starts, rva)
        found = ((offset, *self._record(offset)) for offset in offsets[first:last])
        return list(self._without_doubles(found))

    @_checked
    def after(self, rva: int) -> Symbol | None:
        """The first symbol above an address."""
        starts, offsets = self._addresses
        index = bisect_right(starts, rva)
        return self._symbol(*self._record(offsets[index])) if index < len(offsets) else None

    @_checked_items
    def by_address(self) -> Iterator[Symbol]:
        """All symbols with an address, ascending; more than one where an address has two names."""
        for offset in self._addresses[1]:
            symbol = self._symbol(*self._record(offset))
            if symbol is not None:
                yield symbol

    # -- modules: lines and locals ---------------------------------------------------------------

    @cached_property
    def _modules(self) -> dict[int, ModuleSymbols | None]:
        return {}

    def _module(self, index: int) -> ModuleSymbols | None:
        """Symbols of an object file; None when it left none."""
        if index not in self._modules:
            self._modules[index] = self._open_module(index)
        return self._modules[index]

    def _open_module(self, index: int) -> ModuleSymbols | None:
        if not 0 <= index < len(self._dbi.modules):
            return None
        info = self._dbi.modules[index]
        data = b"" if info.stream == NONE else self._msf.stream(info.stream)
        if info.symbol_bytes > len(data):
            raise FormatError(f"{self.path}: the symbols of {info.name} are cut short")
        symbols = bytes(data[: info.symbol_bytes])
        return ModuleSymbols(symbols, self._dbi.rva, f"{self.path}: {info.name}")

    @cached_property
    def _strings(self) -> StringTable:
        number = self._named_streams.get("/names")
        return StringTable(b"" if number is None else self._msf.stream(number))

    @cached_property
    def _named_streams(self) -> dict[str, int]:
        """Streams by name: names, then a hash table of (name offset, stream number)."""
        data = self._info
        (size,) = struct.unpack_from("<I", data)
        names, position = data[4 : 4 + size], 4 + size
        count, _, words = struct.unpack_from("<III", data, position)
        position += 12 + words * 4
        (words,) = struct.unpack_from("<I", data, position)
        position += 4 + words * 4
        pairs = data[position : position + count * 8]
        table: dict[str, int] = {}
        for offset, number in struct.iter_unpack("<II", pairs[: len(pairs) // 8 * 8]):
            end = names.find(b"\0", offset)
            table[names[offset : max(end, offset)].decode("utf-8", "replace")] = number
        return table

    @cached_property
    def _line_tables(self) -> dict[int, LineTable]:
        return {}

    def _lines(self, module: int) -> LineTable:
        table = self._line_tables.get(module)
        if table is None:
            info = self._dbi.modules[module]
            data = b"" if info.stream == NONE else self._msf.stream(info.stream)
            start = info.symbol_bytes + info.c11_bytes
            raw = bytes(data[start : start + info.c13_bytes])
            name = f"{self.path}: {info.name}"
            table = LineTable(raw, self._dbi.rva, self._strings, name)
            self._line_tables[module] = table
        return table

    @_checked
    def line(self, rva: int) -> SourceLine | None:
        """The source line an address was compiled from."""
        module = self._dbi.module_at(self._dbi.linked(rva))
        if module is None or module >= len(self._dbi.modules):
            return None
        return self._lines(module).at(rva)

    @_checked
    def lines_of(self, file: str, line: int) -> list[SourceLine]:
        """Code of a line of a source file, of all its lines for line 0.

        The file is named by the end of its path.
        """
        tail = file.replace("\\", "/").lower()
        found: list[SourceLine] = []
        for module in range(len(self._dbi.modules)):
            for entry in self._lines(module).all():
                path = entry.file.replace("\\", "/").lower()
                if line in (0, entry.line) and (path == tail or path.endswith("/" + tail)):
                    found.append(entry)
        return found

    @_checked
    def locals(self, rva: int) -> tuple[Local, ...]:
        """Parameters and variables in scope at an address of a procedure."""
        module = self._dbi.module_at(self._dbi.linked(rva))
        symbols = None if module is None else self._module(module)
        procedure = symbols.containing(rva) if symbols else None
        if symbols is None or procedure is None:
            return ()
        return tuple(symbols.locals(procedure, rva, self.types.type))
