"""Memory shown as text: `da du ds dS`, and as bits: `dyb dyd`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.memory_cells import characters, read_cells
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.text import address as tick
from kdsim.errors import MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments, Range
    from kdsim.debugger.memory import CachedMemory
    from kdsim.debugger.session import Session

KINDS = ("da", "du", "ds", "dS", "dyb", "dyd")
WIDTH = 32
"""Characters in a line."""

LIMIT = 0x4000
"""Characters a string without a NUL is followed for."""


@dataclass(frozen=True, slots=True)
class Strings:
    """Text in pieces of one line each; text is None where memory is unreadable."""

    pieces: tuple[tuple[int, str | None], ...]

    def lines(self) -> Iterator[str]:
        for va, text in self.pieces:
            yield f'{tick(va)}  "{text}"' if text is not None else f"{tick(va)}  ????"


@dataclass(frozen=True, slots=True)
class Bits:
    """Values shown bit by bit, `size` bytes each."""

    address: int
    size: int
    values: tuple[int | None, ...]

    def lines(self) -> Iterator[str]:
        yield from _BIT_HEADERS[self.size]
        per_line = 4 // self.size
        for start in range(0, len(self.values), per_line):
            part = self.values[start : start + per_line]
            shown = [_bits(value, self.size) for value in part]
            digits = [
                f"{value:0{2 * self.size}x}" if value is not None else "??" * self.size
                for value in part
            ]
            line = (
                f"{tick(self.address + start * self.size)}  {' '.join(shown)}  {' '.join(digits)}"
            )
            yield line


_INDENT = " " * 19
_BIT_HEADERS = {
    1: (_INDENT + " ".join(["76543210"] * 4), _INDENT + " ".join(["--------"] * 4)),
    4: (
        _INDENT + " 3          2          1          0",
        _INDENT + "10987654 32109876 54321098 76543210",
        _INDENT + " ".join(["--------"] * 4),
    ),
}


def _bits(value: int | None, size: int) -> str:
    if value is None:
        return " ".join(["????????"] * size)
    bits = f"{value:0{8 * size}b}"
    return " ".join(bits[i : i + 8] for i in range(0, len(bits), 8))


@command(
    *KINDS,
    summary="Display text: to its NUL (da, du), or a counted string (ds, dS); or bits (dyb, dyd).",
    group="memory",
    params=(Param("range", "range", "where", optional=True),),
    needs=Caps.READ,
    see_also=("db", "dpa", "dpu"),
)
def display_strings(session: Session, args: Arguments, name: str) -> Strings | Bits:
    return show(session, args, name)


def show(session: Session, args: Arguments, name: str, *, physical: bool = False) -> Strings | Bits:
    """Read and remember where to go on."""
    from kdsim.debugger.commands.display import next_address

    width = WIDTH
    while (flag := args.take("/c", "/p")) is not None:
        if flag == "/c":
            width = max(1, args.expression())
        else:
            physical = True
    size = {"du": 2, "dS": 16, "ds": 16, "dyd": 4}.get(name, 1)
    span = args.range(size, {"dyb": 32, "dyd": 8}.get(name, 1))
    args.at_end()
    start = next_address(session, span.address)
    memory = session.physical if physical else session.memory
    session.cursor.display = name
    if name in ("dyb", "dyd"):
        cells = tuple(
            int.from_bytes(cell, "little") if cell is not None else None
            for cell in read_cells(memory, start, span.count, size)
        )
        session.cursor.data = start + span.count * size
        return Bits(start, size, cells)
    if name in ("ds", "dS"):
        session.cursor.data = start + 16
        return _counted(memory, start, wide=name == "dS", width=width)
    pieces, end = _terminated(memory, start, size, _limit(span), width)
    session.cursor.data = end
    return Strings(pieces)


def _limit(span: Range) -> int:
    return span.count if span.form in ("count", "end") else LIMIT


def _terminated(
    memory: CachedMemory, va: int, size: int, limit: int, width: int
) -> tuple[tuple[tuple[int, str | None], ...], int]:
    """Lines of a string up to its NUL, and the address after it."""
    pieces: list[tuple[int, str | None]] = []
    units = bytearray()
    line_start, at = va, va
    for cell in read_cells(memory, va, limit, size):
        if cell is None:
            if not pieces and not units:
                return ((va, None),), va
            break
        at += size
        if not any(cell):
            break
        units += cell
        if len(units) == width * size:
            pieces.append((line_start, _text(bytes(units), size)))
            line_start, units = at, bytearray()
    if units or not pieces:
        pieces.append((line_start, _text(bytes(units), size)))
    return tuple(pieces), at


def _text(units: bytes, size: int) -> str:
    if size == 1:
        return characters(units)
    text = bytes(units).decode("utf-16-le", "replace")
    return "".join(char if char.isprintable() else "." for char in text)


def _counted(memory: CachedMemory, va: int, *, wide: bool, width: int) -> Strings:
    """An ANSI_STRING or UNICODE_STRING: two 16-bit lengths, padding, the buffer's address."""
    length = memory.integer(va, 2)
    buffer = memory.u64(va + 8)
    size = 2 if wide else 1
    data = memory.read_some(buffer, length)
    if len(data) < length:
        raise MemoryFault(buffer + len(data), length - len(data))
    step = width * size
    return Strings(
        tuple((buffer + i, _text(data[i : i + step], size)) for i in range(0, max(length, 1), step))
    )
