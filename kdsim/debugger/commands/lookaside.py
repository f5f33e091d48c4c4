"""`!lookaside`: lists of free blocks in front of pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect import lookasides, pool
from kdsim.debugger.inspect.nt import Nt
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

SHOW, RESET, SET_DEPTH = 0, 1, 2
MAXIMUM_DEPTH = 0xFFFF
# POOL_TYPE: the base types, and the flags that may be set with them.
BASE_TYPES = {0x0: "NonPagedPool", 0x1: "PagedPool", 0x2: "NonPagedPoolMustSucceed"}
RAISE, NO_EXECUTE = 0x10, 0x200


@dataclass(frozen=True, slots=True)
class LookasideReport:
    """Lookaside lists."""

    lists: tuple[lookasides.Lookaside, ...]

    def lines(self) -> Iterator[str]:
        for found in self.lists:
            yield from _list_lines(found)
            yield ""


def _list_lines(found: lookasides.Lookaside) -> Iterator[str]:
    tag = f'0x{found.tag:08x} "{pool.tag_text(found.tag)}"'
    yield f'Lookaside "{found.name}" @ 0x{found.address:016x}  Tag(hex): {tag}'
    yield f"    Type           =       {found.type:04x}  {_type_text(found.type)}"
    most = found.depth * found.size
    yield f"    Current Depth  = {found.current:10}  Max Depth  = {found.depth:10}"
    yield f"    Size           = {found.size:10}  Max Alloc  = {most:10}"
    yield f"    AllocateMisses = {found.allocate_misses:10}  FreeMisses = {found.free_misses:10}"
    yield f"    TotalAllocates = {found.allocates:10}  TotalFrees = {found.frees:10}"
    allocate = _rate(found.allocates, found.allocate_misses)
    free = _rate(found.frees, found.free_misses)
    yield f"    Hit Rate       = {allocate:9}% Hit Rate   = {free:9}%"


def _type_text(kind: int) -> str:
    base = "NonPagedPoolNx" if kind & NO_EXECUTE else BASE_TYPES.get(kind & 0x3, "Pool")
    return f"{base} RaiseIfAllocationFailure" if kind & RAISE else base


def _rate(total: int, misses: int) -> int:
    return 100 * (total - misses) // total if total else 0


@command(
    "!lookaside",
    summary="Lookaside lists: depth, size, hit rates.",
    group="pool",
    params=(
        Param("address", "expression", "one list; none or 0: the system's own", optional=True),
        Param(
            "action",
            "word",
            "0 when left out",
            optional=True,
            words=(("0", "show"), ("1", "reset the counters"), ("2", "set the depth")),
        ),
        Param("depth", "expression", "the new depth", optional=True),
    ),
    options=(Option("-all", "the lists of drivers as well"),),
    needs=Caps.READ,
    see_also=("!poolused", "!slist"),
)
def lookaside(session: Session, args: Arguments, name: str) -> LookasideReport:
    """Reads GENERAL_LOOKASIDE structures."""
    nt = Nt(session.symbols, session.memory)
    everything = "all" in args.switches("all")
    address = args.optional_expression(0) or 0
    everything |= "all" in args.switches("all")
    option = args.optional_expression(SHOW)
    depth = args.optional_expression()
    args.at_end()
    if everything and address:
        raise ArgumentError("-all goes without an address")
    if not address:
        if option != SHOW:
            raise ArgumentError("only a list given by its address can be changed")
        walk = lookasides.all_lists(nt) if everything else lookasides.well_known(nt)
        found = []
        for one in walk:
            session.check_interrupt()
            found.append(one)
        if not found:
            raise ArgumentError("the kernel has no lists of its own; -all shows those of drivers")
        return LookasideReport(tuple(found))
    if option == RESET:
        lookasides.reset(nt, address)
    elif option == SET_DEPTH:
        if depth is None or not 0 <= depth <= MAXIMUM_DEPTH:
            raise ArgumentError("option 2 needs a depth of up to ffff")
        lookasides.set_depth(nt, address, depth)
    elif option != SHOW:
        raise ArgumentError("options are 0 show, 1 reset counters, 2 set depth")
    return LookasideReport((lookasides.lookaside_at(nt, address),))
