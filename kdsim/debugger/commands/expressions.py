"""The language's own commands: `? ?? .formats .echo .printf n .expr`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.commands.registry import Option, Param, command
from kdsim.debugger.language import commands as language
from kdsim.debugger.language.typed_text import type_name
from kdsim.symbols.types import Pointer, Record

if TYPE_CHECKING:
    from kdsim.debugger.commands.help import CommandList
    from kdsim.debugger.inspect.typetree import FieldLine
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.language.formats import Formats
    from kdsim.debugger.language.typed import Typed
    from kdsim.debugger.session import Session

EXPRESSION = Param("expression", "expression")


@command(
    "?",
    summary="Evaluate an expression; alone: list the commands.",
    group="language",
    params=(Param("expression", "expression", "numbers, symbols, registers", optional=True),),
    see_also=("??", ".formats", "n", ".help"),
)
def evaluate(session: Session, args: Arguments, name: str) -> language.Evaluation | CommandList:
    if args.done:
        from kdsim.debugger.commands.help import command_list

        return command_list()
    return language.evaluate(args)


@command(
    "??",
    summary="Evaluate a C++ expression.",
    group="language",
    params=(EXPRESSION,),
    see_also=("?", "dt"),
)
def evaluate_typed(session: Session, args: Arguments, name: str) -> TypedValue:
    found = language.evaluate_typed(args, session.settings.integers)
    result = found.result
    plain = None if isinstance(result.type, Record) else result.value
    fields = tuple(_fields(session, result))
    return TypedValue(found.heading, type_name(result.type), plain, fields)


@dataclass(frozen=True, slots=True)
class TypedValue:
    """Type and value; and of a record, or of what a pointer to one points to, the fields."""

    heading: str
    type: str
    value: int | float | None
    fields: tuple[FieldLine, ...]

    def lines(self) -> Iterator[str]:
        yield self.heading
        yield from map(str, self.fields)


def _fields(session: Session, value: Typed) -> Iterator[FieldLine]:
    from kdsim.debugger.inspect.typetree import Style, TypeTree

    if isinstance(value.type, Pointer) and not value.number():
        return
    style = Style(integers=session.settings.integers)
    kind = value.type.target if isinstance(value.type, Pointer) else value.type
    if isinstance(kind, Record):
        yield from TypeTree(session.memory, style).fields(kind, value.number())


@command(
    ".formats",
    summary="Show a number in every notation.",
    group="language",
    params=(EXPRESSION,),
    see_also=("?",),
)
def formats(session: Session, args: Arguments, name: str) -> Formats:
    return language.formats(args)


@command(
    ".echo",
    summary="Print text.",
    group="language",
    params=(Param("text", "text", "up to a semicolon, or in double quotes"),),
    see_also=(".printf",),
)
def echo(session: Session, args: Arguments, name: str) -> language.Message:
    return language.echo(args)


@command(
    ".printf",
    summary="Print text with values: %d %x %p %ma %mu %y ... as in C.",
    group="language",
    params=(Param('"format"', "string"), Param("values", "values", optional=True)),
    see_also=(".echo", "?"),
)
def printf(session: Session, args: Arguments, name: str) -> None:
    session.out.write(language.printf(args))


@command(
    "n",
    summary="Show or set the radix of plain numbers: 8, 10 or 16.",
    group="language",
    params=(Param("8|10|16", "text", "always decimal", optional=True),),
    see_also=("?", ".expr"),
)
def radix(session: Session, args: Arguments, name: str) -> language.Radix:
    return language.radix(args)


@command(
    ".expr",
    summary="Show or set the language that expressions are written in.",
    group="language",
    options=(Option("/s", "masm or c++", "<language>"), Option("/q", "list them, too")),
    see_also=("n", "?", "??"),
)
def evaluator(session: Session, args: Arguments, name: str) -> language.Evaluators:
    return language.expression_evaluator(args)
