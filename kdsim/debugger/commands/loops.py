"""Commands for each module, frame, local variable, function or register: `!for_each_...`.

What an element is called stands in aliases, `@#ModuleName` or `${@#ModuleName}`, which last as
long as the loop and are replaced in the commands and in scripts that these run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.modules import version_of
from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.registers import GENERAL
from kdsim.debugger.text import address as tick
from kdsim.debugger.variables import scope_variables
from kdsim.errors import ArgumentError

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session
    from kdsim.debugger.stack import Frame
    from kdsim.symbols.module import Module

COMMANDS = Param("commands", "commands", "in double quotes when there are several", optional=True)
# dbgeng.h, DEBUG_MODULE_USER_MODE and DEBUG_SYMTYPE_*.
USER_MODE = 2
SYMBOL_TYPES = {"none": 0, "pdb": 3, "private pdb": 3, "export": 4, "deferred": 5}
USER_SPACE_END = 1 << 47
_OPTION = re.compile(r"-([mp]):(\"[^\"]*\"|\S+)\s*")


@contextmanager
def _aliases(session: Session, values: Mapping[str, str]) -> Iterator[None]:
    """Aliases of this turn: `@#Base` and its like."""
    with ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(session.aliases.scoped(f"@#{name}"))(value)
        yield


def _run(session: Session, commands: str, values: Mapping[str, str]) -> None:
    session.check_interrupt()
    with _aliases(session, values):
        session.runner(commands, keep_going=True)


@dataclass(frozen=True, slots=True)
class Turns:
    """What the loop would go through: without commands each is shown."""

    turns: tuple[Turn, ...]

    def lines(self) -> Iterator[str]:
        yield from (turn.line for turn in self.turns)


class Turn(NamedTuple):
    """One element and the aliases it gives values to."""

    line: str
    aliases: dict[str, str]


@command(
    "!for_each_module",
    summary="Run commands for each module.",
    group="symbols",
    params=(COMMANDS,),
    needs=Caps.READ,
    see_also=("lm", "!for_each_function", "ld"),
    notes="Aliases: @#ModuleIndex @#ModuleName @#ImageName @#LoadedImageName @#MappedImageName\n"
    "@#SymbolFileName, each name also with Size behind it, @#Base @#End @#Size\n"
    "@#TimeDateStamp @#Checksum @#Flags @#SymbolType @#FileVersion @#ProductVersion",
)
def for_each_module(session: Session, args: Arguments, name: str) -> Turns | None:
    commands = args.commands()
    modules = sorted(session.symbols.modules, key=lambda module: module.base)
    if not commands:
        found = (_module_aliases(m, index) for index, m in enumerate(modules))
        return Turns(tuple(Turn(_module_line(values), values) for values in found))
    for index, module in enumerate(modules):
        _run(session, commands, _module_aliases(module, index))
    return None


def _module_line(values: dict[str, str]) -> str:
    names = ("Base", "End", "ModuleName", "ImageName", "LoadedImageName")
    return f"{values['ModuleIndex']} : {' '.join(values[name] for name in names)}"


def _module_aliases(module: Module, index: int) -> dict[str, str]:
    version = version_of(module)
    names = {
        "ModuleName": module.name,
        "ImageName": module.image_name,
        "LoadedImageName": module.image_name,
        "MappedImageName": "",
        "SymbolFileName": module.symbol_file or module.image_name,
    }
    sizes = {f"{name}Size": f"0x{len(text) + 1:x}" for name, text in names.items()}
    return {
        **names,
        **sizes,
        "FileVersion": ".".join(map(str, version.file_version)) if version else "",
        "ProductVersion": ".".join(map(str, version.product_version)) if version else "",
        "ModuleIndex": f"{index:02x}",
        "Base": f"0x{module.base:x}",
        "Size": f"0x{module.size:x}",
        "End": f"0x{module.end:x}",
        "TimeDateStamp": f"0x{module.timestamp:x}",
        "Checksum": f"0x{module.checksum:x}",
        "Flags": f"0x{0 if module.base >= USER_SPACE_END else USER_MODE:x}",
        "SymbolType": f"0x{SYMBOL_TYPES[module.status]:x}",
    }


@command(
    "!for_each_frame",
    summary="Run commands in each frame of the stack.",
    group="stack",
    params=(COMMANDS,),
    needs=Caps.REGISTERS,
    see_also=("k", ".frame", "!for_each_local"),
)
def for_each_frame(session: Session, args: Arguments, name: str) -> Turns | None:
    """Each frame in turn is the local context; the old one comes back at the end."""
    commands = args.commands()
    frames = session.stack()
    if not commands:
        return Turns(tuple(Turn(_frame_line(session, frame), {}) for frame in frames))
    before = session.scope
    try:
        for frame in frames:
            session.check_interrupt()
            session.scope = replace(before, frame=frame.index)
            session.out.line(_frame_line(session, frame))
            session.runner(commands, keep_going=True)
    finally:
        session.scope = before
    return None


def _frame_line(session: Session, frame: Frame) -> str:
    site = session.disassembler.symbol(frame.ip) or f"0x{tick(frame.ip)}"
    return f"{frame.index:02x} {tick(frame.child_sp)} {tick(frame.return_address)} {site}"


@command(
    "!for_each_local",
    summary="Run commands for each local variable of the frame.",
    group="stack",
    params=(COMMANDS,),
    needs=Caps.REGISTERS,
    see_also=("dv", "!for_each_frame"),
    notes="Alias: @#Local",
)
def for_each_local(session: Session, args: Arguments, name: str) -> Turns | None:
    commands = args.commands()
    names = [variable.name for variable in scope_variables(session)]
    if not commands:
        return Turns(tuple(Turn(local, {"Local": local}) for local in names))
    for local in names:
        _run(session, commands, {"Local": local})
    return None


@command(
    "!for_each_function",
    summary="Run a command for each function whose name fits a pattern.",
    group="symbols",
    options=(
        Option("-m:", "of which modules", "<module>"),
        Option("-p:", "of which names", "<pattern>"),
        Option("-c:", "what to run, up to the end of the line", "<commands>"),
    ),
    needs=Caps.READ,
    see_also=("x", "!for_each_module"),
    notes="Aliases: @#SymbolName @#SymbolAddress @#ModName @#FunctionName",
)
def for_each_function(session: Session, args: Arguments, name: str) -> None:
    options, commands = _options(args)
    module, pattern = options.get("m"), options.get("p")
    if not module or not pattern or not commands:
        raise ArgumentError(f"{name} needs -m:module -p:pattern -c:command")
    found = []
    for hit in session.symbols.match(f"{module}!{pattern}"):
        session.check_interrupt()
        if hit.symbol.kind == "function":
            found.append(hit)
    for hit in sorted(found, key=lambda hit: hit.va):
        values = {
            "SymbolName": hit.name,
            "SymbolAddress": f"0x{hit.va:x}",
            "ModName": hit.module.name,
            "FunctionName": hit.symbol.name,
        }
        _run(session, commands, values)


@command(
    "!for_each_register",
    summary="Run a command for each general register.",
    group="registers",
    options=(Option("-c:", "what to run, up to the end of the line", "<command>"),),
    needs=Caps.REGISTERS,
    see_also=("r",),
    notes="Aliases: @#RegisterName @#RegisterValue",
)
def for_each_register(session: Session, args: Arguments, name: str) -> None:
    options, commands = _options(args)
    if options or not commands:
        raise ArgumentError(f"{name} needs -c:command")
    for register in (*GENERAL, "rip", "efl"):
        value = f"0x{session.registers[register]:x}"
        _run(session, commands, {"RegisterName": register, "RegisterValue": value})


def _options(args: Arguments) -> tuple[dict[str, str], str]:
    """`-m:` and `-p:` take a word, `-c:` all that follows."""
    options: dict[str, str] = {}
    text = args.rest()
    while found := _OPTION.match(text):
        options[found[1]] = found[2].strip('"')
        text = text[found.end() :]
    if not text.startswith("-c:"):
        return options, ""
    commands = text.removeprefix("-c:").strip()
    quoted = len(commands) > 1 and commands[0] == commands[-1] == '"'
    return options, commands[1:-1] if quoted else commands
