"""Pool: `!pool`, `!poolused`, `!poolfind`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import pool, pooltags
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

VERBOSE, BY_NONPAGED, BY_PAGED, SESSION_POOL = 1, 2, 4, 8
CONTENTS, WANTED_ONLY = 1, 2
CONTENT_SIZE = 0x20
"""Bytes of each block that `!pool` shows with flag 1: the header and what follows it."""
REGIONS = {
    pool.NONPAGED: "Nonpaged pool",
    pool.NONPAGED_NX: "Nonpaged pool",
    pool.PAGED: "Paged pool",
}


def _meaning(tag: str) -> str:
    known = pooltags.describe(tag)
    if known is None:
        return f"UNKNOWN pooltag '{tag}', please update pooltag.txt"
    return f"{known.text} , Binary: {known.binary}"


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Pool by tag, in the order asked for."""

    uses: tuple[pool.TagUse, ...]
    flags: int

    def lines(self) -> Iterator[str]:
        order = "Tag"
        if self.flags & BY_NONPAGED:
            order = "NonPaged Pool Consumed"
        elif self.flags & BY_PAGED:
            order = "Paged Pool Consumed"
        yield f"   Sorting by {order}"
        yield ""
        row = _verbose_row if self.flags & VERBOSE else _short_row
        yield from _verbose_header() if self.flags & VERBOSE else _short_header()
        for use in self.uses:
            yield f" {use.text} {row(use)}  {_meaning(use.text)}"
        total = pool.TagUse(
            0, *(sum(column) for column in zip(*map(_numbers, self.uses), strict=True))
        )
        yield f"TOTAL {row(total)}"


def _numbers(use: pool.TagUse) -> tuple[int, ...]:
    return (
        use.nonpaged_allocs,
        use.nonpaged_frees,
        use.nonpaged_bytes,
        use.paged_allocs,
        use.paged_frees,
        use.paged_bytes,
    )


def _short_header() -> tuple[str, str, str]:
    return (
        f"{'NonPaged':>26}{'Paged':>24}",
        f" {'Tag':4} {'Allocs':>10} {'Used':>12} {'Allocs':>10} {'Used':>12}",
        "",
    )


def _short_row(use: pool.TagUse) -> str:
    return (
        f"{use.nonpaged_count:10} {use.nonpaged_bytes:12} {use.paged_count:10} {use.paged_bytes:12}"
    )


def _verbose_header() -> tuple[str, str, str]:
    columns = f"{'Allocs':>10} {'Frees':>10} {'Diff':>10} {'Used':>12}"
    return (f"{'NonPaged':>36}{'Paged':>44}", f" {'Tag':4} {columns} {columns}", "")


def _verbose_row(use: pool.TagUse) -> str:
    return (
        f"{use.nonpaged_allocs:10} {use.nonpaged_frees:10} {use.nonpaged_count:10}"
        f" {use.nonpaged_bytes:12} {use.paged_allocs:10} {use.paged_frees:10}"
        f" {use.paged_count:10} {use.paged_bytes:12}"
    )


