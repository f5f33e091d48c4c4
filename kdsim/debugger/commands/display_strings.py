"""Memory shown as text: `da du ds dS`, and as bits: `dyb dyd`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.display_options import OPTIONS, next_address, take_options
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.memory_cells import characters, read_cells
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.text import address as tick
from kdsim.errors import MemoryFault

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.memory import CachedMemory
    from kdsim.debugger.session import Session

RANGE = Param("range", "range", "where", optional=True)
WIDTH = 32
"""Characters in a line. The documentation says up to 48, kd's lines have 32."""

STRING_SIZE = 16
"""sizeof(UNICODE_STRING) of a 64-bit target."""

BIT_COUNTS = {"dyb": 32, "dyd": 8}
"""Values shown when the user names no end."""

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
    """Values of `size` bytes shown bit by bit."""

    size: int
    columns: int
    rows: tuple[tuple[int, tuple[int | None, ...]], ...]

    def lines(self) -> Iterator[str]:
        yield from _bit_header(self.size, self.columns)
        width = 2 * self.size
        for address, values in self.rows:
            shown = " ".join(_bits(value, self.size) for value in values)
            digits = " ".join("?" * width if v is None else f"{v:0{width}x}" for v in values)
            yield f"{tick(address)}  {shown}  {digits}"


_BIT_HEADERS = {
    1: ("76543210", "--------"),
    4: (
        " 3          2          1          0",
        "10987654 32109876 54321098 76543210",
        " ".join(["--------"] * 4),
    ),
}


def _bit_header(size: int, columns: int) -> Iterator[str]:
    """Bit numbers above the columns."""
    width = 9 * size - 1
    for text in _BIT_HEADERS[size]:
        yield (" " * 19 + " ".join([f"{text:{width}}"] * columns)).rstrip()


def _bits(value: int | None, size: int) -> str:
    if value is None:
        return " ".join(["????????"] * size)
    bits = f"{value:0{8 * size}b}"
    return " ".join(bits[i : i + 8] for i in range(0, len(bits), 8))


@command(
    "da",
    "du",
    summary="Display text to its NUL, ASCII (da) or Unicode (du).",
    group="memory",
    params=(RANGE,),
    needs=Caps.READ,
    see_also=("db", "dS", "dpa"),
    options=OPTIONS,
)
def display_text(session: Session, args: Arguments, name: str) -> Strings:
    size = 2 if name == "du" else 1
    options = take_options(args)
    span = args.range(size, LIMIT)
    args.at_end()
    start = next_address(session, span.address)
    session.cursor.display = name
    memory, width = options.memory(session), options.columns or WIDTH
    pieces, session.cursor.data = terminated(memory, start, size, span.count, width)
    return Strings(pieces)


@command(
    "ds",
    "dS",
    summary="Display a counted string: the ANSI_STRING (ds) or UNICODE_STRING (dS) at an address.",
    group="memory",
    params=(RANGE,),
    needs=Caps.READ,
    see_also=("da", "du"),
    options=OPTIONS,
)
def display_counted(session: Session, args: Arguments, name: str) -> Strings:
    options = take_options(args)
    span = args.range(STRING_SIZE, 1)
    args.at_end()
    start = next_address(session, span.address)
    session.cursor.display = name
    session.cursor.data = start + STRING_SIZE
    width = options.columns or WIDTH
    return _counted(options.memory(session), start, wide=name == "dS", width=width)


@command(
    *BIT_COUNTS,
    summary="Display bits and bytes (dyb), or bits and double words (dyd).",
    group="memory",
    params=(RANGE,),
    needs=Caps.READ,
    see_also=("db", "dd"),
    options=OPTIONS,
)
def display_bits(session: Session, args: Arguments, name: str) -> Bits:
    size = 4 if name == "dyd" else 1
    options = take_options(args)
    span = args.range(size, BIT_COUNTS[name])
    args.at_end()
    start = next_address(session, span.address)
    session.cursor.display = name
    session.cursor.data = start + span.size
    values = (
        int.from_bytes(cell, "little") if cell is not None else None
        for cell in read_cells(options.memory(session), start, span.count, size)
    )
    columns = options.columns or 4 // size
    numbered = batched_rows(values, start, columns, size)
    return in_pieces(session, numbered, lambda found: Bits(size, columns, found))


def batched_rows(
    values: Iterator[int | None], start: int, columns: int, size: int
) -> Iterator[tuple[int, tuple[int | None, ...]]]:
    """Values in lines of `columns`, each with its address."""
    while line := tuple(islice(values, columns)):
        yield start, line
        start += columns * size


def terminated(
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
