"""`dv`: local variables and parameters of the current frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.inspect.typevalues import TypeValues
from kdsim.debugger.language.typed_text import type_name
from kdsim.debugger.text import PLAIN, IntegerStyle, signed
from kdsim.debugger.text import address as tick
from kdsim.debugger.variables import Variable, scope_variables
from kdsim.errors import MemoryFault, SymbolError
from kdsim.symbols.types import Array, BaseType, BitField, Enum, Pointer, Record
from kdsim.symbols.wildcard import compile_wildcard

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.symbols.procedures import Local
    from kdsim.symbols.types import Type


NAME_WIDTH = 15
"""Names are right-aligned to this column."""

PLACE_WIDTH = 17
RELATIVE_WIDTH = 12
SORTING = (
    Option("/a", "sorted by address"),
    Option("/A", "sorted by address, highest first"),
    Option("/n", "sorted by name"),
    Option("/N", "sorted by name, last first"),
    Option("/z", "sorted by size"),
    Option("/Z", "sorted by size, largest first"),
)
"""What `dv` and `x` have in common."""

Row = TypeVar("Row")
Keys = dict[str, Callable[[Row], Any]]
"""Switch -> what it sorts by."""

UNREADABLE = "<Memory access error>"


def value_text(kind: Type, value: int, integers: IntegerStyle = PLAIN) -> str:
    """A value as dv and kp write it; dv and x as `.typeopt` says."""
    if isinstance(kind, Pointer):
        return f"0x{tick(value)}"
    if isinstance(kind, Enum):
        name = next((n for n, number in kind.values.items() if number == value), "")
        return f"{name} (0n{value})" if name else f"0n{value}"
    if isinstance(kind, BaseType):
        if kind.kind == "bool":
            return "true" if value else "false"
        is_number = kind.kind == "int" or (kind.kind == "uint" and kind.size > 1)
        if is_number and (text := integers.text(value, kind.size, kind.c_name)):
            return text
        shown = chr(value) if 0x20 <= value < 0x7F else ""
        if kind.kind == "uint" and kind.size == 1:
            return f"0x{value:02x} '{shown}'"
        if kind.kind in ("char", "wchar"):
            return f"0n{signed(value, 8 * kind.size)} '{shown}'"
        if kind.kind == "int":
            return f"0n{signed(value, 8 * kind.size)}"
    if value >> 32:
        return f"0x{tick(value)}"
    return f"0x{value:x}" if value > 9 else str(value)


def parameter_text(variable: Variable) -> str:
    """`unsigned long Tag = 0x20636241`."""
    return f"{type_name(variable.type)} {variable.name} = {variable_value(variable)}"


def variable_value(variable: Variable, session: Session | None = None) -> str:
    """Its value; with a session also what a string or a list entry holds."""
    if variable.value is None:
        return variable.problem
    kind = variable.type
    if session is not None and variable.address is not None:
        return declared_value(session, kind, variable.address)
    if isinstance(kind, Record | Array):
        return type_name(kind)
    return _pointed(session, kind, variable.value)


def declared_value(session: Session, kind: Type, va: int) -> str:
    """The value of a variable in memory, with the name of its type where that is a record's."""
    values = TypeValues(session.memory, integers=session.settings.integers)
    try:
        if isinstance(kind, Record):
            summary = values.summary(kind, va)
            if kind.name == "_GUID":
                return summary.upper()
            return f"{type_name(kind)} {summary}".rstrip()
        if isinstance(kind, Array):
            text = values.value(kind, va).partition("]")[2].strip()
            return f"{type_name(kind)} {text if text.startswith(chr(34)) else ''}".rstrip()
        if isinstance(kind, BitField):
            return values.value(kind, va)
        if not kind.size:
            return type_name(kind)
        return _pointed(session, kind, session.memory.integer(va, kind.size))
    except MemoryFault:
        return UNREADABLE


def _pointed(session: Session | None, kind: Type, value: int) -> str:
    """A value, and the string it points to."""
    if session is None:
        return value_text(kind, value)
    integers = session.settings.integers
    text = value_text(kind, value, integers)
    if not value or not isinstance(kind, Pointer) or not _is_text(kind.target, integers):
        return text
    quoted = TypeValues(session.memory, integers=integers).pointer(kind, value).partition("  ")[2]
    return f"{text} {quoted}"


def _is_text(kind: Type, integers: IntegerStyle) -> bool:
    """Whether a pointer to it shows a string."""
    if not isinstance(kind, BaseType):
        return False
    is_wide = integers.unicode and kind.kind == "uint" and kind.size == 2
    return is_wide or kind.kind in ("char", "wchar")


@dataclass(frozen=True, slots=True)
class LocalRow:
    """One variable; `value` is None where none is asked for."""

    name: str
    value: str | None
    prefix: str = ""
    type: str = ""

    def __str__(self) -> str:
        name = f"{self.type} {self.name}" if self.type else f"{self.name:>{NAME_WIDTH}}"
        text = f"{self.prefix}{name}"
        return text if self.value is None else f"{text} = {self.value}"


