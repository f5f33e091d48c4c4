"""Evaluates MASM expressions: unsigned 64-bit numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache, partial

from kdsim.debugger.language import parse
from kdsim.debugger.language import syntax_masm as syntax
from kdsim.debugger.language.context import Context
from kdsim.debugger.language.evaluate import Evaluator, whole_number
from kdsim.debugger.language.functions import call
from kdsim.debugger.language.numbers import MASK, RADIXES, TooBig, plain_number, signed
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

_UNARY: dict[str, Callable[[int], int]] = {
    "+": lambda a: a,
    "-": lambda a: -a & MASK,
    "not": lambda a: int(a == 0),
    "hi": lambda a: a >> 16 & 0xFFFF,
    "low": lambda a: a & 0xFFFF,
}

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


Value = Callable[[Context], int]
"""A compiled expression."""


def evaluate_prefix(context: Context, text: str, start: int) -> tuple[int, int]:
    """Value and end of the longest expression at `start`."""
    value, end = compiled(text, start)
    return value(context), end


@lru_cache(maxsize=1024)
def compiled(text: str, start: int) -> tuple[Value, int]:
    """The longest expression at `start` as a function of the context, and its end.

    What a loop evaluates at every turn is read and taken apart once.
    """
    parsed = parse.masm(text, start)
    return _Masm(text).value(parsed.tree), parsed.end


class _Masm:
    """Makes the function of one expression; `text` is kept for the messages."""

    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, tree: syntax.Expression) -> Value:
        """An unsigned 64-bit number, once a context is given."""
        match tree:
            case syntax.Number():
                return self._number(tree)
            case syntax.Word():
                return self._word(tree)
            case syntax.Register():
                return self._register(tree.name, tree.column)
            case syntax.Here():
                return lambda context: context.here()
            case syntax.Unary():
                return self._unary(tree)
            case syntax.Binary():
                return self._binary(tree)
            case syntax.Function():
                return self._function(tree)
            case syntax.Symbol():
                return partial(self._symbol, tree)
            case syntax.Characters():
                return partial(self._characters, tree)
            case syntax.SourceLine():
                return partial(self._source_line, tree)
            case syntax.Switch():
                return partial(self._switch, tree)
            case syntax.String():
                return partial(self._string, tree)

    # ---- operands ---------------------------------------------------------------------------

    def _number(self, tree: syntax.Number) -> Value:
        number, ticked = tree.value, tree.ticked
        if _may_extend(number, ticked):
            return lambda context: _constant(context, number, ticked)
        return lambda _: number

    def _word(self, tree: syntax.Word) -> Value:
        plain = {radix: n for radix in RADIXES if (n := _plain(tree.text, radix)) is not None}
        look_up = partial(self._look_up, tree)

        def value(context: Context) -> int:
            number = plain.get(context.radix)
            return look_up(context) if number is None else number

        return value

    def _look_up(self, tree: syntax.Word, context: Context) -> int:
        try:
            number = plain_number(tree.text, context.radix)
        except TooBig:
            raise CommandSyntaxError(OVERFLOW, self._text, tree.column) from None
        if number is not None:
            return _constant(context, *number)
        name = tree.text.lower()
        if name in COMMON_REGISTERS:
            return self._register(name, tree.column)(context)
        if name.startswith("$"):
            value = context.pseudo(name)
            if value is not None:
                return _integer(value)
        address = context.symbol(tree.text)
        if address is None and "__" in tree.text.strip("_"):
            address = context.symbol(tree.text.replace("__", "::"))
        if address is None:
            address = context.register(name)
        if address is None:
            raise self._error(UNRESOLVED, tree.column)
        return address & MASK

    def _register(self, name: str, column: int) -> Value:
        pseudo = name.startswith("$")

        def value(context: Context) -> int:
            found = context.pseudo(name) if pseudo else context.register(name)
            if found is None:
                raise self._error(REGISTER, column)
            return _integer(found) & MASK

        return value

    def _symbol(self, tree: syntax.Symbol, context: Context) -> int:
        if tree.prefix == "$!":
            local = context.local(tree.name)
            address = local.place() if local else None
        else:
            address = context.symbol(tree.name)
        if address is None:
            raise self._error(UNRESOLVED, tree.column)
        return address & MASK

    def _characters(self, tree: syntax.Characters, _: Context) -> int:
        data = tree.text.encode("latin-1", "replace")
        if not data:
            raise CommandSyntaxError("Syntax error", self._text, tree.column)
        if len(data) > 8:
            raise CommandSyntaxError(OVERFLOW, self._text, tree.column)
        return int.from_bytes(data, "big")

    def _source_line(self, tree: syntax.SourceLine, context: Context) -> int:
        address = context.source_line(tree.module, tree.file, tree.line)
        if address is None:
            raise self._error(UNRESOLVED, tree.column)
        return address

    def _string(self, tree: syntax.String, _: Context) -> int:
        raise self._error(OPERAND, tree.column)

    def _switch(self, tree: syntax.Switch, context: Context) -> int:
        evaluator = Evaluator(context)
        try:
            if tree.language == "masm":
                return evaluator.masm(tree.text)
            return whole_number(evaluator.cpp(tree.text), tree.text, 0)
        except CommandSyntaxError as error:
            error.text, error.column = self._text, error.column + tree.text_column
            raise

    # ---- operators --------------------------------------------------------------------------

    def _unary(self, tree: syntax.Unary) -> Value:
        operand, plain = self.value(tree.operand), _UNARY.get(tree.operator)
        if plain is not None:
            return lambda context: plain(operand(context))
        kind = tree.operator.removeprefix("$p")
        physical = kind != tree.operator

        def read(context: Context) -> int:
            memory = context.physical if physical else context.memory
            address = operand(context)
            try:
                data = memory.read(address, _READS.get(kind, context.pointer_size))
            except MemoryFault as fault:
                raise self._error(MEMORY, self._last_token(tree.operand), fault.reason) from fault
            return int.from_bytes(data, "little")

        return read

    def _last_token(self, operand: syntax.Expression) -> int:
        """Where kd has read to when it finds an operand bad: its closing parenthesis, if any."""
        column = operand.column
        if not self._text[:column].rstrip().endswith("("):
            return column
        closing = self._text.find(")", parse.masm(self._text, column).end)
        return column if closing < 0 else closing

    def _binary(self, tree: syntax.Binary) -> Value:
        left, right = self.value(tree.left), self.value(tree.right)
        operate = _BINARY[tree.operator]
        if tree.operator not in "/%":
            return lambda context: operate(left(context), right(context)) & MASK

        def divide(context: Context) -> int:
            dividend, divisor = left(context), right(context)
            if divisor == 0:
                raise self._error(OPERAND, tree.right.column)
            return operate(dividend, divisor) & MASK

        return divide

    def _function(self, tree: syntax.Function) -> Value:
        arguments: list[str | Value] = [
            argument.text if isinstance(argument, syntax.String) else self.value(argument)
            for argument in tree.arguments
        ]

        def value(context: Context) -> int:
            given = [a if isinstance(a, str) else a(context) for a in arguments]
            try:
                return call(tree.name, given, context)
            except MemoryFault as fault:
                raise self._error(MEMORY, tree.column, fault.reason) from fault
            except FormatError as error:
                raise self._error(OPERAND, tree.column, str(error)) from error
            except TypeError:
                raise self._error(OPERAND, tree.column) from None

        return value

    def _error(self, message: str, column: int, reason: str = "") -> ExpressionError:
        return ExpressionError(message, self._text, column, reason)


def _may_extend(number: int, ticked: bool) -> bool:
    """Bare 32-bit constants are sign-extended by 32-bit targets; a tick prevents it."""
    return not ticked and 1 << 31 <= number < 1 << 32


def _constant(context: Context, number: int, ticked: bool) -> int:
    if context.pointer_size == 4 and _may_extend(number, ticked):
        return signed(number, 4) & MASK
    return number


def _plain(text: str, radix: int) -> int | None:
    """A word that is a number in a radix, whatever the target; None: it takes a closer look."""
    try:
        found = plain_number(text, radix)
    except TooBig:
        return None
    return None if found is None or _may_extend(*found) else found[0]


def _integer(value: Typed | int) -> int:
    return value if isinstance(value, int) else value.number()
