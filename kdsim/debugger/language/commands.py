"""The language's own commands, as functions that return what they found.

The command room declares them: `?`, `??`, `.formats`, `.echo`, `.printf`, `n`, `.expr`. Control
tokens, aliases, `j`, `z` and scripts are syntax, so the interpreter executes them itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from kdsim.debugger.language.arguments import Arguments
from kdsim.debugger.language.formats import Formats, ticked
from kdsim.debugger.language.numbers import signed
from kdsim.debugger.language.printf import printf
from kdsim.debugger.language.problems import SYNTAX
from kdsim.debugger.language.typed import Typed
from kdsim.debugger.text import PLAIN, IntegerStyle
from kdsim.errors import CommandSyntaxError

__all__ = [
    "echo",
    "evaluate",
    "evaluate_typed",
    "expression_evaluator",
    "formats",
    "printf",
    "radix",
]

EVALUATORS = {
    "masm": "MASM - Microsoft Assembler expressions",
    "c++": "C++ - C++ source expressions",
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `?` prints."""

    value: int

    def lines(self) -> list[str]:
        return [f"Evaluate expression: {signed(self.value)} = {ticked(self.value)}"]


@dataclass(frozen=True, slots=True)
class TypedEvaluation:
    """What `??` prints first; the fields of a record are shown by whoever knows `dt`'s form.

    Attributes:
        heading: type and value.
        result: the value itself.
    """

    heading: str
    result: Typed

    def lines(self) -> list[str]:
        return [self.heading]


@dataclass(frozen=True, slots=True)
class Message:
    """One line of text."""

    text: str

    def lines(self) -> list[str]:
        return self.text.splitlines() or [""]


@dataclass(frozen=True, slots=True)
class Radix:
    """Of numbers without a prefix."""

    radix: int

    def lines(self) -> list[str]:
        return [f"base is {self.radix}"]


@dataclass(frozen=True, slots=True)
class Evaluators:
    """The language that expressions are written in; with `/q` the others as well."""

    current: str
    available: tuple[str, ...]

    def lines(self) -> list[str]:
        names = [EVALUATORS[key] for key in self.available]
        listed = ["Available expression evaluators:", *names] if names else []
        return [*listed, f"Current expression evaluator: {EVALUATORS[self.current]}"]


def evaluate(arguments: Arguments) -> Evaluation:
    """`? expression`."""
    value = arguments.expression()
    arguments.at_end()
    arguments.context.set_pseudo("$exp", value)
    return Evaluation(value)


def evaluate_typed(arguments: Arguments, integers: IntegerStyle = PLAIN) -> TypedEvaluation:
    """`?? expression`, always in C++."""
    from kdsim.debugger.language.typed_text import typed_text

    result = arguments.whole_cpp()
    arguments.context.set_pseudo("$exp", result)
    return TypedEvaluation(typed_text(arguments.context, result, integers), result)


def formats(arguments: Arguments) -> Formats:
    """`.formats expression`."""
    value = arguments.expression()
    arguments.at_end()
    return Formats(value)


def echo(arguments: Arguments) -> Message:
    """`.echo text`; quotes around all of it are not printed."""
    text = arguments.rest()
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return Message(text[1:-1] if quoted else text)


def radix(arguments: Arguments) -> Radix:
    """`n [8|10|16]`; the argument is decimal whatever the radix is."""
    context = arguments.context
    if not arguments.done:
        column = arguments.position
        word = arguments.word()
        if word not in ("8", "10", "16"):
            raise CommandSyntaxError(SYNTAX, arguments.text, column)
        context.radix = int(word)
    arguments.at_end()
    return Radix(context.radix)


def expression_evaluator(arguments: Arguments) -> Evaluators:
    """`.expr [/s masm|c++] [/q]`."""
    context = arguments.context
    given = arguments.switches("s:", "q")
    chosen = given.get("s")
    if chosen is not None:
        if chosen.lower() not in EVALUATORS:
            raise arguments.error()
        context.evaluator = chosen.lower()
    arguments.at_end()
    return Evaluators(context.evaluator, tuple(EVALUATORS) if "q" in given else ())
