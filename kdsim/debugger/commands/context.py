"""The session as the language sees it: names, registers, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdsim.debugger.disassembly import IMPORT, SHOWN_IMPORT
from kdsim.debugger.language.conversions import basic, fit, is_scalar
from kdsim.debugger.language.typed import Typed
from kdsim.debugger.pseudo import pseudo_register
from kdsim.debugger.registers import is_register
from kdsim.debugger.text import address as tick
from kdsim.debugger.variables import Variable, find_variable, typed_global
from kdsim.errors import ArgumentError, FormatError, KdsimError, SymbolError
from kdsim.symbols.types import Array, Function, Pointer, Record

if TYPE_CHECKING:
    from kdsim.debugger.memory import CachedMemory
    from kdsim.debugger.session import Session
    from kdsim.symbols.types import Type

USER_REGISTERS = frozenset(f"$t{n}" for n in range(20))
KEPT = USER_REGISTERS | {"$exp", "$p", "$extret", "$extin"}


class SessionContext:
    """Implements `kdsim.debugger.language.context.Context`."""

    pointer_size = 8

    def __init__(self, session: Session) -> None:
        self.session = session
        self._kept: dict[str, Typed | int] = {}

    @property
    def radix(self) -> int:
        return self.session.settings.radix

    @radix.setter
    def radix(self, value: int) -> None:
        self.session.settings.radix = value

    @property
    def evaluator(self) -> str:
        return self.session.settings.evaluator

    @evaluator.setter
    def evaluator(self, value: str) -> None:
        self.session.settings.evaluator = value

    @property
    def memory(self) -> CachedMemory:
        return self.session.memory

    @property
    def physical(self) -> CachedMemory:
        return self.session.physical

    def here(self) -> int:
        return self.session.instruction_pointer

    def symbol(self, name: str) -> int | None:
        if "!" not in name:
            local = self._variable(name)
            if local is not None and (local.address is not None or local.value is not None):
                return local.value if local.address is None else local.address
        try:
            return self.session.symbols.resolve(name)
        except SymbolError:
            suffix = self.session.settings.symbol_suffix
            if suffix and not name.endswith(suffix):
                return self.symbol(f"{name}{suffix}")
            if SHOWN_IMPORT in name:
                return self.symbol(name.replace(SHOWN_IMPORT, IMPORT))
            if "!" in name:
                if self.session.settings.symbol_failures:
                    self.session.report(f"Symbol lookup failed for '{name}'")
                return None
        module = self.session.symbols.module_named(name)
        if module is None and self.session.settings.symbol_failures:
            self.session.report(f"Symbol lookup failed for '{name}'")
        return module.base if module else None

    def local(self, name: str) -> Typed | None:
        found = self._variable(name)
        if found is None:
            return None
        if found.value is None:
            raise ArgumentError(f"{name}: {found.problem}")
        # A register may be wider than the variable it holds.
        value = fit(found.type, found.value) if is_scalar(found.type) else found.value
        return Typed(found.type, value, found.address)

    def typed_symbol(self, name: str) -> Typed | None:
        if "!" not in name:
            local = self.local(name)
            if local is not None:
                return local
        try:
            found = typed_global(self.session, name)
            if found is not None:
                return self._read(found[1], found[0].va)
            constant = next(self.session.symbols.constants(name), None)
        except SymbolError:
            return None
        if constant is None or constant.type is None:
            return None
        return Typed(constant.type, constant.value or 0)

    def type(self, name: str) -> Type | None:
        try:
            return self.session.symbols.type(name)
        except SymbolError as error:
            if self.session.settings.type_failures:
                self.session.report(f"Type lookup failed: {error}")
            return None

    def register(self, name: str) -> int | None:
        if not is_register(name):
            return None
        return self.session.registers[name]

    def pseudo(self, name: str) -> Typed | int | None:
        if name in KEPT:
            return self._kept.get(name, 0)
        value = pseudo_register(self.session, name)
        if value is None:
            return None
        if name in _ADDRESSES:
            return Typed(Pointer(basic("unsigned char")), value)
        record = POINTERS.get(name)
        kind = self.type(f"nt!{record}") if record else None
        return value if kind is None else Typed(Pointer(kind), value)

    def set_pseudo(self, name: str, value: Typed | int) -> None:
        if name not in KEPT:
            raise ArgumentError(f"Bad register error in '{name}'")
        self._kept[name] = value

    def source_line(self, module: str, file: str, line: int) -> int | None:
        space = self.session.symbols
        try:
            if not file:
                current = space.line(self.here())
                if current is None:
                    return None
                file = current.file
            return space.line_address(module, file, line)
        except SymbolError:
            return None

    def describe(self, va: int) -> str:
        return self.session.disassembler.symbol(va) or tick(va)

    def describe_line(self, va: int) -> str:
        try:
            line = self.session.symbols.line(va)
        except KdsimError:
            return ""
        return f"{line.file} @ {line.line}" if line else ""

    def function_type(self, va: int) -> Type | None:
        found = self.session.symbols.nearest(va)
        return found[0].symbol.type if found else None

    def _variable(self, name: str) -> Variable | None:
        """The local of the current frame; nothing while there is no frame to look at."""
        session = self.session
        if session.event is None or not session.halted:
            return None
        try:
            frames = session.stack(count=session.scope.frame + 1)
            return find_variable(session, frames[-1], name) if frames else None
        except (FormatError, KdsimError):
            return None

    def _read(self, kind: Type, va: int) -> Typed:
        if isinstance(kind, Record | Array | Function):
            return Typed(kind, va, va)
        return Typed(kind, self.session.memory.integer(va, kind.size), va)


# What kd casts automatic pseudo-registers to: addresses to PUCHAR, four to what they name.
_ADDRESSES = frozenset(
    ("$ip", "$eventip", "$previp", "$scopeip", "$exentry", "$ra", "$csp", "$ea", "$ea2")
)
POINTERS = {"$proc": "_EPROCESS", "$thread": "_ETHREAD", "$peb": "_PEB", "$teb": "_TEB"}
