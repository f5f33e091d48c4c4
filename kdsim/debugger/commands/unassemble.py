"""Disassembly: `u`, `ub`, `uu`, `up`, `ur`, `uf`, `#`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.disassembly import LONGEST, Line, unreadable
from kdsim.debugger.language.problems import MEMORY, SYNTAX
from kdsim.debugger.text import address as tick
from kdsim.errors import CommandSyntaxError, MemoryFault, Unsupported, UserError
from kdsim.symbols.wildcard import Matcher, compile_wildcard

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments, Range
    from kdsim.debugger.session import Session

COUNT = 8
"""Instructions shown when no end is given."""

FUNCTION_LIMIT = 0x4000
"""Instructions of one function at most."""


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
    counted: bool = False

    def lines(self) -> Iterator[str]:
        if self.counted:
            yield f"{sum(len(block.instructions) for block in self.blocks)} instructions scanned"
            yield ""
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
    "up",
    "ur",
    summary="Unassemble: upwards from an address (u), or what lies before it (ub).",
    group="memory",
    params=(Param("range", "range", "where, for instance nt!KeBugCheckEx L10", optional=True),),
    needs=Caps.READ,
    see_also=("uf", "#", "db"),
    notes="uu goes on behind unreadable memory, up reads physical memory, ur shows 16-bit code.",
)
def unassemble(session: Session, args: Arguments, name: str) -> Listing:
    args.peek()
    column = args.position
    span = args.range(1, COUNT)
    args.at_end()
    if name == "ub" and span.form == "end":
        raise args.error(SYNTAX, column)
    start = span.address
    if start is None:
        start = session.cursor.code
    if start is None:
        start = session.version.kernel_base if session.local else session.instruction_pointer
    if name == "ub":
        return _backwards(session, args, start, span.count)
    found, end = _forwards(session, start, span, _reader(session, name), goes_on=name == "uu")
    session.cursor.code = end
    broken = not found[-1].data
    listing = Listing(_labelled(session, found))
    if broken and name != "uu":
        for text in listing.lines():
            session.out.line(text)
        raise args.error(MEMORY, column)
    return listing


class NoPreviousInstruction(CommandSyntaxError):
    """No instruction ends where `ub` was told to begin: in the middle of one, for instance."""

    def __init__(self, args: Arguments) -> None:
        column = len(args.text) if args.text[args.start :].strip() == "" else args.start + 1
        super().__init__("Unable to find valid previous instruction", args.text, column)

    def __str__(self) -> str:
        return f"{' ' * self.column}^ {self.message} for '{self.text}'"


def _backwards(session: Session, args: Arguments, end: int, count: int) -> Listing:
    try:
        found = session.disassembler.backwards(end, count)
    except MemoryFault:
        # What ends in the middle of an instruction has none that ends right before it.
        raise NoPreviousInstruction(args) from None
    session.cursor.code = found[0].address
    return Listing(_labelled(session, found))


Reader = Callable[[int], Line]


def _reader(session: Session, name: str) -> Reader:
    """How the instruction at an address is found; MemoryFault when it cannot be read."""
    if name not in ("up", "ur"):
        return session.disassembler.line
    if name == "up" and Caps.PHYSICAL not in session.backend.caps:
        raise Unsupported(session.backend.refusals.get(Caps.PHYSICAL, "No physical memory"))
    memory, bits = (session.physical, 64) if name == "up" else (session.memory, 16)

    def line(address: int) -> Line:
        data = memory.read_some(address, LONGEST)
        if not data:
            raise MemoryFault(address)
        return session.disassembler.decode(address, data, bits)

    return line


def _forwards(
    session: Session, start: int, span: Range, reader: Reader, *, goes_on: bool
) -> tuple[list[Line], int]:
    """Instructions up to the end of the range or of readable memory, and where they end."""
    found: list[Line] = []
    at = start
    while len(found) < span.count and (span.form != "end" or at < span.end):
        session.check_interrupt()
        try:
            found.append(reader(at))
        except MemoryFault:
            found.append(unreadable(at))
            if not goes_on:
                break
        at += max(1, len(found[-1].data))
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
            yield f"    {call.target}"


@command(
    "uf",
    summary="Unassemble a whole function, block by block.",
    group="memory",
    params=(Param("address", "symbol", "in the function", optional=True),),
    options=(
        Option("/c", "only its calls"),
        Option("/D", "only its calls, with the links of a graphical debugger"),
        Option("/i", "with the number of instructions"),
        Option("/m", "accepted: blocks are always shown by address"),
        Option("/o", "accepted for the same reason"),
        Option("/O", "accepted for the same reason"),
    ),
    needs=Caps.READ,
    see_also=("u", "x"),
)
def unassemble_function(session: Session, args: Arguments, name: str) -> Listing | Calls:
    # Blocks are shown by address and links are not: /m, /o and /O change nothing.
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
    shown = tuple(_block(session, block) for block in blocks)
    return Listing(shown, spaced=True, counted="i" in switches)


def _block(session: Session, block: list[Line]) -> Block:
    label = session.disassembler.symbol_line(block[0].address) or ""
    return Block(label, tuple(block))


def _function_blocks(session: Session, start: int, size: int) -> list[list[Line]]:
    """Follow the flow from the entry; blocks in address order."""
    inside = range(start, start + size) if size else _NearestTo(session, start)
    decoded: dict[int, Line] = {}
    leaders = {start}
    waiting = [start]
    while waiting:
        at = waiting.pop()
        while at not in decoded and at in inside and len(decoded) < FUNCTION_LIMIT:
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


class _NearestTo:
    """The addresses whose symbol is the one at `start`, for functions that tell no size."""

    def __init__(self, session: Session, start: int) -> None:
        self._symbols = session.symbols
        self._start = start

    def __contains__(self, va: int) -> bool:
        found = self._symbols.nearest(va)
        return found is not None and found[0].va == self._start


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
            f"call to {line.operands}"
            if line.target is not None
            else f"unresolvable call: {line.instruction}",
        )
        for block in blocks
        for line in block
        if line.kind == "call"
    ]
    return Calls(start, session.disassembler.symbol(start) or tick(start), tuple(calls))


@command(
    "#",
    summary="Search for a pattern in disassembled instructions, up to the first that has it.",
    group="memory",
    params=(
        Param("pattern", "pattern", "part of the line, wildcards allowed", optional=True),
        Param("range", "range", "where; L n: so many instructions", optional=True),
    ),
    needs=Caps.READ,
    see_also=("u", "s"),
    notes="Without arguments the search goes on.",
)
def search_disassembly(session: Session, args: Arguments, name: str) -> Listing | None:
    cursor = session.cursor
    cursor.pattern = args.pattern() or cursor.pattern
    span = args.range()
    args.at_end()
    if not cursor.pattern:
        return None
    start = cursor.instruction if span.address is None else span.address
    at = session.instruction_pointer if start is None else start
    wanted = compile_wildcard(f"*{cursor.pattern}*")
    for _ in range(span.count) if span.form == "count" else count():
        if span.form == "end" and at >= span.end:
            break
        session.check_interrupt()
        line = session.disassembler.line(at)
        cursor.instruction = at = line.next
        if _matches(line, wanted):
            label = session.disassembler.symbol_line(line.address) or ""
            return Listing((Block(label, (line,)),))
    return None


def _matches(line: Line, wanted: Matcher) -> bool:
    """A pattern is held against address, bytes, mnemonic and operands, and against the whole."""
    words = (line.mnemonic, line.operands, line.instruction)
    return any(map(wanted.fullmatch, (tick(line.address), line.data.hex(), *words)))
