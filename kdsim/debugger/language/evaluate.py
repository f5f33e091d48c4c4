"""Evaluates expressions in either language.

The evaluators themselves are loaded with the first expression in their language.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from kdsim.debugger.language.numbers import MASK
from kdsim.debugger.language.problems import DEEP, EXTRA, TYPE, ExpressionError
from kdsim.errors import CommandSyntaxError
from kdsim.symbols.types import Record

if TYPE_CHECKING:
    from kdsim.debugger.language.context import Context
    from kdsim.debugger.language.typed import Typed


@functools.cache
def _masm() -> Callable[[Context, str, int], tuple[int, int]]:
    from kdsim.debugger.language.evaluate_masm import evaluate_prefix

    return evaluate_prefix


@functools.cache
def _cpp() -> Callable[[Context, str, int], tuple[Typed, int]]:
    from kdsim.debugger.language.evaluate_cpp import evaluate_prefix

    return evaluate_prefix


def whole_number(value: Typed, text: str, column: int) -> int:
    """What a command or MASM takes a C++ value for; a structure is no number."""
    if isinstance(value.type, Record):
        raise ExpressionError(TYPE, text, column)
    return value.number() & MASK


class Evaluator:
    """Text to value, with the names and memory of a `Context`."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def evaluate(self, text: str) -> int:
        """The value of `text` in the default language."""
        value, end = self.prefix(text)
        self._at_end(text, end)
        return value

    def masm(self, text: str) -> int:
        """The value of a MASM expression that fills `text`."""
        value, end = self.masm_prefix(text)
        self._at_end(text, end)
        return value

    def cpp(self, text: str) -> Typed:
        """The value of a C++ expression that fills `text`."""
        from kdsim.debugger.language.evaluate_cpp import evaluate_whole

        try:
            return evaluate_whole(self.context, text)
        except RecursionError:
            raise CommandSyntaxError(DEEP, text) from None

    def prefix(self, text: str, start: int = 0) -> tuple[int, int]:
        """Value and end of the longest expression at `start`, in the default language."""
        if self.context.evaluator == "masm":
            return self.masm_prefix(text, start)
        value, end = self.cpp_prefix(text, start)
        return whole_number(value, text, start), end

    def masm_prefix(self, text: str, start: int = 0) -> tuple[int, int]:
        """Value and end of the longest MASM expression at `start`."""
        try:
            return _masm()(self.context, text, start)
        except RecursionError:
            raise CommandSyntaxError(DEEP, text, start) from None

    def cpp_prefix(self, text: str, start: int = 0) -> tuple[Typed, int]:
        """Value and end of the longest C++ expression at `start`."""
        try:
            return _cpp()(self.context, text, start)
        except RecursionError:
            raise CommandSyntaxError(DEEP, text, start) from None

    def _at_end(self, text: str, end: int) -> None:
        if end < len(text) and text[end:].strip():
            column = len(text) - len(text[end:].lstrip())
            raise CommandSyntaxError(EXTRA, text, column)
