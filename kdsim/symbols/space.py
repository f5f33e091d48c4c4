"""The modules of one address space, and names, types, lines and frames across them."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kdsim.errors import FormatError, SymbolError
from kdsim.symbols import unwind as unwinding
from kdsim.symbols.basetypes import builtin_named
from kdsim.symbols.lines import SourceLine
from kdsim.symbols.memory import Memory
from kdsim.symbols.module import Module, ModuleLoader, SymbolSource
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.procedures import Local
from kdsim.symbols.store import SymbolPath
from kdsim.symbols.symbols import Symbol
from kdsim.symbols.types import Array, Pointer, Record, Type
from kdsim.symbols.unwind import FrameRegisters, Unwound
from kdsim.symbols.views import View
from kdsim.symbols.wildcard import compile_wildcard

__all__ = ["Located", "Module", "SymbolSpace"]

KERNEL = "nt"
_KERNEL_IMAGES = frozenset(("ntoskrnl", "ntkrnlmp", "ntkrnlpa", "ntkrpamp"))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Located:
    """A symbol of a loaded module."""

    module: Module
    symbol: Symbol

    @property
    def va(self) -> int:
        return self.module.base + self.symbol.rva

    @property
    def name(self) -> str:
        return f"{self.module.name}!{self.symbol.name}"


class SymbolSpace:
    """See the module docstring. Symbols of a module are loaded when first needed."""

    def __init__(self, path: SymbolPath, memory: Memory) -> None:
        self.memory = memory
        self.modules: list[Module] = []
        """In the order they were added."""
        self.unnamed: Callable[[int], str] = "0x{:x}".format
        """What `format` calls an address outside of all modules."""
        self._loader = ModuleLoader(path, memory)
        self._by_base: list[tuple[int, Module]] = []
        self._by_name: dict[str, Module] = {}

    @property
    def path(self) -> SymbolPath:
        return self._loader.path

    @path.setter
    def path(self, path: SymbolPath) -> None:
        """Takes effect on modules loaded from now on. Who listens to the old one hears the new."""
        path.log, path.waiting = self.path.log, self.path.waiting
        self._loader.path = path

    @property
    def any_build(self) -> bool:
        """Take PDBs of other builds when there are none of the right one; settable."""
        return self._loader.any_build

    @any_build.setter
    def any_build(self, accept: bool) -> None:
        self._loader.any_build = accept

    def on_load(self, listener: Callable[[Module], None]) -> None:
        """Tell `listener` of every module whose symbols were looked for."""
        self._loader.on_load = listener

    @property
    def image_path(self) -> SymbolPath | None:
        """Where images are looked for before `path` is; settable."""
        return self._loader.image_path

    @image_path.setter
    def image_path(self, path: SymbolPath | None) -> None:
        self._loader.image_path = path

    # -- modules ---------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        base: int,
        size: int,
        *,
        image_name: str = "",
        image_path: str = "",
        timestamp: int = 0,
        checksum: int = 0,
    ) -> Module:
        """Add a module. What is 0 or empty is read from its headers or made from its name.

        A second module of the same name is called `name_base`; one at the place of another
        replaces it.
        """
        image_name = image_name or name
        name = name or _module_name(image_name)
        for place, old in list(self._by_base):
            if place == base or (size and base < old.end and place < base + size):
                self.remove(old.base)
        if name.lower() in self._by_name:
            name = f"{name}_{base:x}"
        module = Module(name, base, size, image_name, image_path or image_name, timestamp, checksum)
        self._loader.attach(module)
        self.modules.append(module)
        insort(self._by_base, (base, module), key=lambda pair: pair[0])
        self._by_name[name.lower()] = module
        return module

    def remove(self, base: int) -> None:
        """Take the module at `base` out, if there is one."""
        module = next((m for m in self.modules if m.base == base), None)
        if module is not None:
            module.unloaded = True
            self.modules.remove(module)
            self._by_base = [pair for pair in self._by_base if pair[1] is not module]
            self._by_name = {m.name.lower(): m for m in self.modules}

    def clear(self) -> None:
        """Take all modules out."""
        for module in list(self.modules):
            self.remove(module.base)

    def module_at(self, va: int) -> Module | None:
        """The module whose image covers an address."""
        index = bisect_right(self._by_base, va, key=lambda pair: pair[0]) - 1
        if index < 0:
            return None
        module = self._by_base[index][1]
        return module if va < module.end else None

    def module_named(self, name: str) -> Module | None:
        """The module of a name, whatever its case. The file name of its image is accepted too."""
        folded = name.lower()
        found = self._by_name.get(folded)
        if found is None:
            images = (m for m in self.modules if m.image_name.lower() == folded)
            found = next(images, None)
        if found is None and folded in _KERNEL_IMAGES:
            found = self._by_name.get(KERNEL)
        return found

    def load(self, module: Module, *, force: bool = False, network: bool = True) -> None:
        """Load a module's symbols unless that was done (or, without `force`, tried) before.

        Without `network` they may stay deferred.
        """
        if module.status == "deferred" or force:
            self._loader.load(module, network=network)

    def image_file(self, module: Module) -> Path:
        """The file a module was loaded from, in a store on this machine or on a server."""
        return self._loader.find_file(module, network=True)

    def load_all(self) -> None:
        """Load the symbols of every module."""
        for module in self.modules:
            self.load(module)

    def defer(self, module: Module) -> None:
        """Forget a module's symbols; they are loaded again when needed."""
        module.pdb = module.pdb_path = module.source = None
        module.status, module.problem, module.match = "deferred", "", ""

    def modules_like(self, name: str = "*") -> list[Module]:
        """Modules whose names fit a wildcard, the kernel first."""
        fits = compile_wildcard(name or "*").fullmatch
        chosen = [module for module in self.modules if fits(module.name)]
        chosen.sort(key=lambda module: module.name != KERNEL)
        return chosen

    def _wanted(self, name: str) -> list[Module]:
        """The modules a name's part before `!` stands for; all when it is empty.

        Raises:
            SymbolError: no such module.
        """
        if not name:
            return self.modules_like()
        module = self.module_named(name)
        if module is None:
            raise SymbolError(f"no module {name}")
        return [module]

    def _ask(self, module: Module, question: Callable[[SymbolSource], T]) -> T | None:
        """Ask a module's symbols. A PDB that turns out to be damaged is given up."""
        self.load(module)
        try:
            return None if module.source is None else question(module.source)
        except FormatError as error:
            self._loader.fall_back(module, str(error))
        return None if module.source is None else question(module.source)

    def _ask_pdb(self, module: Module | None, question: Callable[[Pdb], T]) -> T | None:
        if module is None:
            return None
        self.load(module)
        try:
            return None if module.pdb is None else question(module.pdb)
        except FormatError as error:
            self._loader.fall_back(module, str(error))
            return None

    # -- names -----------------------------------------------------------------------------------

    def resolve(self, name: str) -> int:
        """Address of `module!name`, of a name in any module, or of a module.

        Raises:
            SymbolError: nothing of that name.
        """
        found = next(self._located(name), None)
        if found is not None:
            return found.va
        module = self.module_named(name)
        if module is None:
            raise SymbolError(self._unresolved(name))
        return module.base

    def lookup(self, name: str) -> list[Located]:
        """Every symbol of that name with an address, whatever its case; the kernel's first.

        Raises:
            SymbolError: `name` names a module that is not there.
        """
        return list(self._located(name))

    def _located(self, name: str) -> Iterator[Located]:
        module_name, _, plain = name.rpartition("!")
        for module in self._wanted(module_name):
            found = self._ask(module, lambda source: source.symbols(plain)) or []
            addressed = [symbol for symbol in found if symbol.kind != "constant"]
            addressed.sort(key=lambda symbol: _preference(symbol, plain))
            yield from (Located(module, symbol) for symbol in addressed)

    def constants(self, name: str) -> Iterator[Symbol]:
        """Constants and enumerators of that name, which have no address.

        Raises:
            SymbolError: `name` names a module that is not there.
        """
        module_name, _, plain = name.rpartition("!")
        for module in self._wanted(module_name):
            found = self._ask(module, lambda source: source.symbols(plain)) or []
            yield from (symbol for symbol in found if symbol.kind == "constant")

    def _unresolved(self, name: str) -> str:
        module_name, _, plain = name.rpartition("!")
        module = self.module_named(module_name) if module_name else None
        if module is None:
            return f"no symbol {name} in any module"
        why = f" ({module.problem})" if module.problem else ""
        return f"no symbol {plain} in {module.name}{why}"

    def nearest(self, va: int) -> tuple[Located, int] | None:
        """The symbol an address belongs to, and how far behind its begin the address is."""
        module = self.module_at(va)
        if module is None:
            return None
        rva = va - module.base
        symbol = self._ask(module, lambda source: source.nearest(rva))
        return None if symbol is None else (Located(module, symbol), rva - symbol.rva)

    def format(self, va: int) -> str:
        """`nt!Foo+0x12`; without a symbol `leaky+0x1000`; without a module `0xfffff...`."""
        found = self.nearest(va)
        if found is not None:
            name, distance = found[0].name, found[1]
        else:
            module = self.module_at(va)
            if module is None:
                return self.unnamed(va)
            name, distance = module.name, va - module.base
        return f"{name}+0x{distance:x}" if distance else name

    def match(self, pattern: str) -> Iterator[Located]:
        """Symbols that fit `module!name`, string wildcards allowed in both."""
        module_name, _, plain = pattern.rpartition("!")
        for module in self.modules_like(module_name):
            symbols = self._ask(module, lambda source: list(source.match(plain))) or []
            yield from (Located(module, symbol) for symbol in symbols)

    # -- types -----------------------------------------------------------------------------------

    def type(self, name: str) -> Type:
        """A type by `module!name` or by name in any module; `*` and `[n]` may follow.

        Raises:
            SymbolError: no such type.
        """
        name = name.strip()
        if name.endswith("*"):
            return Pointer(self.type(name[:-1]))
        if name.endswith("]"):
            element, _, count = name[:-1].rpartition("[")
            if not count.isdecimal():
                raise SymbolError(f"{name}: a subscript has to be a decimal number")
            return Array(self.type(element), int(count))
        module_name, _, plain = name.rpartition("!")
        for prefix in ("struct ", "union ", "enum ", "class "):
            plain = plain.removeprefix(prefix)
        for module in self._wanted(module_name):
            found = self._ask_pdb(module, lambda pdb: pdb.find_type(plain))
            if found is not None:
                return found
        base = builtin_named(plain)
        if base is None:
            raise SymbolError(f"no type {name}{self._why_no_types(module_name)}")
        return base

    def _why_no_types(self, module_name: str) -> str:
        for module in self._wanted(module_name) if module_name else ():
            if module.problem:
                return f" ({module.problem})"
        return ""

    def type_names(self, module: str, pattern: str = "*") -> Iterator[str]:
        """Names of the types of a module (or of those that fit a wildcard) that fit a wildcard."""
        for chosen in self.modules_like(module):
            yield from self._ask_pdb(chosen, lambda pdb: list(pdb.type_names(pattern))) or []

    def record(self, name: str) -> Record:
        """A struct, union or class; SymbolError for other types."""
        found = self.type(name)
        if not isinstance(found, Record):
            raise SymbolError(f"{name} is no structure")
        return found

    def view(self, name: str, va: int) -> View:
        """A record of a type at an address."""
        return View(self.memory, self.record(name), va)

    # -- code ------------------------------------------------------------------------------------

    def line(self, va: int) -> SourceLine | None:
        """The source line of an address; its `rva` counts from the module's base."""
        module = self.module_at(va)
        rva = va - (module.base if module else 0)
        return self._ask_pdb(module, lambda pdb: pdb.line(rva))

    def line_address(self, module: str, file: str, line: int) -> int:
        """First address of a source line, of the whole file for line 0.

        Raises:
            SymbolError: no code was made from it.
        """
        for chosen in self._wanted(module):
            found = self._ask_pdb(chosen, lambda pdb: pdb.lines_of(file, line))
            rvas = [entry.rva for entry in found or []]
            if rvas:
                return chosen.base + min(rvas)
        raise SymbolError(f"no code for {file}:{line}")

    def locals(self, va: int) -> tuple[Local, ...]:
        """Variables in scope at an address; none without private symbols."""
        module = self.module_at(va)
        rva = va - (module.base if module else 0)
        return self._ask_pdb(module, lambda pdb: pdb.locals(rva)) or ()

    def unwind(self, regs: FrameRegisters) -> Unwound:
        """The caller's frame.

        Raises:
            MemoryFault: the stack, or the image, cannot be read.
            SymbolError: the image's unwind data are damaged.
        """
        module = self.module_at(regs.rip)
        try:
            if module is None:
                return unwinding.unwind(regs, 0, None, _nothing, self.memory)
            image = module.image
            return unwinding.unwind(regs, module.base, image.functions, image.read, self.memory)
        except FormatError as error:
            raise SymbolError(f"cannot unwind: {error}") from error


def _nothing(rva: int, size: int) -> bytes:
    raise FormatError("no image")


def _preference(symbol: Symbol, name: str) -> tuple[bool, bool, bool]:
    """Order among symbols of one name: the same case, then typed, then not static."""
    return symbol.name != name, symbol.is_public, symbol.is_static


def _module_name(image_name: str) -> str:
    stem = image_name.rpartition(".")[0] or image_name
    if stem.lower() in _KERNEL_IMAGES:
        return KERNEL
    return "".join(char if char.isalnum() or char in "_$" else "_" for char in stem)