@dataclass(frozen=True, slots=True)
class Locals:
    """Plain names are right-aligned; with a type in front they follow it."""

    rows: tuple[LocalRow, ...]

    def lines(self) -> Iterator[str]:
        return map(str, self.rows)


@dataclass(frozen=True, slots=True)
class Names:
    """Symbols of a module, where the pattern names one."""

    names: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        return self.names


@command(
    "dv",
    summary="Show local variables.",
    group="stack",
    params=(Param("pattern", "pattern", "names to show", optional=True),),
    options=(
        Option("/t", "with their types"),
        Option("/i", "what they are: parameter, local, ..."),
        Option("/v", "where they lie"),
        Option("/V", "where they lie, and relative to which register"),
        Option("/r", "those that an inner one of the same name hides, too"),
        Option("/f", "those of the function at an address", "<address>"),
        *SORTING,
    ),
    needs=Caps.REGISTERS,
    see_also=(".frame", "k", "dt", "x"),
)
def display_variables(session: Session, args: Arguments, name: str) -> Locals | Names:
    """Variables need private symbols; optimised code keeps some of them nowhere."""
    session.cursor.display, session.cursor.arguments = name, args.text[args.start :]
    given = args.switches("f", "i", "r", "t", "v", "V", "a", "A", "n", "N", "z", "Z")
    function = args.address() if "f" in given else None
    pattern = args.pattern() or "*"
    args.at_end()
    if "!" in pattern:
        found_symbols = session.symbols.match(pattern)
        return Names(tuple(hit.name for hit in found_symbols if hit.symbol.kind != "constant"))
    fits = compile_wildcard(pattern).fullmatch
    if function is not None:
        module = session.symbols.module_at(function)
        base = module.base if module else 0
        found = [_declaration(local, base) for local in session.symbols.locals(function)]
        given["V"] = ""
    else:
        found = scope_variables(session)
    shown = [variable for variable in _named_apart(found, given) if fits(variable.name)]
    if not shown:
        raise SymbolError(
            f"No local variable matches '{pattern}'"
            if found
            else "Unable to enumerate locals, no private symbols for this frame"
        )
    sort_rows(shown, given, _SORTED_BY)
    values = function is None
    return Locals(tuple(_local_row(session, variable, given, values) for variable in shown))


def _named_apart(found: list[Variable], given: dict[str, str]) -> Iterator[Variable]:
    """Inner scopes come last and hide their namesakes; `/r` shows those as `name@1`, `name@2`."""
    left: dict[str, int] = {}
    for variable in found:
        left[variable.name] = left.get(variable.name, 0) + 1
    for variable in found:
        left[variable.name] -= 1
        shadows = left[variable.name]
        if not shadows:
            yield variable
        elif "r" in given:
            yield replace(variable, name=f"{variable.name}@{shadows}")


def _declaration(local: Local, base: int) -> Variable:
    """A variable of a function that need not run; `base` of its image, for static ones."""
    address = base + local.offset if local.place == "static" else None
    return Variable(
        local.name, local.type, local.is_parameter, address, local.register, local.offset, None
    )


_SORTED_BY: Keys[Variable] = {
    "n": lambda variable: variable.name.lower(),
    "z": lambda variable: variable.type.size,
    "a": lambda variable: variable.address or 0,
}


def sort_rows(rows: list[Row], given: dict[str, str], keys: Keys[Row], default: str = "") -> None:
    """By the first switch of `keys` that is given, in upper case the other way; or `default`."""
    for letter, key in keys.items():
        if letter in given or letter.upper() in given:
            rows.sort(key=key, reverse=letter.upper() in given)
            return
    if default:
        rows.sort(key=keys[default])


def _local_row(
    session: Session, variable: Variable, given: dict[str, str], values: bool
) -> LocalRow:
    prefix = ""
    if "i" in given:
        prefix += "prv param  " if variable.is_parameter else "prv local  "
    if values and ("v" in given or "V" in given):
        prefix += f"{place_text(variable):{PLACE_WIDTH}} "
    if "V" in given:
        prefix += f"{relative_text(variable):{RELATIVE_WIDTH}} "
    kind = type_name(variable.type) if "t" in given else ""
    value = variable_value(variable, session) if values else None
    return LocalRow(variable.name, value, prefix, kind)


def place_text(variable: Variable) -> str:
    """Where a variable lies: an address, a register, or nowhere."""
    if variable.address is not None:
        return tick(variable.address)
    return f"@{variable.register}" if variable.value is not None else "<unavailable>"


def relative_text(variable: Variable) -> str:
    """`@rsp+0x0030`; a variable in a register is there itself, a static one nowhere else."""
    if not variable.register:
        return "<unavailable>" if variable.address is None else tick(variable.address)
    if variable.address is None and not variable.offset:
        return f"@{variable.register}"
    sign = "-" if variable.offset < 0 else "+"
    return f"@{variable.register}{sign}0x{abs(variable.offset):04x}"
