"""Pseudo-registers that the session answers: `$ra`, `$thread`, `$exr_code` ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kdsim.debugger import times
from kdsim.debugger.backends.base import StopEvent
from kdsim.debugger.report import bugcheck_data
from kdsim.errors import KdsimError
from kdsim.symbols.pe import PeImage

if TYPE_CHECKING:
    from kdsim.debugger.session import Session

PAGE_SIZE = 0x1000
POINTER_SIZE = 8
EXCEPTION_PARAMETERS = 15
"""EXCEPTION_MAXIMUM_PARAMETERS of the Windows headers."""
BREAKPOINT_PREFIX = "$bp"


def pseudo_register(session: Session, name: str) -> int | None:
    """The value of `$name`; None when there is none of that name, or it has no value now.

    `$relip` (branch tracing), `$callret` (`.call`) and `$clrex` (managed code) never have one here.
    """
    known = _AUTOMATIC.get(name)
    try:
        if known is not None:
            return known(session)
        if name.startswith("$exr_"):
            return _exception(session, name.removeprefix("$exr_"))
        if name.startswith("$bug_"):
            return _bugcheck(session, name.removeprefix("$bug_"))
        if name.startswith(BREAKPOINT_PREFIX) and name[3:].isdigit():
            found = session.breakpoints.get(int(name[3:]))
            return (found.address or 0) if found else 0
    except KdsimError:
        return None
    return None


def _return_address(session: Session) -> int:
    frames = session.stack(count=session.scope.frame + 1)
    return frames[min(session.scope.frame, len(frames) - 1)].return_address


def _scope_ip(session: Session) -> int:
    frames = session.stack(count=session.scope.frame + 1)
    return frames[min(session.scope.frame, len(frames) - 1)].ip


def _thread_field(field: str) -> Callable[[Session], int]:
    def read(session: Session) -> int:
        thread = session.nt_view("_ETHREAD", session.current_thread())
        return int(getattr(thread.Cid, field))

    return read


def _teb(session: Session) -> int:
    return int(session.nt_view("_KTHREAD", session.current_thread()).Teb)


def _peb(session: Session) -> int:
    return int(session.nt_view("_EPROCESS", session.current_process()).Peb)


def _event_ip(session: Session) -> int | None:
    return session.stopped_by.pc if session.stopped_by else None


def _processor_block(session: Session) -> int:
    return session.memory.u64(session.resolve_nt("nt!KiProcessorBlock") + 8 * session.processor)


def _processor_region(session: Session) -> int:
    pcr = session.nt_view("_KPCR", 0)
    return _processor_block(session) - pcr.at("Prcb")


def _effective_address(index: int) -> Callable[[Session], int | None]:
    def read(session: Session) -> int | None:
        at = session.disassembler.effective_addresses(
            session.instruction_pointer, session.registers
        )
        return at[index] if index < len(at) else None

    return read


def _image_entry(session: Session) -> int:
    """Of the program the current process runs."""
    base = int(session.nt_view("_PEB", _peb(session)).ImageBaseAddress)
    return base + PeImage.from_memory(session.memory, base).entry_rva


def _debugger_time(session: Session) -> int:
    return times.from_unix(session.clock())


_AUTOMATIC: dict[str, Callable[[Session], int | None]] = {
    "$ip": lambda s: s.instruction_pointer,
    "$eventip": _event_ip,
    # None at the first event.
    "$previp": lambda s: s.previous_ip or None,
    "$scopeip": _scope_ip,
    "$ra": _return_address,
    "$retreg": lambda s: s.registers["rax"],
    "$retreg64": lambda s: s.registers["rax"],
    "$csp": lambda s: s.registers["rsp"],
    "$proc": lambda s: s.current_process(),
    "$thread": lambda s: s.current_thread(),
    "$peb": _peb,
    "$teb": _teb,
    "$tpid": _thread_field("UniqueProcess"),
    "$tid": _thread_field("UniqueThread"),
    "$frame": lambda s: s.scope.frame,
    "$dbgtime": _debugger_time,
    "$ptrsize": lambda _s: POINTER_SIZE,
    "$pagesize": lambda _s: PAGE_SIZE,
    "$pcr": _processor_region,
    "$pcrb": _processor_block,
    "$prcb": _processor_block,
    "$ea": _effective_address(0),
    "$ea2": _effective_address(1),
    "$exentry": _image_entry,
    # Microsoft's page names it without a word of what it holds; x64 passes the first argument here.
    "$argreg": lambda s: s.registers["rcx"],
    "$dpid": lambda _s: 0,
    "$dtid": lambda s: s.processor,
    "$dsid": lambda _s: 0,
}


_EXCEPTION_NAMES = ("$exr_chance", "$exr_code", "$exr_numparams", "$exr_param0", "$exr_param1")
_BUGCHECK_NAMES = ("$bug_code", *(f"$bug_param{n}" for n in range(1, 5)))


def pseudo_names() -> list[str]:
    """What completion offers; `$bp0` and its like are named after the breakpoints there are."""
    return [*_AUTOMATIC, *_EXCEPTION_NAMES, *_BUGCHECK_NAMES]


def _exception(session: Session, name: str) -> int | None:
    event = session.stopped_by
    if not isinstance(event, StopEvent):
        return None
    if name == "chance":
        return 1 if event.first_chance else 0
    if name == "code":
        return event.code
    if name == "numparams":
        return len(event.parameters)
    if name.startswith("param") and name[5:].isdigit():
        number = int(name[5:])
        if number >= EXCEPTION_PARAMETERS:
            return None
        return event.parameters[number] if number < len(event.parameters) else 0
    return None


def _bugcheck(session: Session, name: str) -> int | None:
    data = bugcheck_data(session)
    code, parameters = data or (0, (0, 0, 0, 0))
    if name == "code":
        return code
    number = name.removeprefix("param")
    return parameters[int(number) - 1] if number in ("1", "2", "3", "4") else None
