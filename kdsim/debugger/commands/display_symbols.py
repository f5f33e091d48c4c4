"""Memory shown as pointers: `dds dqs dps`, `dpp dpa dpu` and their kin, `dl`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, starmap
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
    from kdsim.debugger.session import Session

SHOWN_BYTES = 128
"""What one command shows when no end is given."""

POINTER_SIZES = {"d": 4, "p": 8, "q": 8}
NAMED = ("dds", "dps", "dqs")
FOLLOWED = tuple(f"d{size}{target}" for size in "dpq" for target in "apu")
STRING_LIMIT = 128
LIST_COUNT, LIST_SIZE = 0x20, 2
"""Nodes and pointers of each that `dl` shows unless told."""


@dataclass(frozen=True, slots=True)
class PointerRow:
    """One pointer; `detail` is its symbol, or what lies where it points."""

    address: int
    value: int | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pointers:
    """Pointers of `size` bytes, `columns` a line."""

    size: int
    rows: tuple[PointerRow, ...]
    columns: int = 1

    def lines(self) -> Iterator[str]:
        for start in range(0, len(self.rows), self.columns):
            line = self.rows[start : start + self.columns]
            shown = "".join(f" {_number(row.value, self.size)} {row.detail}" for row in line)
            yield f"{tick(line[0].address)} {shown}".rstrip()


@dataclass(frozen=True, slots=True)
class ListNodes:
    """Nodes of a linked list: address and the first pointers of each."""

    nodes: tuple[tuple[int, tuple[int, ...]], ...]

    def lines(self) -> Iterator[str]:
        for va, values in self.nodes:
            for start in range(0, len(values), 2):
                shown = " ".join(tick(value) for value in values[start : start + 2])
                yield f"{tick(va + 8 * start)}  {shown}"


def _number(value: int | None, size: int) -> str:
    if value is None:
        return "????????`????????" if size == 8 else "????????"
    return tick(value) if size == 8 else f"{value:08x}"


@command(
    *NAMED,
    *FOLLOWED,
    summary="Display pointers with their symbols (dps), or with what they point to (dpp dpa dpu).",
    group="memory",
    params=(Param("range", "range", "where", optional=True),),
    needs=Caps.READ,
    see_also=("dq", "ln", "dl"),
    notes="Second letter: pointer size (d, q, p). Third: s symbol, p value, a ASCII, u Unicode.",
    options=OPTIONS,
)
def display_pointers(session: Session, args: Arguments, name: str) -> Pointers:
    size = POINTER_SIZES[name[1]]
    options = take_options(args)
    columns = options.columns or 1
    span = args.range(size, SHOWN_BYTES // size)
    args.at_end()
    start = next_address(session, span.address)
    session.cursor.display = name

    def row(index: int, cell: bytes | None) -> PointerRow:
        value = int.from_bytes(cell, "little") if cell is not None else None
        detail = "" if value is None else _detail(session, value, name[2])
        return PointerRow(start + index * size, value, detail)

    cells = enumerate(read_cells(options.memory(session), start, span.count, size))
    shown = in_pieces(session, starmap(row, cells), lambda found: Pointers(size, found, columns))
    session.cursor.data = start + span.count * size & (1 << 64) - 1
    return shown


def _detail(session: Session, value: int, form: str) -> str:
    """What is behind a pointer; what it points to is as wide as the target's own pointers."""
    if form == "s":
        return session.disassembler.symbol(value) or ""
    if form == "p":
        data = session.memory.read_some(value, 8)
        if len(data) < 8:
            return _number(None, 8)
        target = int.from_bytes(data, "little")
        return f"{tick(target)} {session.disassembler.symbol(target) or ''}".rstrip()
    if not session.memory.read_some(value, 1):
        return ""
    if form == "a":
        text = session.memory.cstring(value, STRING_LIMIT).encode("latin-1")
        return f'"{characters(text)}"'
    wide = session.memory.wstring(value, 2 * STRING_LIMIT)
    return '"{}"'.format("".join(c if c.isprintable() else "." for c in wide))


@command(
    "dl",
    "dlb",
    summary="Display a linked list by its first (dlb: second) pointers, to its end or a loop.",
    group="memory",
    params=(
        Param("address", "expression", "the first node, a LIST_ENTRY"),
        Param("maxcount", "expression", "nodes at most", optional=True),
        Param("size", "expression", "pointers shown of each node", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!list", "dt"),
)
def display_list(session: Session, args: Arguments, name: str) -> ListNodes:
    start = args.address()
    most = args.expression() if not args.done else LIST_COUNT
    size = max(1, args.expression()) if not args.done else LIST_SIZE
    args.at_end()
    session.cursor.display = name
    nodes = _nodes(session, start, 8 if name == "dlb" else 0, size)
    return in_pieces(session, islice(nodes, most), ListNodes)


def _nodes(
    session: Session, start: int, link_offset: int, size: int
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """From node to node, up to a NULL, a loop or memory that cannot be read."""
    va = start
    seen: set[int] = set()
    while va not in seen:
        seen.add(va)
        data = session.memory.read_some(va, max(size * 8, link_offset + 8))
        if len(data) < link_offset + 8:
            raise MemoryFault(va)
        values = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data) - 7, 8)]
        yield va, tuple(values[:size])
        va = values[link_offset // 8]
        if not va:
            return
