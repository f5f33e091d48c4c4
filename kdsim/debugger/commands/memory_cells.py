"""Memory as rows of cells: what the d* commands and `s` print."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.text import address as tick

if TYPE_CHECKING:
    from kdsim.debugger.memory import CachedMemory

PAGE_SIZE = 0x1000

CHUNK = 0x4000
"""Bytes read at once."""


@dataclass(frozen=True, slots=True)
class CellFormat:
    """One display type.

    Attributes:
        size: bytes of a cell.
        columns: cells in a line.
        count: cells shown when the user names no end.
        show: the text of a cell.
        unknown: the text of an unreadable cell.
        characters: the line ends with its bytes as characters.
    """

    size: int
    columns: int
    count: int
    show: Callable[[bytes], str]
    unknown: str
    characters: bool = False


def hexadecimal(data: bytes) -> str:
    return data[::-1].hex()


def ticked(data: bytes) -> str:
    return tick(int.from_bytes(data, "little"))


def _float(data: bytes) -> str:
    return f"{struct.unpack('<f', data)[0]:16.8g}"


def _double(data: bytes) -> str:
    return f"{struct.unpack('<d', data)[0]:22.12g}"


_QUAD = "????????`????????"

FORMATS = {
    "db": CellFormat(1, 16, 128, hexadecimal, "??", characters=True),
    "dw": CellFormat(2, 8, 64, hexadecimal, "????"),
    "dW": CellFormat(2, 8, 64, hexadecimal, "????", characters=True),
    "dd": CellFormat(4, 4, 32, hexadecimal, "?" * 8),
    "dc": CellFormat(4, 4, 32, hexadecimal, "?" * 8, characters=True),
    "dq": CellFormat(8, 2, 16, ticked, _QUAD),
    "dp": CellFormat(8, 2, 16, ticked, _QUAD),
    "df": CellFormat(4, 4, 16, _float, "?" * 16),
    "dD": CellFormat(8, 3, 15, _double, "?" * 22),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line: an address and what is in the cells from there, None where unreadable."""

    address: int
    cells: tuple[bytes | None, ...]


def read_cells(memory: CachedMemory, va: int, count: int, size: int) -> Iterator[bytes | None]:
    """`count` cells; a page that cannot be read gives None for every cell that touches it."""
    done = 0
    while done < count:
        at = va + done * size
        data = memory.read_some(at, min(count - done, CHUNK // size) * size)
        readable = len(data) // size
        for index in range(readable):
            yield data[index * size : index * size + size]
        done += readable
        if not readable:
            missing = -(-(PAGE_SIZE - at % PAGE_SIZE) // size)
            for _ in range(min(count - done, missing)):
                yield None
                done += 1


def rows(
    memory: CachedMemory, va: int, count: int, layout: CellFormat, columns: int
) -> Iterator[Row]:
    """Cells in lines of `columns`."""
    line: list[bytes | None] = []
    start = va
    for cell in read_cells(memory, va, count, layout.size):
        line.append(cell)
        if len(line) == columns:
            yield Row(start, tuple(line))
            start += columns * layout.size
            line = []
    if line:
        yield Row(start, tuple(line))


def characters(data: bytes) -> str:
    """Printable ASCII, a dot for everything else."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)


def cells_text(row: Row, layout: CellFormat, columns: int, gap: int = 2) -> str:
    """The line without its address; `gap` is between cells and characters."""
    shown = [layout.show(cell) if cell is not None else layout.unknown for cell in row.cells]
    if layout.size == 1 and columns == 16:
        text = "-".join(" ".join(shown[i : i + 8]) for i in range(0, len(shown), 8))
    else:
        text = " ".join(shown)
    if not layout.characters:
        return text
    width = columns * (len(layout.unknown) + 1) - 1
    known = "".join(
        characters(cell) if cell is not None else "?" * layout.size for cell in row.cells
    )
    return f"{text:{width}}{' ' * gap}{known}"


def row_line(row: Row, layout: CellFormat, columns: int) -> str:
    return f"{tick(row.address)}  {cells_text(row, layout, columns)}"
