"""Tables of tests, `text ==> tree`: how a row is written, and what it says of the program.

A table has a heading for every rule, `# rule`, and below it one row for each text::

    # `;` separates commands
    k;r                ==> [k] [r]

`⏎`, `␣` and `␉` stand for the end of a line, a blank at either end of the text, and a tab. Trees
are written in prefix form. A text in brackets is one that is parsed later. Behind ` | ` stands
what an expression leaves of its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from kdsim.debugger.language import parse
from kdsim.debugger.language import syntax_cpp as cpp
from kdsim.debugger.language import syntax_lines as lines
from kdsim.debugger.language import syntax_masm as masm
from kdsim.debugger.language.syntax_lines import Text
from kdsim.errors import CommandSyntaxError
from tests.debugger.language.language_fakes import TYPES

ARROW = "==>"
FOLDER = Path(__file__).parent / "trees"


class Row(NamedTuple):
    rule: str
    text: str
    tree: str

    @property
    def id(self) -> str:
        return f"{self.rule}: {self.text!r}"


def table(name: str) -> Iterator[Row]:
    """The rows of `trees/NAME.txt`."""
    rule = ""
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line:
            continue
        if line.startswith("# "):
            rule = line[2:]
            continue
        text, arrow, tree = line.partition(f" {ARROW}")
        if not arrow:
            raise ValueError(f"{name}.txt: no {ARROW} in {line!r}")
        yield Row(rule, _unprinted(text), tree.strip())


def _unprinted(text: str) -> str:
    return text.rstrip(" ").replace("␣", " ").replace("␉", "\t").replace("⏎", "\n")


def outcome(name: str, text: str) -> str:
    """What a row has on its right."""
    try:
        return _READERS[name](text)
    except CommandSyntaxError as error:
        return f"column {error.column}: {error.message}"


def _read_line(text: str) -> str:
    return " ".join(map(statement, parse.line(text).statements)).replace("\n", "⏎")


def _read_masm(text: str) -> str:
    return _with_rest(parse.masm(text), text)


def _read_cpp(text: str) -> str:
    return _with_rest(parse.cpp(text, is_type=is_type), text)


def is_type(name: str) -> bool:
    """The types of the sample debuggee."""
    return name.removeprefix("nt!") in TYPES


def _with_rest(parsed: parse.Parsed, text: str) -> str:
    rest = text[parsed.end :].strip()
    return expression(parsed.tree) + (f" | {rest}" if rest else "")


_READERS: dict[str, Callable[[str], str]] = {
    "lines": _read_line,
    "masm": _read_masm,
    "cpp": _read_cpp,
}


def statement(tree: lines.Statement) -> str:
    """A statement in prefix form; a plain command is its text in brackets."""
    match tree:
        case lines.Command(text):
            return f"[{text}]"
        case lines.If(branches, otherwise):
            parts = [f"[{condition}] [{body}]" for condition, body in branches]
            return f"(if {' '.join(parts)}{_optional(otherwise)})"
        case lines.While(condition, body, True):
            return f"(do [{body}] [{condition}])"
        case lines.While(condition, body):
            return f"(while [{condition}] [{body}])"
        case lines.For(start, condition, steps, body):
            return f"(for [{start}] [{condition}]{''.join(map(_optional, steps))} [{body}])"
        case lines.ForEach(variable, kind, source, body, first, each):
            skips = f" {first}/{each}" if (first, each) != ("0", "0") else ""
            return f"(foreach{skips} {variable} {kind} [{source}] [{body}])"
        case lines.Block(body, catches):
            return f"({'catch' if catches else 'block'} [{body}])"
        case lines.Leave(word):
            return f"({word})"
        case lines.Jump(first, second):
            return f"(j [{first}]{_optional(second)})"
        case lines.Repeat(condition, processor):
            return f"({'' if processor is None else processor}z [{condition}])"
        case lines.AliasCommand(text):
            return f"(alias [{text}])"
        case lines.Script(form, text):
            return f"(script {form} [{text}])"
    raise AssertionError(tree)


def _optional(text: Text | None) -> str:
    return "" if text is None else f" [{text}]"


def expression(tree: masm.Expression | cpp.Expression | cpp.TypeName) -> str:
    """An expression in prefix form, its operands marked with what they are."""
    match tree:
        case masm.Word(text):
            return f"word:{text}"
        case masm.Symbol() | cpp.Variable():
            return f"symbol:{tree}"
        case masm.SourceLine():
            return f"line:{tree}"
        case masm.Here():
            return "here"
        case cpp.Literal(value, kind):
            return f"{value}:{kind}"
        case cpp.TypeName():
            return f"<{tree}>"
        case masm.Switch(language, text):
            return f"@@{language}[{text}]"
        case masm.Function(name, arguments):
            return _form(name, *arguments)
        case cpp.Macro(name, arguments):
            return _form(f"#{name}", *arguments)
        case cpp.Step(operator, operand, True):
            return f"({expression(operand)} {operator})"
        case masm.Unary(operator, operand) | cpp.Unary(operator, operand):
            return _form(operator, operand)
        case cpp.Step(operator, operand):
            return _form(operator, operand)
        case masm.Binary(operator, left, right) | cpp.Binary(operator, left, right):
            return _form(operator, left, right)
        case cpp.Assign(operator, target, value):
            return _form(operator, target, value)
        case cpp.Conditional(condition, then, otherwise):
            return _form("?", condition, then, otherwise)
        case cpp.Cast(kind, operand):
            return _form("cast", kind, operand)
        case cpp.SizeOf(operand):
            return _form("sizeof", operand)
        case cpp.Index(base, subscript):
            return _form("[]", base, subscript)
        case cpp.Member(base, name, arrow):
            return f"({'->' if arrow else '.'} {expression(base)} {name})"
    return str(tree)


def _form(head: str, *operands: masm.Expression | cpp.Expression | cpp.TypeName) -> str:
    return f"({' '.join([head, *map(expression, operands)])})"
