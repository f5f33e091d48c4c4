"""`!idt`: the interrupt handlers of a processor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect import interrupts, processes
from kdsim.debugger.inspect.nt import Nt

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

UNEXPECTED = ("KiUnexpectedInterrupt", "KiIsrThunk")
"""Handlers of vectors nobody has connected to."""
VECTORS = 0x100


@dataclass(frozen=True, slots=True)
class IdtReport:
    """The handlers of one table, by vector."""

    table: int
    gates: tuple[interrupts.Gate, ...]
    symbols: dict[int, str]

    def lines(self) -> Iterator[str]:
        yield ""
        yield f"Dumping IDT: {self.table:016x}"
        yield ""
        for gate in self.gates:
            yield from self._gate(gate)
        yield ""

    def _gate(self, gate: interrupts.Gate) -> Iterator[str]:
        if not gate.chain:
            stack = f"\tStack = 0x{gate.stack:016X}" if gate.stack else ""
            yield f"{gate.vector:02x}:\t{gate.handler:016x} {self.symbols[gate.handler]}{stack}"
            return
        for position, entry in enumerate(gate.chain):
            place = f"{gate.vector:02x}:\t{gate.handler:016x}" if not position else f"\t{'':16}"
            yield f"{place} {self.symbols[entry.routine]} (KINTERRUPT {entry.address:016x})"


@command(
    "!idt",
    summary="The interrupt descriptor table.",
    group="processors",
    params=(Param("vector", "expression", "one vector, or the address of a table", optional=True),),
    options=(Option("-a", "vectors that nothing is connected to, too"),),
    needs=Caps.READ,
    see_also=("!pcr", "!irql"),
)
def show_idt(session: Session, args: Arguments, name: str) -> IdtReport:
    """Reads KPCR.IdtBase and KPRCB.InterruptObject of the current processor."""
    given = args.switches("a")
    wanted = args.optional_expression()
    args.at_end()
    nt = Nt(session.symbols, session.memory)
    prcb = processes.prcb(nt, session.processor)
    table = interrupts.table_of(nt, prcb)
    vectors: range | tuple[int, ...] = range(VECTORS)
    if wanted is not None and wanted < VECTORS:
        vectors = (wanted,)
    elif wanted is not None:
        table = wanted
    gates = [interrupts.gate(nt, prcb, table, vector) for vector in vectors]
    present = [gate for gate in gates if gate is not None]
    symbols: dict[int, str] = {}
    for gate in present:
        symbols[gate.handler] = session.symbols.format(gate.handler)
        for entry in gate.chain:
            symbols[entry.routine] = session.symbols.format(entry.routine)
    if "a" not in given and len(vectors) > 1:
        present = [g for g in present if g.chain or not _unexpected(symbols[g.handler])]
    return IdtReport(table, tuple(present), symbols)


def _unexpected(symbol: str) -> bool:
    return symbol.partition("!")[2].startswith(UNEXPECTED)