@command(
    "!poolused",
    summary="Pool use by tag.",
    group="pool",
    params=(
        Param("flags", "flags", "1 verbose, 2 sort by nonpaged, 4 sort by paged", optional=True),
        Param("tag", "text", "only this tag; * and ? match", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!pool", "!poolfind"),
)
def poolused(session: Session, args: Arguments, name: str) -> PoolUse:
    """Reads: nt!ExPoolTagTables, nt!PoolTrackTableExpansion."""
    flags = args.optional_expression() or 0
    pattern = args.raw().lstrip() or "*"
    if flags & BY_NONPAGED and flags & BY_PAGED:
        raise ArgumentError("!poolused sorts by nonpaged (2) or by paged (4), not by both")
    if flags & SESSION_POOL:
        raise ArgumentError("there is no session pool on this machine")
    uses = [u for u in pool.usage_by_tag(Nt(session.symbols, session.memory)) if u.tag]
    uses = [u for u in uses if pool.tag_matches(u.tag, pattern)]
    if not flags & VERBOSE:
        uses = [u for u in uses if u.nonpaged_count or u.paged_count]
    if flags & BY_NONPAGED:
        uses.sort(key=lambda u: -u.nonpaged_bytes)
    elif flags & BY_PAGED:
        uses.sort(key=lambda u: -u.paged_bytes)
    return PoolUse(tuple(uses), flags)


def _block_line(block: pool.PoolBlock, *, wanted: bool = False) -> str:
    mark = "*" if wanted else " "
    state = "(Allocated)" if block.allocated else "(Free)     "
    tag = f"{mark}{pool.tag_text(block.tag)}" if block.allocated else ""
    size = f"size: {block.size:4x} previous size: {block.previous:4x}"
    return f"{mark}{block.address:016x} {size}  {state} {tag}".rstrip()


@dataclass(frozen=True, slots=True)
class PoolPageReport:
    """The blocks of one pool page."""

    address: int
    page: pool.PoolPage
    wanted_only: bool
    contents: dict[int, bytes]

    def lines(self) -> Iterator[str]:
        region = REGIONS.get(self.page.heap.index, self.page.heap.name)
        yield f"Pool page {self.address:016x} region is {region}"
        for block in self.page.blocks:
            wanted = block == self.page.wanted
            if self.wanted_only and not wanted:
                continue
            yield _big_line(block) if block.big else _block_line(block, wanted=wanted)
            if wanted and block.allocated:
                tag = pool.tag_text(block.tag)
                yield f"\t\tPooltag {tag} : {_meaning(tag)}"
            if block.address in self.contents:
                yield from _content_lines(block.address, self.contents[block.address])


def _content_lines(address: int, data: bytes) -> Iterator[str]:
    for offset in range(0, len(data), 16):
        words = (data[at : at + 4] for at in range(offset, offset + 16, 4))
        values = " ".join(f"{int.from_bytes(word, 'little'):08x}" for word in words)
        yield f"    {address + offset:016x}  {values}"


def _big_line(block: pool.PoolBlock) -> str:
    return (
        f"*{block.address:016x} : large page allocation, tag is {pool.tag_text(block.tag)},"
        f" size is 0x{block.size:x} bytes"
    )


@command(
    "!pool",
    summary="The pool page around an address, block by block.",
    group="pool",
    params=(
        Param("address", "expression", "any address in the page"),
        Param("flags", "flags", "1 contents, 2 only the block at the address", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!poolused", "!poolfind"),
)
def pool_page(session: Session, args: Arguments, name: str) -> PoolPageReport:
    """Reads: nt!ExPoolState, nt!PoolBigPageTable, the heap's VS subsegments."""
    address = args.expression()
    flags = args.optional_expression() or 0
    args.at_end()
    page = pool.page_of(Nt(session.symbols, session.memory), address)
    contents = {}
    if flags & CONTENTS:
        first = {block.address: min(block.size, CONTENT_SIZE) for block in page.blocks}
        contents = {place: session.memory.read(place, size) for place, size in first.items()}
    return PoolPageReport(address, page, bool(flags & WANTED_ONLY), contents)


@command(
    "!poolfind",
    summary="All blocks with a tag.",
    group="pool",
    params=(
        Param("tag", "text", "four characters (* and ? match), or 0x and the tag's value"),
        Param("pool", "flags", "0 nonpaged, 1 paged", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!poolused", "!pool"),
)
def poolfind(session: Session, args: Arguments, name: str) -> None:
    """Prints each hit as it is found. Reads: nt!PoolBigPageTable, nt!ExPoolState's heaps."""
    pattern, kind = _poolfind_arguments(args)
    if kind not in (0, 1):
        raise ArgumentError("pool type 0 is nonpaged, 1 is paged; there is no other pool here")
    nt = Nt(session.symbols, session.memory)
    wanted = (pool.PAGED,) if kind == 1 else (pool.NONPAGED, pool.NONPAGED_NX)
    word = "Paged" if kind == 1 else "NonPaged"
    out = session.out
    table = nt.pointer("PoolBigPageTable")
    end = table + nt.pointer("PoolBigPageTableSize") * nt.record("_POOL_TRACKER_BIG_PAGES").size
    out.line()
    out.line(f"Scanning large pool allocation table for Tag: {pattern} ({table:016x} : {end:016x})")
    out.line()
    for block in pool.big_blocks(nt):
        if block.heap in wanted and pool.tag_matches(block.tag, pattern):
            out.line(_big_line(block))
    for heap in pool.heaps(nt):
        if heap.index not in wanted:
            continue
        walker = pool.VsWalker(nt, heap)
        for start, size in walker.subsegments():
            span = f"({start:016x} : {start + size:016x})"
            out.line(f"Searching {word} pool {span} for Tag: {pattern}")
            for block in walker.blocks(start, size):
                if block.allocated and pool.tag_matches(block.tag, pattern):
                    out.line(_block_line(block))
    out.line()


def _poolfind_arguments(args: Arguments) -> tuple[str, int]:
    """Tag and pool type; a tag may hold blanks (`Abc `) and only lower-case 0x starts a number."""
    text = args.raw()
    if not text.strip():
        raise ArgumentError("!poolfind needs a tag of four characters, or 0x and its value")
    if text.startswith('"'):
        tag, _, kind = text[1:].partition('"')
    elif text.startswith("0x"):
        number, _, kind = text.partition(" ")
        tag = pool.tag_text(_hex(number))
    else:
        tag, kind = text[:4], text[4:]
        if not tag.endswith(" ") and kind[:1].strip():
            raise ArgumentError(f"'{text.split()[0]}' is no tag: a tag has four characters")
        if "*" in text:
            tag, _, kind = text.partition(" ")
    return tag, _hex(kind.strip() or "0")


def _hex(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise ArgumentError(f"'{text}' is not a number") from None
