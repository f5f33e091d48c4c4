"""What the target's own debugger worker does for us when it runs: `.process /i`, `.pagein`.

The kernel looks at nt!ExpDebuggerWork about once a second. When it is 1, a worker thread attaches
to the process in nt!ExpDebuggerProcessAttach, touches the page at nt!ExpDebuggerPageIn, and breaks
in there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.paging import KERNEL_START
from kdsim.errors import SymbolError, Unsupported, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

WORK, PROCESS, PAGE = "nt!ExpDebuggerWork", "nt!ExpDebuggerProcessAttach", "nt!ExpDebuggerPageIn"
REQUESTED = 1

SWITCH_NOTE = (
    "You need to continue execution (press 'g' <enter>) for the context",
    "to be switched. When the debugger breaks in again, you will be in",
    "the new process context.",
)
PAGE_NOTE = (
    "You need to continue execution (press 'g' <enter>) for the pagein to be",
    "brought in.  When the debugger breaks in again, the page will be present.",
)


@dataclass(frozen=True, slots=True)
class WorkRequest:
    """What the target is to do as soon as it runs."""

    process: int
    page: int
    _note: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        return self._note


def ask_worker(
    session: Session, note: tuple[str, ...], process: int = 0, page: int = 0
) -> WorkRequest:
    """Leave a request for the time the target runs."""
    if Caps.RUN not in session.backend.caps:
        raise Unsupported(session.backend.refusals[Caps.RUN])
    try:
        work, attach, page_in = (session.resolve_nt(name) for name in (WORK, PROCESS, PAGE))
    except SymbolError:
        raise Unsupported(
            f"This kernel has no worker for the debugger ({WORK}): it cannot switch processes or "
            "page memory in on request; .process /p reads through the page tables"
        ) from None
    if session.memory.u32(work):
        raise UserError("The target has not done yet what it was asked before")
    session.memory.write(attach, process.to_bytes(8, "little"))
    session.memory.write(page_in, page.to_bytes(8, "little"))
    session.memory.write(work, REQUESTED.to_bytes(4, "little"))
    return WorkRequest(process, page, note)


@command(
    ".pagein",
    summary="Have the target bring a page into memory: it must run (g) and breaks in again.",
    group="memory manager",
    params=(Param("address", "expression", "in the page"),),
    options=(
        Option("/p", "in the memory of this process", "<EPROCESS>"),
        Option("/f", "an address of the kernel, too"),
    ),
    needs=Caps.RUN,
    see_also=(".process", "!pte"),
)
def page_in(session: Session, args: Arguments, name: str) -> WorkRequest:
    switches = args.switches("p:", "f")
    address = args.address()
    args.at_end()
    process = session.evaluate(switches["p"]) if "p" in switches else 0
    if address >= KERNEL_START and "f" not in switches:
        raise UserError("Kernel addresses are paged in with /f only")
    return ask_worker(session, PAGE_NOTE, process, address)
