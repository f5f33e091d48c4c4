"""`?` alone, `.help`, `!help`, `.hh`: what there is to type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from kdsim.debugger.commands import absent, tokens
from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.registry import Command, HelpPage, Option, Param, Record, command
from kdsim.errors import UnknownCommand

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

USAGE_WIDTH = 34

LANGUAGE = (
    "",
    "Expressions: + - * / mod(%) << >> >>> = < > <= >= != and(&) xor(^) or(|), not hi low,",
    "    by wo dwo qwo poi (memory at an address), @@c++( ) and @@masm( ).",
    "Operands: numbers in the current radix, 0x 0n 0t 0y, symbols (module!name), @registers,",
    "    @$pseudo-registers, `file.c:line`.",
    "Ranges: <first> <last>, <address> L<count>, L?<count> (any size), L-<count> (before it).",
    "Control: .if .elsif .else .for .while .do .foreach .break .continue .catch .leave .block j z",
    "Scripts: $<file  $><file  $$<file  $$><file  $$>a<file arguments",
    "Aliases: as aS ad al, ${name}",
)


@dataclass(frozen=True, slots=True)
class CommandSummary:
    names: str
    usage: str
    summary: str
    group: str


@dataclass(frozen=True, slots=True)
class CommandList:
    """Commands of one kind, by name.

    Attributes:
        title: what kind; nothing for the standard commands, which are many enough to need none.
        notes: what stands below them.
    """

    title: str
    commands: tuple[CommandSummary, ...]
    notes: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        if self.title:
            yield self.title
        for item in self.commands:
            yield f"  {item.usage:{USAGE_WIDTH}} - {item.summary}"
        yield from self.notes
        yield ""
        yield ".hh <command> tells more about one of them."


@dataclass(frozen=True, slots=True)
class Contents:
    """All commands, by group."""

    commands: tuple[CommandSummary, ...]

    def lines(self) -> Iterator[str]:
        width = min(max((len(c.names) for c in self.commands), default=0), USAGE_WIDTH)
        for group, items in groupby(self.commands, key=lambda item: item.group):
            yield f"{group}:"
            yield from (f"  {item.names:{width}}  {item.summary}" for item in items)
            yield ""
        yield ".hh <command> tells more about one of them."


def _summary(declared: Command, group: str) -> CommandSummary:
    names = " ".join(declared.names)
    rest = declared.usage().removeprefix(declared.name)
    return CommandSummary(names, f"{names}{rest}", declared.summary, group)


def contents() -> Contents:
    groups = REGISTRY.by_group()
    return Contents(tuple(_summary(found, group) for group, members in groups for found in members))


def command_list(kind: str = "") -> CommandList:
    """The commands that begin with `.` or with `!`, or all others."""
    found = [c for c in REGISTRY.commands() if (c.name[:1] if c.name[:1] in ".!" else "") == kind]
    found.sort(key=lambda c: c.name.lower())
    title = {".": ". commands:", "!": "Extension commands:", "": ""}[kind]
    return CommandList(title, tuple(_summary(c, c.group) for c in found), () if kind else LANGUAGE)


def page(name: str) -> HelpPage | tokens.Token | absent.Absent:
    """About one command, with or without its `.` or `!`; also about one that is not here."""
    spellings = (name, f".{name}", f"!{name}")
    token = tokens.find(name)
    if token is not None:
        return token
    for spelling in spellings:
        found = REGISTRY.get(spelling)
        if found is not None:
            return HelpPage.of(found)
    for spelling in spellings:
        missing = absent.find(spelling)
        if missing is not None:
            return missing
    raise UnknownCommand(name, REGISTRY.near(name))


@command(
    ".help",
    ".hh",
    "!help",
    summary="Tell about a command; alone: list those with a dot, all (.hh), those with a bang.",
    group="session",
    params=(Param("name", "command", optional=True),),
    options=(Option("/D", "accepted: there are no links to click on in a terminal"),),
    examples=(".hh !pool",),
    see_also=("?",),
)
def show_help(session: Session, args: Arguments, name: str) -> Record:
    args.switches("D")
    wanted = args.rest()
    if wanted:
        return page(wanted)
    return contents() if name == ".hh" else command_list(name[0])
