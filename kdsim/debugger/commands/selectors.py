"""`dg`: segment descriptors of the global descriptor table.

The format is the architecture's (AMD64 manual, volume 2, section 4.8).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.text import address as tick
from kdsim.errors import ArgumentError, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

MOST = 256
SELECTOR_MASK = 0xFFF8
HEADER = (
    "                                                    P Si Gr Pr Lo",
    "Sel        Base              Limit          Type    l ze an es ng Flags",
    "---- ----------------- ----------------- ---------- - -- -- -- -- --------",
)
SYSTEM, CODE = 1 << 4, 1 << 3
"""In the access byte: clear for a system descriptor; code rather than data."""
PRESENT = 1 << 7
LONG, BIG, GRANULAR = 1 << 9, 1 << 10, 1 << 11
"""In the flags: the access byte and, from bit 8, the four bits above the limit."""

_SYSTEM_TYPES = {0x2: "LDT", 0x9: "TSS32 Avl", 0xB: "TSS32 Busy", 0xC: "Call Gate32"}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One descriptor, taken apart."""

    selector: int
    base: int
    limit: int
    type: str
    privilege: int
    flags: int

    def __str__(self) -> str:
        flags = self.flags
        return (
            f"{self.selector:04X} {tick(self.base)} {tick(self.limit)} {self.type:10} "
            f"{self.privilege} {'Bg' if flags & BIG else 'Nb'} "
            f"{'Pg' if flags & GRANULAR else 'By'} {'P ' if flags & PRESENT else 'NP'} "
            f"{'Lo' if flags & LONG else 'Nl'} {flags:08x}"
        )


@dataclass(frozen=True, slots=True)
class Descriptors:
    rows: tuple[Descriptor, ...]

    def lines(self) -> Iterator[str]:
        yield from HEADER
        yield from map(str, self.rows)


def decode(selector: int, data: bytes) -> Descriptor:
    """A descriptor of 16 bytes, of which code and data use the first 8."""
    low = int.from_bytes(data[:8], "little")
    flags = low >> 40 & 0xFF | low >> 44 & 0xF00
    base = low >> 16 & 0xFFFFFF | low >> 32 & 0xFF000000
    limit = low & 0xFFFF | low >> 32 & 0xF0000
    if flags & GRANULAR:
        limit = limit << 12 | 0xFFF
    if not flags & SYSTEM:
        base |= int.from_bytes(data[8:12], "little") << 32 if flags & 0xF else 0
    return Descriptor(selector, base, limit, _type(flags), flags >> 5 & 3, flags)


def _type(flags: int) -> str:
    if not flags & SYSTEM:
        return _SYSTEM_TYPES.get(flags & 0xF, "<Reserved>")
    accessed = " Ac" if flags & 1 else ""
    if flags & CODE:
        return f"Code {'RE' if flags & 2 else 'EO'}{accessed}"
    return f"Data {'RW' if flags & 2 else 'RO'}{accessed}"


@command(
    "dg",
    summary="Display the descriptors of selectors.",
    group="memory",
    params=(
        Param("first", "expression", "selector, for instance 10"),
        Param("last", "expression", "the last one", optional=True),
    ),
    needs=Caps.READ | Caps.REGISTERS,
    see_also=("r", "!pcr"),
)
def display_selectors(session: Session, args: Arguments, name: str) -> Descriptors:
    first = args.expression() & SELECTOR_MASK
    last = args.optional_expression(first)
    args.at_end()
    assert last is not None
    selectors = range(first, (last & SELECTOR_MASK) + 1, 8)
    if not 0 < len(selectors) <= MOST:
        raise ArgumentError(f"Range error in '{args.text.strip()}': at most {MOST} selectors")
    session.cursor.display = name
    special = session.live_registers.special
    base, limit = special.get("gdtr"), special.get("gdtl")
    if first > limit:
        raise UserError(f"Selector {first:04x} is beyond the limit of the GDT, {limit:04x}")
    # The first bytes behind the table count as zero: a system descriptor would need them.
    table = session.memory.read(base, limit + 1) + bytes(16)
    return Descriptors(
        tuple(decode(s, table[s : s + 16]) for s in selectors if s <= limit),
    )
