"""`dv`: local variables and parameters of the current frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.language.typed_text import type_name
from kdsim.debugger.text import address as tick
from kdsim.debugger.text import signed
from kdsim.debugger.variables import Variable, frame_variables
from kdsim.errors import SymbolError
from kdsim.symbols.types import Array, BaseType, Enum, Pointer, Record

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.types import Type


NAME_WIDTH = 15
"""Names are right-aligned to this column."""


def value_text(kind: Type, value: int) -> str:
    """A value as dv and kp write it."""
    if isinstance(kind, Pointer):
        return f"0x{tick(value)}"
    if isinstance(kind, Enum):
        name = next((n for n, number in kind.values.items() if number == value), "")
        return f"{name} (0n{value})" if name else f"0n{value}"
    if isinstance(kind, BaseType):
        if kind.kind == "bool":
            return "true" if value else "false"
        if kind.kind == "int":
            return f"0n{signed(value, 8 * kind.size)}"
        if kind.kind in ("char", "wchar"):
            shown = chr(value) if 0x20 <= value < 0x7F else ""
            return f"0n{signed(value, 8 * kind.size)} '{shown}'"
    return f"0x{value:x}" if value > 9 else str(value)


def parameter_text(variable: Variable) -> str:
    """`unsigned long Tag = 0x20636241`."""
    return f"{type_name(variable.type)} {variable.name} = {variable_value(variable)}"


def variable_value(variable: Variable) -> str:
    if variable.value is None:
        return variable.problem
    kind = variable.type
    if isinstance(kind, Record | Array):
        return type_name(kind)
    return value_text(kind, variable.value)


@dataclass(frozen=True, slots=True)
class LocalRow:
    name: str
    value: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Locals:
    """Plain names are right-aligned; with a place or a type in front they follow it."""

    rows: tuple[LocalRow, ...]

    def lines(self) -> Iterator[str]:
        for row in self.rows:
            name = f"{row.prefix}{row.name}" if row.prefix else f"{row.name:>{NAME_WIDTH}}"
            yield f"{name} = {row.value}"


@command(
    "dv",
    summary="Show local variables: /t their types, /i what they are, /v or /V where they lie.",
    group="stack",
    params=(Param("pattern", "pattern", "names to show", optional=True),),
    needs=Caps.REGISTERS,
    see_also=(".frame", "k", "dt", "x"),
)
def display_variables(session: Session, args: Arguments, name: str) -> Locals:
    switches = args.switches("f:", "i", "r", "t", "v", "V", "a", "A", "n", "N", "z", "Z")
    pattern = (args.pattern() or "*").lower()
    args.at_end()
    frames = session.stack(count=session.scope.frame + 1)
    found = [
        variable
        for variable in (frame_variables(session, frames[-1]) if frames else ())
        if fnmatchcase(variable.name.lower(), pattern)
    ]
    if not found:
        raise SymbolError(
            "Unable to enumerate locals, no private symbols for this frame"
            if pattern == "*"
            else f"No local variable matches '{pattern}'"
        )
    order = {"a": False, "A": True, "n": False, "N": True}
    for letter, reverse in order.items():
        if letter in switches:
            by_name = letter in "nN"
            found.sort(
                key=lambda v: v.name.lower() if by_name else v.address or 0,
                reverse=reverse,
            )
    return Locals(tuple(_local_row(variable, switches) for variable in found))


def _local_row(variable: Variable, switches: dict[str, str]) -> LocalRow:
    prefix = ""
    if "i" in switches:
        prefix += "prv param  " if variable.is_parameter else "prv local  "
    if "v" in switches or "V" in switches:
        prefix += f"{_place(variable, relative='V' in switches):17} "
    if "t" in switches:
        prefix += f"{type_name(variable.type)} "
    return LocalRow(variable.name, variable_value(variable), prefix)


def _place(variable: Variable, *, relative: bool) -> str:
    if variable.address is None:
        return f"@{variable.register}" if variable.register else "<unavailable>"
    if relative and variable.register:
        sign = "-" if variable.offset < 0 else "+"
        return f"@{variable.register}{sign}0x{abs(variable.offset):04x}"
    return tick(variable.address)
