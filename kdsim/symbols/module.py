"""One loaded image of an address space, and where its symbols come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from kdsim.errors import FormatError, MemoryFault, SymbolError
from kdsim.symbols.exports import ExportSymbols
from kdsim.symbols.memory import Memory
from kdsim.symbols.pdb import Pdb
from kdsim.symbols.pe import CodeView, PeImage
from kdsim.symbols.store import MismatchError, SymbolPath
from kdsim.symbols.symbols import Symbol

Status = Literal["deferred", "pdb", "private pdb", "export", "none"]

_WORDS: dict[Status, str] = {
    "deferred": "(deferred)",
    "pdb": "(pdb symbols)",
    "private pdb": "(private pdb symbols)",
    "export": "(export symbols)",
    "none": "(no symbols)",
}
_STATUS_WIDTH = 23  # of `lm`'s status column

Match = Literal["", "#", "M"]


class SymbolSource(Protocol):
    """What a PDB and an export table have in common."""

    def symbols(self, name: str) -> list[Symbol]: ...

    def names(self) -> list[str]: ...

    def match(self, pattern: str) -> Iterator[Symbol]: ...

    def nearest(self, rva: int) -> Symbol | None: ...

    def at(self, rva: int) -> list[Symbol]: ...

    def after(self, rva: int) -> Symbol | None: ...

    def by_address(self) -> Iterator[Symbol]: ...


@dataclass(eq=False)
class Module:
    """A loaded image.

    Attributes:
        name: as it stands before `!`.
        image_name: file name of the image.
        image_path: as the target's loader knows it.
        status: of its symbols.
        problem: why it has none, or not the best ones.
        match: "#": a PDB of another build was found and refused; "M": it is used all the same.
        pdb: once loaded.
        source: the names: PDB, exports or None.
        pdb_path: file of the PDB.
        unloaded: no longer in its address space.
    """

    name: str
    base: int
    size: int
    image_name: str = ""
    image_path: str = ""
    timestamp: int = 0
    checksum: int = 0
    status: Status = "deferred"
    problem: str = ""
    match: Match = ""
    pdb: Pdb | None = None
    source: SymbolSource | None = None
    pdb_path: Path | None = None
    unloaded: bool = False
    _image: PeImage | None = field(default=None, repr=False)
    _find_image: Callable[[], PeImage] | None = field(default=None, repr=False)

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.base + max(self.size, 1)

    @property
    def status_text(self) -> str:
        """As `lm` shows it: the words in brackets, then the file they speak of."""
        return f"{_WORDS[self.status]:<{_STATUS_WIDTH}}{self.symbol_file}"

    @property
    def letters(self) -> str:
        """What is wrong with it, as `lm` says it: `M`, `#`, `T` (no timestamp), `C` (checksum)."""
        if self.status == "deferred":
            return ""
        return self.match or ("T" if not self.timestamp else "" if self.checksum else "C")

    @property
    def symbol_file(self) -> str:
        """The PDB, or the image whose exports are used; empty without symbols."""
        if self.pdb_path is not None:
            return str(self.pdb_path)
        return self.image_name if self.status == "export" else ""

    @property
    def image(self) -> PeImage:
        """Its image: the file when a store on this machine has it, else the mapped one.

        Raises:
            SymbolError: neither can be read.
        """
        if self._image is None:
            if self._find_image is None:
                raise SymbolError(f"{self.name}: no image")
            self._image = self._find_image()
        return self._image


class ModuleLoader:
    """Finds images and PDBs of modules."""

    def __init__(self, path: SymbolPath, memory: Memory) -> None:
        self.path = path
        self.image_path: SymbolPath | None = None
        self.memory = memory
        self.any_build = False
        """Take PDBs of other builds too."""
        self.on_load: Callable[[Module], None] = lambda module: None
        """Told of every module whose symbols were looked for."""

    def attach(self, module: Module) -> None:
        """Give a new module its way to its image, and the header fields that were not told."""
        module._find_image = lambda: self._image(module)
        if not module.size or not module.timestamp:
            try:
                mapped = PeImage.from_memory(self.memory, module.base, module.name)
            except (MemoryFault, FormatError) as error:
                module.problem = str(error)
                return
            module.size = module.size or mapped.size_of_image
            module.timestamp = module.timestamp or mapped.timestamp
            module.checksum = module.checksum or mapped.checksum

    def load(self, module: Module, *, network: bool = True) -> None:
        """Find the symbols of a module and set its status. Never fails: `problem` tells why.

        Without `network` a PDB that is not on this machine leaves the module as it is.
        """
        module.match = ""
        try:
            code = self._codeview(module, network)
            self._open(module, code, network=network)
        except MismatchError as error:
            if not network:
                return
            module.match = "#"
            self.fall_back(module, str(error))
            if self.any_build:
                self._open_mismatched(module, code)
        except (SymbolError, FormatError) as error:
            if not network:
                return
            self.fall_back(module, str(error))
        self.on_load(module)

    def _open(
        self, module: Module, code: CodeView, *, any_build: bool = False, network: bool = True
    ) -> None:
        path = self.path.find_pdb(code.pdb_name, code, any_build=any_build, network=network)
        module.pdb = Pdb.open(path)
        module.pdb_path = path
        module.source = module.pdb
        module.problem = ""
        module.status = "private pdb" if module.pdb.is_private else "pdb"

    def _open_mismatched(self, module: Module, code: CodeView) -> None:
        try:
            self._open(module, code, any_build=True)
        except (SymbolError, FormatError) as error:
            self.fall_back(module, str(error))
        else:
            module.match = "M"

    def fall_back(self, module: Module, reason: str) -> None:
        """Use the exports, since the PDB cannot be had or turned out to be damaged."""
        module.problem = reason
        module.pdb = module.pdb_path = module.source = None
        module.status = "none"
        try:
            exports = ExportSymbols(module.image)
        except (SymbolError, FormatError, MemoryFault):
            return
        if exports:
            module.source = exports
            module.status = "export"

    def _codeview(self, module: Module, network: bool) -> CodeView:
        """The link to the PDB, from the mapped image or else from its file."""
        try:
            code = PeImage.from_memory(self.memory, module.base, module.name).codeview
        except (MemoryFault, FormatError) as damage:
            if not network or not module.timestamp:
                raise SymbolError(str(damage)) from damage
            # A small dump may hold an image's headers and nothing else of it.
            module._image = self._from_store(module, network=True)
            code = module._image.codeview
        if code is None:
            raise SymbolError(f"{module.name}: the image names no PDB")
        return code

    def _image(self, module: Module) -> PeImage:
        try:
            return self._from_store(module, network=False)
        except SymbolError:
            try:
                return PeImage.from_memory(self.memory, module.base, module.name)
            except (MemoryFault, FormatError) as error:
                module.problem = module.problem or str(error)
        return self._from_store(module, network=True)

    def _from_store(self, module: Module, *, network: bool) -> PeImage:
        path = self.find_file(module, network=network)
        try:
            return PeImage.from_file(path.read_bytes(), module.name)
        except (FormatError, OSError) as error:
            raise SymbolError(str(error)) from error

    def find_file(self, module: Module, *, network: bool) -> Path:
        """The file of a module's image in the image path or the symbol path."""
        if not module.timestamp or not module.size:
            raise SymbolError(f"{module.name}: its image's timestamp and size are unknown")
        wanted = module.image_name, module.timestamp, module.size
        if self.image_path is not None:
            try:
                return self.image_path.find_image(*wanted, network=network)
            except SymbolError:
                # The symbol path holds images too, and says what it tried.
                pass
        return self.path.find_image(*wanted, network=network)
