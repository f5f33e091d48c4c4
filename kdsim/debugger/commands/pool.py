"""Pool: `!pool`, `!poolused`, `!poolval`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.inspect import heaps, pool, poolcheck, pooltags
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

VERBOSE, BY_NONPAGED, BY_PAGED, SESSION_POOL = 1, 2, 4, 8
CONTENTS, WANTED_ONLY, NO_DESCRIPTION = 0x1, 0x2, 0x8000_0000
CONTENT_SIZE = 0x20
"""Bytes behind each block's header that `!pool` shows with flag 1."""
ALL_HEAPS = (1 << 64) - 1
"""-1, which asks the user-mode form of `!pool` for every heap."""
REGIONS = {
    heaps.NONPAGED: "Nonpaged pool",
    heaps.NONPAGED_NX: "Nonpaged pool",
    heaps.PAGED: "Paged pool",
}


def meaning(tag: str) -> str:
    """What pooltag.txt says about a tag."""
    known = pooltags.describe(tag)
    if known is None:
        return f"UNKNOWN pooltag '{tag}', please update pooltag.txt"
    binary = f" , Binary: {known.binary}" if known.binary else ""
    return f"{known.text}{binary}"


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Pool by tag, in the order asked for."""

    uses: tuple[pool.TagUse, ...]
    flags: int

    def lines(self) -> Iterator[str]:
        order = " Tag"
        if self.flags & BY_NONPAGED:
            order = "NonPaged Pool Consumed"
        elif self.flags & BY_PAGED:
            order = "Paged Pool Consumed"
        yield f"   Sorting by {order}"
        yield ""
        yield f"  {'Session ' if self.flags & SESSION_POOL else ''}Pool Used:"
        row = _verbose_row if self.flags & VERBOSE else _short_row
        yield from _verbose_header() if self.flags & VERBOSE else _short_header()
        for use in self.uses:
            yield f" {use.text} {row(use)}\t{meaning(use.text)}"
        total = pool.TagUse(
            0, *(sum(column) for column in zip(*map(_numbers, self.uses), strict=True))
        )
        yield f" TOTAL{row(total)}"


def _numbers(use: pool.TagUse) -> tuple[int, ...]:
    return (
        use.nonpaged_allocs,
        use.nonpaged_frees,
        use.nonpaged_bytes,
        use.paged_allocs,
        use.paged_frees,
        use.paged_bytes,
    )


def _short_header() -> tuple[str, ...]:
    return (
        "            NonPaged            Paged",
        " Tag    Allocs     Used    Allocs     Used",
    )


def _short_row(use: pool.TagUse) -> str:
    return f"{use.nonpaged_count:8} {use.nonpaged_bytes:8} {use.paged_count:9} {use.paged_bytes:8}"


def _verbose_header() -> tuple[str, ...]:
    columns = f"{'Allocs':>8} {'Frees':>8} {'Diff':>8} {'Used':>9}"
    return (f"{'NonPaged':>26}{'Paged':>36}", f" Tag  {columns} {columns}")


def _verbose_row(use: pool.TagUse) -> str:
    return (
        f"{use.nonpaged_allocs:8} {use.nonpaged_frees:8} {use.nonpaged_count:8}"
        f" {use.nonpaged_bytes:9} {use.paged_allocs:8} {use.paged_frees:8}"
        f" {use.paged_count:8} {use.paged_bytes:9}"
    )


@command(
    "!poolused",
    summary="Pool use by tag.",
    group="pool",
    params=(
        Param(
            "flags",
            "flags",
            "what to show",
            optional=True,
            bits=(
                (VERBOSE, "frees and differences too"),
                (BY_NONPAGED, "sort by nonpaged use"),
                (BY_PAGED, "sort by paged use"),
                (SESSION_POOL, "session pool"),
            ),
        ),
        Param("tag", "text", "only this tag; * and ? match", optional=True),
    ),
    needs=Caps.READ,
    see_also=("!pool", "!poolfind"),
)
def poolused(session: Session, args: Arguments, name: str) -> PoolUse:
    """Reads: nt!ExPoolTagTables, nt!PoolTrackTableExpansion, nt!ExpSessionPoolTrackTable."""
    flags = args.optional_expression() or 0
    pattern = args.raw().strip('"')
    nt = Nt(session.symbols, session.memory)
    if flags & BY_NONPAGED and flags & BY_PAGED:
        raise ArgumentError("!poolused sorts by nonpaged (2) or by paged (4), not by both")
    if flags & SESSION_POOL and not pool.has_session_pool(nt):
        raise ArgumentError("there is no session pool on this machine")
    if pattern.strip() and "*" not in pattern and len(pattern.ljust(4)) != 4:
        raise ArgumentError(f"'{pattern}' is no tag: a tag has four characters")
    uses = [u for u in pool.usage_by_tag(nt, session=bool(flags & SESSION_POOL)) if u.tag]
    if pattern.strip():
        uses = [u for u in uses if pool.tag_matches(u.tag, pattern)]
    if not flags & VERBOSE:
        uses = [u for u in uses if u.nonpaged_count or u.paged_count]
    if flags & BY_NONPAGED:
        uses.sort(key=lambda u: -u.nonpaged_bytes)
    elif flags & BY_PAGED:
        uses.sort(key=lambda u: -u.paged_bytes)
    return PoolUse(tuple(uses), flags)


def block_line(block: heaps.PoolBlock, *, wanted: bool = False) -> str:
    """One block of a pool page."""
    mark = "*" if wanted else " "
    if block.big:
        return (
            f"{mark}{block.address:016x} : large page allocation, tag is"
            f" {pool.tag_text(block.tag)}, size is 0x{block.size:x} bytes"
        )
    state = "(Allocated)" if block.allocated else "(Free)     "
    tag = f"{mark}{pool.tag_text(block.tag)}" if block.allocated else ""
    protected = " (Protected)" if block.tag & pool.PROTECTED else ""
    size = f"size: {block.size:4x} previous size: {block.previous:4x}"
    return f"{mark}{block.address:016x} {size}  {state} {tag}{protected}".rstrip()


@dataclass(frozen=True, slots=True)
class PoolPageReport:
    """The blocks of one pool page; `page` is None for an address that is not pool."""

    address: int
    page: pool.PoolPage | None
    flags: int
    contents: dict[int, tuple[int, bytes]]

    def lines(self) -> Iterator[str]:
        described = not self.flags & NO_DESCRIPTION
        if self.page is None:
            yield f"Pool page {self.address:016x} region is Unknown"
            yield f"{self.address & -heaps.PAGE:016x} is not valid pool."
            return
        if described:
            region = REGIONS.get(self.page.heap.index, "Special pool")
            yield f"Pool page {self.address:016x} region is {region}"
        for block in self.page.blocks:
            wanted = block == self.page.wanted
            if self.flags & WANTED_ONLY and not wanted:
                continue
            yield block_line(block, wanted=wanted)
            if block.address in self.contents:
                yield from _content_lines(*self.contents[block.address])
            if wanted and block.allocated and described:
                tag = pool.tag_text(block.tag)
                yield f"\t\tPooltag {tag} : {meaning(tag)}"
        if self.page.damaged:
            yield f" {self.page.damaged:016x} is a damaged heap chunk header; see !poolval"


def _content_lines(start: int, data: bytes) -> Iterator[str]:
    """Two lines of four ULONGs; the second stands further in."""
    for offset in range(0, len(data), 16):
        words = (data[at : at + 4] for at in range(offset, min(offset + 16, len(data)), 4))
        values = " ".join(f"{int.from_bytes(word, 'little'):08x}" for word in words)
        yield f"{'    ' if offset else ' '}{start + offset:016x}  {values}"


@command(
    "!pool",
    summary="The pool page around an address, block by block.",
    group="pool",
    params=(
        Param("address", "expression", "any address in the page"),
        Param(
            "flags",
            "flags",
            "what to show",
            optional=True,
            bits=(
                (CONTENTS, "the first bytes of each block"),
                (WANTED_ONLY, "only the block at the address"),
                (NO_DESCRIPTION, "no descriptions of tags"),
            ),
        ),
    ),
    needs=Caps.READ,
    see_also=("!poolused", "!poolfind", "!poolval"),
)
def pool_page(session: Session, args: Arguments, name: str) -> PoolPageReport:
    """Reads: nt!ExPoolState, nt!PoolBigPageTable, the heap's VS subsegments."""
    address = args.optional_expression(0) or 0
    flags = args.optional_expression() or 0
    args.at_end()
    if address in (0, ALL_HEAPS):
        raise ArgumentError("!pool needs an address in pool; !poolused shows the pool as a whole")
    nt = Nt(session.symbols, session.memory)
    page = pool.page_of(nt, address)
    contents: dict[int, tuple[int, bytes]] = {}
    if page is not None and flags & CONTENTS:
        header = nt.record("_POOL_HEADER").size
        for block in page.blocks:
            start = block.address + (0 if block.big else header)
            size = min(block.end - start, CONTENT_SIZE)
            contents[block.address] = (start, session.memory.read_some(start, size))
    return PoolPageReport(address, page, flags, contents)


