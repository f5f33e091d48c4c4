"""Disassembly: `u`, `ub`, `uu`, `uf`, `#`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.disassembly import Line
from kdsim.debugger.language.problems import MEMORY
from kdsim.debugger.text import address as tick
from kdsim.errors import MemoryFault, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments, Range
    from kdsim.debugger.session import Session

COUNT = 8
"""Instructions shown when no end is given."""

FUNCTION_LIMIT = 0x4000
"""Instructions of one function at most."""

SEARCH_BYTES = 0x10000
"""How far `#` looks when no range is given."""


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions in a row, and the label above them."""

    label: str
    instructions: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Blocks of instructions."""

    blocks: tuple[Block, ...]
    spaced: bool = False

    def lines(self) -> Iterator[str]:
        for index, block in enumerate(self.blocks):
            if index and self.spaced:
                yield ""
            if block.label:
                yield block.label
            yield from map(str, block.instructions)


@command(
    "u",
    "ub",
    "uu",
    "ur",
    summary="Unassemble: upwards from an address (u), or what lies before it (ub).",
    group="memory",
    params=(Param("range", "range", "where, for instance nt!KeBugCheckEx L10", optional=True),),
    needs=Caps.READ,
    see_also=("uf", "#", "db"),
)
def unassemble(session: Session, args: Arguments, name: str) -> Listing:
    args.peek()
    column = args.position
    span = args.range(1, COUNT)
    args.at_end()
    start = span.address
    if start is None:
        start = session.cursor.code
    if start is None:
        start = session.version.kernel_base if session.local else session.instruction_pointer
    if name == "ub":
        found = session.disassembler.backwards(start, span.count)
        session.cursor.code = found[0].address
        return Listing(_labelled(session, found))
    found, end = _forwards(session, start, span)
    session.cursor.code = end
    listing = Listing(_labelled(session, found))
    if span.count > len(found) and not session.memory.read_some(end, 1):
        for text in (*listing.lines(), f"{tick(end)} {'??':15} ???"):
            session.out.line(text)
        raise args.error(MEMORY, column)
    return listing


def _forwards(session: Session, start: int, span: Range) -> tuple[list[Line], int]:
    """Instructions up to the end of the range or of readable memory, and where they end."""
    found: list[Line] = []
    at = start
    while len(found) < span.count and (span.form != "end" or at < span.end):
        session.check_interrupt()
        try:
            found.append(session.disassembler.line(at))
        except MemoryFault:
            break
        at = found[-1].next
    return found, at


def _labelled(session: Session, found: list[Line]) -> tuple[Block, ...]:
    """Cut a listing where another symbol begins."""
    blocks: list[Block] = []
    rows: list[Line] = []
    label = ""
    for line in found:
        name = session.disassembler.symbol(line.address)
        starts = name is not None and "+" not in name
        if not rows and not blocks:
            label = f"{name}:" if name else ""
        elif starts:
            blocks.append(Block(label, tuple(rows)))
            rows, label = [], f"{name}:"
        rows.append(line)
    if rows:
        blocks.append(Block(label, tuple(rows)))
    return tuple(blocks)


@dataclass(frozen=True, slots=True)
class Call:
    site: int
    site_name: str
    target: str


@dataclass(frozen=True, slots=True)
class Calls:
    """`uf /c`."""

    address: int
    name: str
    calls: tuple[Call, ...]

    def lines(self) -> Iterator[str]:
        yield f"{self.name} ({tick(self.address)})"
        for call in self.calls:
            yield f"  {call.site_name} ({tick(call.site)}):"
            yield f"    call to {call.target}"


@command(
    "uf",
    summary="Unassemble a whole function, block by block; /c its calls, /i counts instructions.",
    group="memory",
    params=(Param("address", "symbol", "in the function", optional=True),),
    needs=Caps.READ,
    see_also=("u", "x"),
)
def unassemble_function(session: Session, args: Arguments, name: str) -> object:
    switches = args.switches("c", "D", "m", "o", "O", "i")
    va = args.optional_expression()
    args.at_end()
    if va is None:
        va = session.instruction_pointer
    found = session.symbols.nearest(va)
    if found is None or (found[0].symbol.size and found[1] >= found[0].symbol.size):
        raise UserError(
            f"Flow analysis was incomplete, some code may be missing: no function at {tick(va)}"
        )
    start = found[0].va
    blocks = _function_blocks(session, start, found[0].symbol.size)
    if "c" in switches or "D" in switches:
        return _calls(session, start, blocks)
    listing = Listing(tuple(_block(session, block) for block in blocks), spaced=True)
    if "i" in switches:
        count = sum(len(block) for block in blocks)
        return [f"{count} instructions scanned", "", *listing.lines()]
    return listing


def _block(session: Session, block: list[Line]) -> Block:
    label = session.disassembler.symbol_line(block[0].address) or ""
    return Block(label, tuple(block))


def _function_blocks(session: Session, start: int, size: int) -> list[list[Line]]:
    """Follow the flow from the entry; blocks in address order."""
    inside = range(start, start + size) if size else range(start, start + (1 << 20))
    decoded: dict[int, Line] = {}
    leaders = {start}
    waiting = [start]
    while waiting:
        at = waiting.pop()
        while at in inside and at not in decoded and len(decoded) < FUNCTION_LIMIT:
            session.check_interrupt()
            try:
                line = session.disassembler.line(at)
            except MemoryFault:
                break
            decoded[at] = line
            if (
                line.kind in ("branch", "jump")
                and line.target is not None
                and line.target in inside
            ):
                leaders.add(line.target)
                waiting.append(line.target)
            if line.kind == "branch":
                leaders.add(line.next)
            if line.kind in ("jump", "ret") or line.mnemonic == "???":
                break
            at = line.next
    return _cut(decoded, leaders)


def _cut(decoded: dict[int, Line], leaders: set[int]) -> list[list[Line]]:
    blocks: list[list[Line]] = []
    expected = -1
    for va in sorted(decoded):
        if va in leaders or va != expected:
            blocks.append([])
        blocks[-1].append(decoded[va])
        expected = decoded[va].next
    return blocks


def _calls(session: Session, start: int, blocks: list[list[Line]]) -> Calls:
    calls = [
        Call(
            line.address,
            session.disassembler.symbol(line.address) or tick(line.address),
            line.operands,
        )
        for block in blocks
        for line in block
        if line.kind == "call"
    ]
    return Calls(start, session.disassembler.symbol(start) or tick(start), tuple(calls))


@command(
    "#",
    summary="Search for a pattern in disassembled instructions.",
    group="memory",
    params=(
        Param("pattern", "pattern", "part of the line, * and ? allowed", optional=True),
        Param("range", "range", "where", optional=True),
    ),
    needs=Caps.READ,
    see_also=("u", "s"),
)
def search_disassembly(session: Session, args: Arguments, name: str) -> list[str]:
    cursor = session.cursor
    cursor.pattern = args.pattern() or cursor.pattern
    span = args.range(1, SEARCH_BYTES)
    args.at_end()
    start = cursor.instruction if span.address is None else span.address
    if start is None:
        start = session.instruction_pointer
    cursor.instruction = start
    if not cursor.pattern:
        return []
    wanted = f"*{cursor.pattern.lower()}*"
    while cursor.instruction < start + span.size:
        session.check_interrupt()
        line = session.disassembler.line(cursor.instruction)
        cursor.instruction = line.next
        if _matches(line, wanted):
            label = session.disassembler.symbol_line(line.address)
            return [label, str(line)] if label else [str(line)]
    return []


def _matches(line: Line, wanted: str) -> bool:
    """A pattern is held against address, bytes, mnemonic and operands one by one."""
    from fnmatch import fnmatchcase

    parts = (tick(line.address), line.data.hex(), line.instruction.lower(), line.operands.lower())
    return any(fnmatchcase(part, wanted) for part in parts)
