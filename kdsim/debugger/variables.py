"""Local variables of a frame, found through the PDB and the frame's registers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.registers import GENERAL
from kdsim.debugger.settings import TypeOption
from kdsim.debugger.stack import Frame
from kdsim.errors import KdsimError, MemoryFault, SymbolError
from kdsim.symbols.types import Array, Record

if TYPE_CHECKING:
    from kdsim.debugger.session import Session
    from kdsim.symbols.procedures import Local
    from kdsim.symbols.space import Located
    from kdsim.symbols.types import Type


@dataclass(frozen=True, slots=True)
class Variable:
    """A local or parameter in one frame.

    Attributes:
        address: where it lies; None in a register, or nowhere.
        register: that holds it, or that its address is relative to.
        value: None when it cannot be had: `problem` says why.
    """

    name: str
    type: Type
    is_parameter: bool
    address: int | None
    register: str
    offset: int
    value: int | None
    problem: str = ""


def frame_variables(session: Session, frame: Frame) -> Iterator[Variable]:
    """Variables visible where a frame stands; none without private symbols."""
    try:
        found = session.symbols.locals(frame.lookup_ip)
    except SymbolError:
        return
    for local in found:
        yield _variable(session, frame, local)


def scope_variables(session: Session) -> list[Variable]:
    """Variables of the frame the user looks at; none while there is no frame to look at."""
    if session.event is None or not session.halted:
        return []
    try:
        frames = session.stack(count=session.scope.frame + 1)
        return list(frame_variables(session, frames[-1])) if frames else []
    except KdsimError:
        return []


def find_variable(session: Session, frame: Frame, name: str) -> Variable | None:
    """The variable a name means; its case matters only where it tells two apart.

    Inner scopes come last, and hide what is outside of them.
    """
    alike = [v for v in frame_variables(session, frame) if v.name.lower() == name.lower()]
    exact = [v for v in alike if v.name == name]
    return next(reversed(exact or alike), None)


def typed_global(session: Session, name: str) -> tuple[Located, Type] | None:
    """The global or function that a name means, the largest of its name with `.typeopt +size`.

    Raises:
        SymbolError: `name` names a module that is not there.
    """
    found = session.symbols.lookup(name)
    if TypeOption.MATCH_SIZE in session.settings.type_options:
        found.sort(key=lambda place: -place.symbol.extent)
    typed = ((place, kind) for place in found if (kind := place.symbol.type) is not None)
    return next(typed, None)


def _variable(session: Session, frame: Frame, local: Local) -> Variable:
    def make(address: int | None = None, value: int | None = None, problem: str = "") -> Variable:
        return Variable(
            local.name,
            local.type,
            local.is_parameter,
            address,
            local.register,
            local.offset,
            value,
            problem,
        )

    if local.place == "unavailable":
        return make(problem="<value unavailable>")
    if local.place == "register":
        value = frame_register(frame, local.register)
        return make(problem="<value unavailable>") if value is None else make(value=value)
    if local.place == "static":
        module = session.symbols.module_at(frame.ip)
        address = local.offset + (module.base if module else 0)
    else:
        base = frame_register(frame, local.register)
        if base is None:
            return make(problem="<value unavailable>")
        address = base + local.offset & (1 << 64) - 1
    if isinstance(local.type, Record | Array):
        return make(address, address)
    try:
        return make(address, session.memory.integer(address, local.type.size))
    except MemoryFault:
        return make(address, problem="<Memory access error>")


def frame_register(frame: Frame, name: str) -> int | None:
    """A register as it was in a frame, parts of general registers included; None: unknown."""
    if name == "rip":
        return frame.registers.rip
    for stem in GENERAL:
        width = 64 if name == stem else _part_width(stem, name)
        if width:
            return None if stem in frame.unknown else frame.registers[stem] & (1 << width) - 1
    return None


def _part_width(stem: str, name: str) -> int:
    """Bits of `name` when it is a low part of the general register `stem`; else 0."""
    from kdsim.debugger.registers import SLOTS

    slot = SLOTS.get(name)
    if slot is None or slot.block_name != stem or slot.shift:
        return 0
    return slot.bits
