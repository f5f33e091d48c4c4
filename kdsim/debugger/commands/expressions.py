"""The language's own commands: `? ?? .formats .echo .printf n .expr`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdsim.debugger.commands.registry import Param, command
from kdsim.debugger.language import commands as language

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.session import Session

EXPRESSION = Param("expression", "expression")


@command(
    "?",
    summary="Evaluate an expression; alone: list the commands.",
    group="language",
    params=(Param("expression", "expression", "numbers, symbols, registers", optional=True),),
    see_also=("??", ".formats", "n", ".help"),
)
def evaluate(session: Session, args: Arguments, name: str) -> object:
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
def evaluate_typed(session: Session, args: Arguments, name: str) -> object:
    return language.evaluate_typed(args)


@command(
    ".formats",
    summary="Show a number in every notation.",
    group="language",
    params=(EXPRESSION,),
    see_also=("?",),
)
def formats(session: Session, args: Arguments, name: str) -> object:
    return language.formats(args)


@command(
    ".echo",
    summary="Print text.",
    group="language",
    params=(Param("text", "text", "up to a semicolon, or in double quotes"),),
    see_also=(".printf",),
)
def echo(session: Session, args: Arguments, name: str) -> object:
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
    params=(Param("radix", "text", optional=True),),
    see_also=("?", ".expr"),
)
def radix(session: Session, args: Arguments, name: str) -> object:
    return language.radix(args)


@command(
    ".expr",
    summary="Show or set the language of expressions: /s masm or /s c++.",
    group="language",
    params=(Param("/s language", "text", optional=True),),
    see_also=("n", "?", "??"),
)
def evaluator(session: Session, args: Arguments, name: str) -> object:
    return language.expression_evaluator(args)
