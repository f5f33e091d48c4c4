"""Memory shown as pointers: `dds dqs dps`, `dpp dpa dpu` and their kin, `dl`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
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


@dataclass(frozen=True, slots=True)
class PointerRow:
    """One pointer; `detail` is its symbol, or what lies where it points."""

    address: int
    value: int | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pointers:
    """Pointers of `size` bytes, one a line."""

    size: int
    rows: tuple[PointerRow, ...]

    def lines(self) -> Iterator[str]:
        for row in self.rows:
            value = _number(row.value, self.size)
            yield f"{tick(row.address)}  {value} {row.detail}".rstrip()


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
)
def display_pointers(session: Session, args: Arguments, name: str) -> Pointers:
    from kdsim.debugger.commands.display import next_address

    size = POINTER_SIZES[name[1]]
    span = args.range(size, SHOWN_BYTES // size)
    args.at_end()
    start = next_address(session, span.address)
    session.cursor.display = name

    def row(index: int, cell: bytes | None) -> PointerRow:
        value = int.from_bytes(cell, "little") if cell is not None else None
        detail = "" if value is None else _detail(session, value, size, name[2])
        return PointerRow(start + index * size, value, detail)

    cells = enumerate(read_cells(session.memory, start, span.count, size))
    shown = in_pieces(session, starmap(row, cells), lambda found: Pointers(size, found))
    session.cursor.data = start + span.count * size & (1 << 64) - 1
    return shown


def _detail(session: Session, value: int, size: int, form: str) -> str:
    if form == "s":
        return session.disassembler.symbol(value) or ""
    data = session.memory.read_some(value, size)
    if form == "p":
        if len(data) < size:
            return _number(None, size)
        target = int.from_bytes(data, "little")
        symbol = session.disassembler.symbol(target) or ""
        return f"{_number(target, size)} {symbol}".rstrip()
    if not data:
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
    start = args.expression()
    most = args.optional_expression(0x20)
    size = args.optional_expression(2)
    args.at_end()
    assert most is not None
    assert size is not None
    link_offset = 8 if name == "dlb" else 0
    nodes: list[tuple[int, tuple[int, ...]]] = []
    va = start
    while va and len(nodes) < most:
        session.check_interrupt()
        data = session.memory.read_some(va, max(size * 8, link_offset + 8))
        if len(data) < link_offset + 8:
            if not nodes:
                raise MemoryFault(va)
            break
        values = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data) - 7, 8)]
        nodes.append((va, tuple(values[:size])))
        va = values[link_offset // 8]
        if va == start:
            break
    return ListNodes(tuple(nodes))
