"""Modules, names and types as far as they are known without waiting for anybody.

Completion must not hang: symbols that are not on this machine are not fetched for it, and what
was asked once is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from kdsim.debugger.shell.nametable import NameTable
from kdsim.errors import KdsimError, SymbolError

if TYPE_CHECKING:
    from kdsim.debugger.session import Session
    from kdsim.symbols.module import Module, SymbolSource
    from kdsim.symbols.pdb import Pdb
    from kdsim.symbols.procedures import Local
    from kdsim.symbols.types import Type

_UNNAMED = "<unnamed"


class Known:
    """See the module docstring."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._symbols: WeakKeyDictionary[SymbolSource, NameTable] = WeakKeyDictionary()
        self._types: WeakKeyDictionary[Pdb, NameTable] = WeakKeyDictionary()

    @property
    def modules(self) -> list[Module]:
        """The kernel first."""
        return sorted(self._session.symbols.modules, key=lambda module: module.name != "nt")

    def module(self, name: str) -> Module | None:
        """The module that a name's part before `!` means, with its symbols if we have them."""
        module = self._session.symbols.module_named(name)
        if module is not None:
            self._session.symbols.load(module, network=False)
        return module

    def _chosen(self, qualifier: str) -> Iterator[Module]:
        """The module that was named, or all whose symbols are loaded."""
        if qualifier:
            module = self.module(qualifier)
            if module is not None:
                yield module
            return
        yield from (module for module in self.modules if module.source is not None)

    def symbol_names(self, typed: str) -> Iterator[str]:
        """Symbols that `typed` may become; qualified when it is."""
        qualifier, mark, plain = typed.rpartition("!")
        for module in self._chosen(qualifier):
            if module.source is not None:
                if module.source not in self._symbols:
                    self._symbols[module.source] = NameTable(module.source.names())
                for name in self._symbols[module.source].find(plain):
                    # Decorated names, string literals among them, are for those who ask.
                    if name.startswith("?") and not plain.startswith("?"):
                        continue
                    yield f"{qualifier}{mark}{name}"

    def type_names(self, typed: str) -> Iterator[str]:
        """Types that `typed` may become; qualified when it is."""
        qualifier, mark, plain = typed.rpartition("!")
        for module in self._chosen(qualifier):
            if module.pdb is not None:
                if module.pdb not in self._types:
                    self._types[module.pdb] = NameTable(module.pdb.type_names())
                for name in self._types[module.pdb].find(plain):
                    if _UNNAMED not in name:
                        yield f"{qualifier}{mark}{name}"

    def locals(self) -> tuple[Local, ...]:
        """Variables where the target stands; their places do not matter here."""
        session = self._session
        if session.event is None or not session.halted:
            return ()
        try:
            return session.symbols.locals(session.instruction_pointer)
        except KdsimError:
            return ()

    def type(self, name: str) -> Type | None:
        """A type by the name a user writes: `X` stands for `_X` as in the Windows headers."""
        found = self._type(name)
        if found is None:
            folded = name.lower()
            spelt = (known for known in self.type_names(name) if known.lower() == folded)
            found = self._type(next(spelt, ""))
        return found

    def _type(self, name: str) -> Type | None:
        qualifier, _, plain = name.strip().rpartition("!")
        for module in self._chosen(qualifier):
            for spelling in (plain, f"_{plain}") if plain.isupper() else (plain,):
                found = module.pdb.find_type(spelling) if module.pdb else None
                if found is not None:
                    return found
        return None

    def is_type(self, name: str) -> bool:
        try:
            return self.type(name) is not None
        except KdsimError:
            return False

    def symbol_type(self, name: str) -> Type | None:
        """The declared type of a local variable or of a symbol."""
        qualifier, mark, plain = name.rpartition("!")
        if not mark:
            for local in self.locals():
                if local.name == plain:
                    return local.type
        try:
            for module in self._chosen(qualifier):
                for symbol in module.source.symbols(plain) if module.source else ():
                    if symbol.type is not None:
                        return symbol.type
        except SymbolError:
            return None
        return None