@dataclass(frozen=True, slots=True)
class PoolValidation:
    """What is wrong with a pool page, and its headers."""

    page: int
    check: poolcheck.PageCheck | None
    level: int
    headers: tuple[tuple[str, ...], ...]

    def lines(self) -> Iterator[str]:
        check = self.check
        if check is None:
            yield f"Pool page {self.page:016x} region is Unknown"
            yield f"{self.page:016x} is not valid pool."
            return
        region = REGIONS.get(check.heap.index, "Special pool")
        yield f"Pool page {self.page:016x} region is {region}"
        yield ""
        yield f"Validating Pool headers for pool page: {self.page:016x}"
        yield ""
        state = "__inVALID" if check.regions else "VALID"
        yield f"Pool page [ {self.page:016x} ] is {state}."
        if check.regions:
            yield ""
            yield "Analyzing linked list..."
            for region_ in check.regions:
                size = region_.end - region_.start
                span = f"[ {region_.start:016x} --> {region_.end:016x} (size = 0x{size:x} bytes)]"
                yield f"{span}: {region_.problem}"
        if self.level:
            yield ""
            yield "Pool headers:"
            for header in self.headers:
                yield from header


@command(
    "!poolval",
    summary="Check the headers of a pool page.",
    group="pool",
    params=(
        Param("address", "expression", "any address in the page"),
        Param(
            "level",
            "word",
            "what to show besides the verdict",
            optional=True,
            words=(("1", "lists"), ("2", "basic headers"), ("3", "full headers")),
        ),
    ),
    needs=Caps.READ,
    see_also=("!pool",),
)
def validate_page(session: Session, args: Arguments, name: str) -> PoolValidation:
    """Follows the chunk headers and compares each block's POOL_HEADER with its chunk."""
    address = args.expression()
    level = args.optional_expression() or 0
    args.at_end()
    if level not in range(4):
        raise ArgumentError("the display level is 0, 1, 2 or 3")
    nt = Nt(session.symbols, session.memory)
    check = poolcheck.check_page(nt, address)
    headers: tuple[tuple[str, ...], ...] = ()
    if check is not None and level:
        headers = tuple(_header_lines(nt, block, level) for block in check.blocks)
    return PoolValidation(address & -heaps.PAGE, check, level, headers)


def _header_lines(nt: Nt, block: heaps.PoolBlock, level: int) -> tuple[str, ...]:
    """A block; with level 2 its header's main fields, with level 3 all of them."""
    lines = [block_line(block)]
    if block.big or level == 1:
        return tuple(lines)
    header = nt.view("_POOL_HEADER", block.address)
    names: tuple[str, ...] = ("BlockSize", "PoolType", "PoolTag")
    if level == 3:
        names = ("PreviousSize", "PoolIndex", *names, "ProcessBilled")
    fields = " ".join(f"{name}: 0x{header[name]:x}" for name in names)
    lines.append(f"    {fields}")
    return tuple(lines)
