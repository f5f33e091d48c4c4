"""Linked structures: `!slist !dflink !dblink !validatelist !gentable !rtlavl !bitcount`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import trees
from kdsim.debugger.inspect.nt import LIST_LIMIT, Nt
from kdsim.debugger.inspect.typetree import FieldLine, Style, TypeTree
from kdsim.errors import ArgumentError, MemoryFault
from kdsim.symbols.types import Record

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

DEFAULT_ENTRIES = 32
POINTER = 8
WORDS = 4
COUNT_STEP = 0x10000


def _words(session: Session, address: int) -> str:
    """Up to four ULONGs, question marks for those that cannot be read."""
    data = session.memory.read_some(address, 4 * WORDS)
    cells = [data[at : at + 4] for at in range(0, 4 * WORDS, 4)]
    return " ".join(
        f"{int.from_bytes(cell, 'little'):08x}" if len(cell) == 4 else "????????" for cell in cells
    )


@dataclass(frozen=True, slots=True)
class SingleList:
    """An SLIST_HEADER and the entries behind it."""

    header: tuple[FieldLine, ...]
    entries: tuple[tuple[int, str, tuple[FieldLine, ...]], ...]
    problem: str

    def lines(self) -> Iterator[str]:
        yield "SLIST HEADER:"
        yield from (str(row) for row in self.header)
        yield ""
        yield "SLIST CONTENTS:"
        for address, words, rows in self.entries:
            yield f"{address:016x}  {words}".rstrip()
            yield from (str(row) for row in rows)
        if self.problem:
            yield self.problem


@command(
    "!slist",
    summary="A singly linked list with an SLIST_HEADER.",
    group="lists",
    params=(
        Param("header", "expression", "address of the SLIST_HEADER"),
        Param("type", "type", "show each node as this type", optional=True),
        Param("offset", "expression", "of the list pointer in the type", optional=True),
    ),
    needs=Caps.READ,
    see_also=("dl", "!list", "!lookaside"),
)
def slist(session: Session, args: Arguments, name: str) -> SingleList:
    """Follows HeaderX64.NextEntry; depth and sequence are shown as they are."""
    address = args.expression()
    type_name = args.word()
    offset = args.optional_expression(0) or 0
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    tree = TypeTree(session.memory, Style())
    record = None
    if type_name is not None:
        found = session.symbols.type(type_name)
        if not isinstance(found, Record):
            raise ArgumentError(f"{type_name} is not a structure")
        record = found
    header = nt.view("_SLIST_HEADER", address)
    words = "HeaderX64." if header.has("HeaderX64.NextEntry") else ""
    shown = ("Alignment", f"{words}Depth", f"{words}Sequence", f"{words}NextEntry")
    rows = [FieldLine(0, header.at(f) - address, f, f"{header[f]:x}") for f in shown]
    entry, entries, problem = header[f"{words}NextEntry"] << 4, [], ""
    seen: set[int] = set()
    while entry and not problem:
        session.check_interrupt()
        seen.add(entry)
        node = entry - offset
        fields = tuple(tree.fields(record, node)) if record is not None else ()
        entries.append((node, "" if record is not None else _words(session, node), fields))
        try:
            entry = nt.read_integer(entry, POINTER)
        except MemoryFault as error:
            problem = str(error)
        if entry in seen and not problem:
            problem = f"the list comes back to {entry:016x} and has no end"
    return SingleList(tuple(rows), tuple(entries), problem)


@dataclass(frozen=True, slots=True)
class LinkedEntries:
    """Entries of a list: address and the first ULONGs."""

    entries: tuple[tuple[int, str], ...]

    def lines(self) -> Iterator[str]:
        yield from (f"{address:016x}  {words}" for address, words in self.entries)


@command(
    "!dflink",
    "!dblink",
    summary="A doubly linked list forwards (or backwards), four ULONGs of each entry.",
    group="lists",
    params=(
        Param("address", "expression", "a LIST_ENTRY"),
        Param("count", "expression", "entries at most, default 32", optional=True),
        Param("bias", "expression", "bits to ignore in each pointer", optional=True),
    ),
    needs=Caps.READ,
    see_also=("dl", "!validatelist"),
)
def follow(session: Session, args: Arguments, name: str) -> LinkedEntries:
    """Ends at the first entry again, or where a pointer is NULL or unreadable."""
    start = args.expression()
    count = args.optional_expression(DEFAULT_ENTRIES) or DEFAULT_ENTRIES
    bias = args.optional_expression(0) or 0
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    field = "Blink" if name == "!dblink" else "Flink"

    def entries() -> Iterator[tuple[int, str]]:
        entry = start
        for _ in range(count):
            yield entry, _words(session, entry)
            entry = nt.view("_LIST_ENTRY", entry)[field] & ~bias
            if entry in (start, 0):
                return

    return in_pieces(session, entries(), LinkedEntries)


@dataclass(frozen=True, slots=True)
class ListCheck:
    """A list whose links are in order."""

    head: int
    entries: int

    def lines(self) -> Iterator[str]:
        yield f"Found list end after {self.entries} entries"


@command(
    "!validatelist",
    summary="Check the links of a doubly linked list.",
    group="lists",
    params=(Param("address", "expression", "the list's head"),),
    needs=Caps.READ,
    see_also=("!dflink", "dl"),
)
def validate(session: Session, args: Arguments, name: str) -> ListCheck:
    """Every Blink must point back to the entry whose Flink led there."""
    head = args.expression()
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    entry = head
    for count in range(LIST_LIMIT):
        session.check_interrupt()
        following = nt.view("_LIST_ENTRY", entry).Flink
        try:
            back = nt.view("_LIST_ENTRY", following).Blink
        except MemoryFault:
            raise ArgumentError(
                f"Flink at address {entry:016x} points to unreadable memory {following:016x}"
            ) from None
        if back != entry:
            raise ArgumentError(
                f"Blink at address {following:016x} is {back:016x} and does not point back to"
                f" {entry:016x}"
            )
        if following == head:
            return ListCheck(head, count)
        entry = following
    raise ArgumentError(f"the list does not end within {LIST_LIMIT} entries")


@dataclass(frozen=True, slots=True)
class TreeNodes:
    """Nodes of a table, each with what its data hold as a type."""

    nodes: tuple[tuple[trees.Node, tuple[FieldLine, ...]], ...]

    def lines(self) -> Iterator[str]:
        for node, fields in self.nodes:
            yield f"node: {node.address:016x}"
            yield f"\tParent:     {node.parent:016x}"
            yield f"\tLeftChild:  {node.left:016x}"
            yield f"\tRightChild: {node.right:016x}"
            yield f"\tUserData:   {node.data:016x}"
            yield from map(str, fields)


@command(
    "!gentable",
    "!rtlavl",
    summary="The nodes of an RTL_GENERIC_TABLE or RTL_AVL_TABLE.",
    group="lists",
    params=(
        Param("table", "expression", "its address"),
        Param("flag", "text", "!gentable: 1 for an AVL table; !rtlavl: a type", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!list", "dt"),
)
def gentable(session: Session, args: Arguments, name: str) -> TreeNodes:
    """Walks the tree in order."""
    address = args.expression()
    nt = Nt(session.symbols, session.memory)
    record = None
    avl = name == "!rtlavl"
    if avl and not args.done:
        found = session.symbols.type(args.word() or "")
        record = found if isinstance(found, Record) else None
    elif not avl:
        avl = args.optional_expression(0) == 1
    args.at_end()
    tree = TypeTree(session.memory, Style())
    nodes = trees.avl_nodes(nt, address) if avl else trees.splay_nodes(nt, address)
    rows = ((n, tuple(tree.fields(record, n.data)) if record is not None else ()) for n in nodes)
    return in_pieces(session, rows, TreeNodes)


@dataclass(frozen=True, slots=True)
class BitCount:
    """How many of the bits at an address are 1."""

    address: int
    bits: int
    ones: int

    def lines(self) -> Iterator[str]:
        ones, bits = self.ones, self.bits
        yield f"{ones} (0x{ones:x}) of {bits} (0x{bits:x}) bits are set at {self.address:016x}"


@command(
    "!bitcount",
    summary="How many bits of a memory range are 1.",
    group="lists",
    params=(
        Param("address", "expression", "start of the range"),
        Param("bits", "expression", "its size in bits"),
    ),
    needs=Caps.READ,
    see_also=("db",),
)
def bitcount(session: Session, args: Arguments, name: str) -> BitCount:
    """Counts within whole bytes, and the low bits of the last one."""
    address = args.expression()
    bits = args.expression()
    args.at_end()
    total, left, at = 0, bits, address
    while left > 0:
        session.check_interrupt()
        size = min(COUNT_STEP, -(-left // 8))
        value = int.from_bytes(session.memory.read(at, size), "little")
        if left < 8 * size:
            value &= (1 << left) - 1
        total += value.bit_count()
        at += size
        left -= 8 * size
    return BitCount(address, bits, total)
