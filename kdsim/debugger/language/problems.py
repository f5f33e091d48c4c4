"""How a bad expression is reported, in WinDbg's wording.

A malformed text gets a caret: ``   ^ Syntax error in '? (1'``. A well-formed expression that has
no value names what is left from there on: ``Couldn't resolve error at 'foo+4'``.
"""

from __future__ import annotations

from kdsim.errors import CommandSyntaxError

SYNTAX = "Syntax error"
EXTRA = "Extra character error"
RANGE = "Range error"
REGISTER = "Bad register error"
OVERFLOW = "Overflow error"
OPERAND = "Operand error"
MEMORY = "Memory access error"
UNRESOLVED = "Couldn't resolve error"
TYPE = "Type conflict error"
DEEP = "Operators nested too deeply"
MISSING = "Numeric expression missing"


class MissingExpression(CommandSyntaxError):
    """An operand was expected where something else, or nothing, stands."""

    def __init__(self, text: str, column: int) -> None:
        super().__init__(MISSING, text, column)

    def __str__(self) -> str:
        return f"{' ' * self.column}^ {self.message} from '{self.rest}'"


class ExpressionError(CommandSyntaxError):
    """A well-formed expression without a value; `column` is the operand at fault."""

    def __init__(self, message: str, text: str, column: int, reason: str = "") -> None:
        super().__init__(message, text, column)
        self.reason = reason

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.message} at '{self.rest}'{reason}"
