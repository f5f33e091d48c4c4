"""Extension modules: `.chain .load .loadby .unload .unloadall .setdll .extmatch`.

The extension commands are part of kdsim. DLLs of Windows cannot be loaded, and the commands that
would do so say that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim import __version__
from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.registry import EXTENSIONS, Option, Param, command
from kdsim.errors import UserError
from kdsim.symbols.wildcard import matches

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

OWN_MODULE = "kdsim"
DLL = Param("module", "file", "name or path of a DLL")


def chain_lines() -> Iterator[str]:
    yield "Extension DLL chain:"
    yield f"    {OWN_MODULE}: built in, version {__version__}, also called"
    yield f"        {', '.join(name for name in EXTENSIONS if name != OWN_MODULE)}"


@dataclass(frozen=True, slots=True)
class Chain:
    """Where extension modules are looked for, and which there are."""

    path: str
    modules: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        yield "Extension DLL search Path:"
        yield f"    {self.path or '<empty>'}"
        yield from chain_lines()


@command(
    ".chain",
    summary="Show the extension modules.",
    group="session",
    options=(Option("/D", "accepted: there are no links to click on in a terminal"),),
    see_also=(".extmatch", ".load"),
)
def show_chain(session: Session, args: Arguments, name: str) -> Chain:
    args.switches("D")
    args.at_end()
    return Chain(session.settings.extension_path, EXTENSIONS)


def _is_ours(text: str) -> bool:
    stem = text.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".dll")
    return stem in EXTENSIONS


@command(
    ".load",
    ".loadby",
    summary="Load an extension module; those of kd are built in, others cannot be loaded.",
    group="session",
    params=(DLL, Param("beside", "module", "of .loadby: the module it lies beside", optional=True)),
    see_also=(".chain", ".unload"),
)
def load(session: Session, args: Arguments, name: str) -> None:
    wanted = args.word()
    beside = args.word() if name == ".loadby" else None
    args.at_end()
    if not wanted or (name == ".loadby" and not beside):
        raise args.error()
    if beside and session.symbols.module_named(beside) is None:
        raise UserError(f"Unable to find module '{beside}'")
    if not _is_ours(wanted):
        raise UserError(f"Unable to load {wanted}: kdsim loads no extension modules of Windows")


@command(
    ".unload",
    ".unloadall",
    ".setdll",
    summary="Unload extension modules, or choose the one searched first; they are built in.",
    group="session",
    params=(Param("module", "file", "name or path of a DLL", optional=True),),
    see_also=(".chain", ".load"),
)
def unload(session: Session, args: Arguments, name: str) -> None:
    wanted = args.word() if name != ".unloadall" else None
    args.at_end()
    if name == ".setdll":
        if not wanted:
            raise args.error()
        if not _is_ours(wanted):
            raise UserError(f"Unable to find an extension module named {wanted}")
        return
    if wanted and not _is_ours(wanted):
        raise UserError(f"{wanted} is not loaded")
    raise UserError("The extension commands are part of kdsim and cannot be unloaded")


@dataclass(frozen=True, slots=True)
class ExtensionCommands:
    """Names of extension commands; with or without their module's."""

    names: tuple[str, ...]
    module: str

    def lines(self) -> Iterator[str]:
        prefix = f"{self.module}." if self.module else ""
        yield from (f"!{prefix}{name}" for name in self.names)


@command(
    ".extmatch",
    summary="List extension commands by a pattern.",
    group="session",
    params=(Param("pattern", "pattern", "string wildcards"),),
    options=(
        Option("/e", "only of modules whose names fit", "<pattern>"),
        Option("/n", "without the module's name"),
        Option("/D", "accepted: there are no links to click on in a terminal"),
    ),
    see_also=("!help", ".chain"),
    examples=(".extmatch /n pool*",),
)
def match_extensions(session: Session, args: Arguments, name: str) -> ExtensionCommands:
    given = args.switches("e:", "n", "D")
    pattern = args.pattern()
    if pattern is None:
        raise args.error()
    args.at_end()
    found = tuple(
        known[1:]
        for known in REGISTRY.names()
        if known.startswith("!") and matches(pattern, known[1:])
    )
    if not any(matches(given.get("e", "*"), module) for module in EXTENSIONS):
        found = ()
    return ExtensionCommands(found, "" if "n" in given else OWN_MODULE)
