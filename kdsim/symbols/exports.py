"""An image's exports as symbols, for want of a PDB."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator

from kdsim.symbols.pe import PeImage
from kdsim.symbols.symbols import Symbol, SymbolKind
from kdsim.symbols.wildcard import compile_wildcard

_EXECUTE = 0x2000_0000


class ExportSymbols:
    """Exported names; forwarders have no address here and are left out."""

    def __init__(self, image: PeImage) -> None:
        found: list[Symbol] = []
        for export in image.exports.by_name.values():
            if not export.forwarder:
                section = image.section_at(export.rva)
                code = section is not None and section.characteristics & _EXECUTE
                kind: SymbolKind = "function" if code else "data"
                found.append(Symbol(export.name, export.rva, 0, kind, is_public=True))
        found.sort(key=lambda symbol: symbol.rva)
        self._symbols = found
        self._starts = array("Q", (symbol.rva for symbol in found))
        self._names: dict[str, list[Symbol]] = {}
        for symbol in found:
            self._names.setdefault(symbol.name.lower(), []).append(symbol)

    def __len__(self) -> int:
        return len(self._symbols)

    def symbols(self, name: str) -> list[Symbol]:
        return self._names.get(name.lower(), [])

    def names(self) -> list[str]:
        return [symbol.name for symbol in self._symbols]

    def match(self, pattern: str) -> Iterator[Symbol]:
        fits = compile_wildcard(pattern, symbol=True).fullmatch
        return (symbol for symbol in self._symbols if fits(symbol.name))

    def nearest(self, rva: int) -> Symbol | None:
        index = bisect_right(self._starts, rva) - 1
        return self._symbols[index] if index >= 0 else None

    def at(self, rva: int) -> list[Symbol]:
        """Every name of an address."""
        return [symbol for symbol in self._symbols if symbol.rva == rva]

    def after(self, rva: int) -> Symbol | None:
        """The first name above an address."""
        index = bisect_right(self._starts, rva)
        return self._symbols[index] if index < len(self._symbols) else None

    def by_address(self) -> Iterator[Symbol]:
        return iter(self._symbols)
