"""`?` alone, `.help`, `.hh`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.registry import Command, Param, command
from kdsim.errors import UnknownCommand

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session


@dataclass(frozen=True, slots=True)
class CommandSummary:
    usage: str
    summary: str
    group: str


@dataclass(frozen=True, slots=True)
class CommandList:
    """All commands by group."""

    commands: tuple[CommandSummary, ...]

    def lines(self) -> Iterator[str]:
        width = min(max((len(c.usage) for c in self.commands), default=0), 34)
        group = ""
        for item in self.commands:
            if item.group != group:
                if group:
                    yield ""
                group = item.group
                yield f"{group.capitalize()}:"
            yield f"  {item.usage:{width}}  {item.summary}"
        yield ""
        yield ".hh <command> tells more about one of them."


def command_list() -> CommandList:
    found = sorted(REGISTRY.commands(), key=lambda c: (c.group, c.name.lower()))
    return CommandList(tuple(CommandSummary(_names(c), c.summary, c.group) for c in found))


def _names(declared: Command) -> str:
    return " ".join(declared.names)


@command(
    ".help",
    ".hh",
    "!help",
    summary="Tell about a command; without a name: list all.",
    group="session",
    params=(Param("name", "command", optional=True),),
    see_also=("?",),
)
def show_help(session: Session, args: Arguments, name: str) -> object:
    args.switches("D")
    wanted = args.rest()
    if not wanted:
        return command_list()
    found = REGISTRY.get(wanted) or REGISTRY.get(f".{wanted}") or REGISTRY.get(f"!{wanted}")
    if found is None:
        raise UnknownCommand(wanted, REGISTRY.near(wanted))
    return found.help()
