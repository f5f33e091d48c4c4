"""`.holdmem`: memory kept by the debugger, to compare with later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.edit import Difference
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.text import address as tick

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments, Range
    from kdsim.debugger.session import Session

RANGE = Param("range", "range", "memory", optional=True)


@dataclass(frozen=True, slots=True)
class Held:
    """A range that is kept, and where the memory it was compared with differs."""

    address: int
    size: int
    compared: bool = False
    differences: tuple[Difference, ...] = ()
    same_size: bool = True

    def lines(self) -> Iterator[str]:
        place = f"{tick(self.address)} - {tick(self.address + self.size - 1)} ({self.size:x} bytes)"
        if not self.compared:
            yield f"  {place}"
        elif not self.same_size:
            yield f"  {place}: of another size"
        elif not self.differences:
            yield f"  {place}: the same"
        else:
            yield f"  {place}: {len(self.differences):x} bytes differ"
            yield from map(str, self.differences)


@dataclass(frozen=True, slots=True)
class HeldRanges:
    ranges: tuple[Held, ...]

    def lines(self) -> Iterator[str]:
        for held in self.ranges:
            yield from held.lines()


@command(
    ".holdmem",
    summary="Keep pieces of memory, to compare them later or elsewhere.",
    group="memory",
    params=(RANGE,),
    options=(
        Option("-a", "keep the range"),
        Option("-c", "compare the range with all that is kept, byte by byte"),
        Option("-o", "list what is kept"),
        Option("-d", "forget what the range touches"),
        Option("-D", "forget everything"),
    ),
    needs=Caps.READ,
    see_also=("c", ".writemem"),
    examples=(".holdmem -a nt!PoolHitTag L4", ".holdmem -c nt!PoolHitTag L4"),
)
def hold_memory(session: Session, args: Arguments, name: str) -> HeldRanges | None:
    flag = args.word() or ""
    if flag[:1] not in ("-", "/") or flag[1:] not in ("a", "d", "D", "o", "c"):
        raise args.error(column=args.start)
    held = session.cursor.held
    if flag[1:] in ("o", "D"):
        args.at_end()
        if flag[1:] == "D":
            held.clear()
            return None
        return HeldRanges(tuple(Held(va, len(data)) for va, data in held.items()))
    span = args.range(1, 1)
    args.at_end()
    if span.address is None:
        raise args.error()
    if flag[1:] == "a":
        held[span.address] = session.memory.read(span.address, span.size)
        return None
    if flag[1:] == "d":
        for va in [va for va, data in held.items() if _touches(span, va, len(data))]:
            del held[va]
        return None
    return HeldRanges(tuple(_compared(session, span)))


def _touches(span: Range, va: int, size: int) -> bool:
    return span.address is not None and va < span.end and span.address < va + size


def _compared(session: Session, span: Range) -> Iterator[Held]:
    assert span.address is not None
    now = session.memory.read(span.address, span.size)
    for va, data in session.cursor.held.items():
        session.check_interrupt()
        same_size = len(data) == len(now)
        pairs = enumerate(zip(data, now, strict=True)) if same_size else ()
        differences = tuple(
            Difference(va + at, old, span.address + at, new)
            for at, (old, new) in pairs
            if old != new
        )
        yield Held(va, len(data), True, differences, same_size)
