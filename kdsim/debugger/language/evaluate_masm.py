"""Evaluates MASM expressions: unsigned 64-bit numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from kdsim.debugger.language import parse
from kdsim.debugger.language import syntax_masm as syntax
from kdsim.debugger.language.context import Context
from kdsim.debugger.language.evaluate import Evaluator, whole_number
from kdsim.debugger.language.functions import call
from kdsim.debugger.language.numbers import MASK, TooBig, plain_number, signed
from kdsim.debugger.language.problems import (
    MEMORY,
    OPERAND,
    OVERFLOW,
    REGISTER,
    UNRESOLVED,
    ExpressionError,
)
from kdsim.debugger.language.typed import Typed
from kdsim.errors import CommandSyntaxError, FormatError, MemoryFault

# These need no `@` and are tried before the symbols, so that `? rsp` does not search every module.
_STEMS = ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "ip")
COMMON_REGISTERS = frozenset(
    [size + stem for stem in _STEMS for size in "re"] + [f"r{n}" for n in range(8, 16)] + ["efl"]
)

_READS = {"by": 1, "wo": 2, "dwo": 4, "qwo": 8}

_BINARY: dict[str, Callable[[int, int], int]] = {
    "*": operator.mul,
    "/": operator.floordiv,
    "%": operator.mod,
    "+": operator.add,
    "-": operator.sub,
    # The shift count is taken modulo 64, as the processor does it.
    "<<": lambda a, b: a << (b & 63),
    ">>": lambda a, b: a >> (b & 63),
    ">>>": lambda a, b: signed(a) >> (b & 63),
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "&": operator.and_,
    "^": operator.xor,
    "|": operator.or_,
}


def evaluate_prefix(context: Context, text: str, start: int) -> tuple[int, int]:
    """Value and end of the longest expression at `start`."""
    parsed = parse.masm(text, start)
    return _Masm(context, text).value(parsed.tree), parsed.end


class _Masm:
    """One evaluation; `text` is kept for the messages."""

    def __init__(self, context: Context, text: str) -> None:
        self._context = context
        self._text = text

    def value(self, tree: syntax.Expression) -> int:
        """An unsigned 64-bit number."""
        return _RULES[type(tree)](self, tree)

    def _number(self, tree: syntax.Number) -> int:
        return self._constant(tree.value, tree.ticked)

    def _string(self, tree: syntax.String) -> int:
        raise self._error(OPERAND, tree.column)

    def _here(self, _: syntax.Here) -> int:
        return self._context.here()

    def _constant(self, value: int, ticked: bool) -> int:
        # Sign extension of bare 32-bit constants belongs to 32-bit targets; a tick prevents it.
        if self._context.pointer_size == 4 and not ticked and 1 << 31 <= value < 1 << 32:
            return signed(value, 4) & MASK
        return value

    def _word(self, tree: syntax.Word) -> int:
        try:
            number = plain_number(tree.text, self._context.radix)
        except TooBig:
            raise CommandSyntaxError(OVERFLOW, self._text, tree.column) from None
        if number is not None:
            return self._constant(*number)
        name = tree.text.lower()
        if name in COMMON_REGISTERS:
            return self._named_register(name, tree.column)
        if name.startswith("$"):
            value = self._context.pseudo(name)
            if value is not None:
                return _integer(value)
        address = self._context.symbol(tree.text)
        if address is None and "__" in tree.text.strip("_"):
            address = self._context.symbol(tree.text.replace("__", "::"))
        if address is None:
            address = self._context.register(name)
        if address is None:
            raise self._error(UNRESOLVED, tree.column)
        return address & MASK

    def _symbol(self, tree: syntax.Symbol) -> int:
        if tree.prefix == "$!":
            local = self._context.local(tree.name)
            address = local.place() if local else None
        else:
            address = self._context.symbol(tree.name)
        if address is None:
            raise self._error(UNRESOLVED, tree.column)
        return address & MASK

    def _register(self, tree: syntax.Register) -> int:
        return self._named_register(tree.name, tree.column)

    def _named_register(self, name: str, column: int) -> int:
        pseudo = name.startswith("$")
        value = self._context.pseudo(name) if pseudo else self._context.register(name)
        if value is None:
            raise self._error(REGISTER, column)
        return _integer(value) & MASK

    def _characters(self, tree: syntax.Characters) -> int:
        data = tree.text.encode("latin-1", "replace")
        if not data:
            raise CommandSyntaxError("Syntax error", self._text, tree.column)
        if len(data) > 8:
            raise CommandSyntaxError(OVERFLOW, self._text, tree.column)
        return int.from_bytes(data, "big")

    def _source_line(self, tree: syntax.SourceLine) -> int:
        address = self._context.source_line(tree.module, tree.file, tree.line)
        if address is None:
            raise self._error(UNRESOLVED, tree.column)
        return address

    def _unary(self, tree: syntax.Unary) -> int:
        value = self.value(tree.operand)
        match tree.operator:
            case "+":
                return value
            case "-":
                return -value & MASK
            case "not":
                return int(value == 0)
            case "hi":
                return value >> 16 & 0xFFFF
            case "low":
                return value & 0xFFFF
        physical = tree.operator.startswith("$p")
        memory = self._context.physical if physical else self._context.memory
        kind = tree.operator.removeprefix("$p") if physical else tree.operator
        size = _READS.get(kind, self._context.pointer_size)
        try:
            return int.from_bytes(memory.read(value, size), "little")
        except MemoryFault as fault:
            raise self._error(MEMORY, self._last_token(tree.operand), fault.reason) from fault

    def _last_token(self, operand: syntax.Expression) -> int:
        """Where kd has read to when it finds an operand bad: its closing parenthesis, if any."""
        column = operand.column
        if not self._text[:column].rstrip().endswith("("):
            return column
        closing = self._text.find(")", parse.masm(self._text, column).end)
        return column if closing < 0 else closing

    def _binary(self, tree: syntax.Binary) -> int:
        left, right = self.value(tree.left), self.value(tree.right)
        if tree.operator in "/%" and right == 0:
            raise self._error(OPERAND, tree.right.column)
        return int(_BINARY[tree.operator](left, right)) & MASK

    def _switch(self, tree: syntax.Switch) -> int:
        evaluator = Evaluator(self._context)
        try:
            if tree.language == "masm":
                return evaluator.masm(tree.text)
            return whole_number(evaluator.cpp(tree.text), tree.text, 0)
        except CommandSyntaxError as error:
            error.text, error.column = self._text, error.column + tree.text_column
            raise

    def _function(self, tree: syntax.Function) -> int:
        arguments: list[int | str] = [
            argument.text if isinstance(argument, syntax.String) else self.value(argument)
            for argument in tree.arguments
        ]
        try:
            return call(tree.name, arguments, self._context)
        except MemoryFault as fault:
            raise self._error(MEMORY, tree.column, fault.reason) from fault
        except FormatError as error:
            raise self._error(OPERAND, tree.column, str(error)) from error
        except TypeError:
            raise self._error(OPERAND, tree.column) from None

    def _error(self, message: str, column: int, reason: str = "") -> ExpressionError:
        return ExpressionError(message, self._text, column, reason)


_RULES: dict[type, Callable[[_Masm, Any], int]] = {
    syntax.Number: _Masm._number,
    syntax.Word: _Masm._word,
    syntax.Symbol: _Masm._symbol,
    syntax.Register: _Masm._register,
    syntax.Here: _Masm._here,
    syntax.Characters: _Masm._characters,
    syntax.String: _Masm._string,
    syntax.SourceLine: _Masm._source_line,
    syntax.Unary: _Masm._unary,
    syntax.Binary: _Masm._binary,
    syntax.Switch: _Masm._switch,
    syntax.Function: _Masm._function,
}


def _integer(value: Typed | int) -> int:
    return value if isinstance(value, int) else value.number()
