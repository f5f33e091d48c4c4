"""What an expression needs to know of the debuggee.

The language knows neither sessions nor backends: whoever evaluates hands it a `Context`.
"""

from __future__ import annotations

from typing import Protocol

from kdsim.debugger.language.typed import Typed
from kdsim.symbols.memory import Memory
from kdsim.symbols.types import Type


class Context(Protocol):
    """Names, numbers and memory as they are at this moment.

    A look-up answers None when there is nothing of that name; it raises a KdsimError when there
    is, but it cannot be had (an unreadable register, an ambiguous name).
    """

    radix: int
    """8, 10 or 16: how plain digits are read."""
    evaluator: str
    """"masm" or "c++": the language of an expression that does not name one."""

    @property
    def pointer_size(self) -> int: ...

    @property
    def memory(self) -> Memory: ...

    @property
    def physical(self) -> Memory: ...

    def here(self) -> int:
        """The instruction pointer of the current scope: `.` and `$ip`."""

    def symbol(self, name: str) -> int | None:
        """Address of `x` or `mod!x`; of a module, its base. A local variable wins over a global."""

    def local(self, name: str) -> Typed | None:
        """The local variable of the current frame: `$!x`."""

    def typed_symbol(self, name: str) -> Typed | None:
        """A variable or function with its type, as an lvalue; an enumerator with its value.

        A local wins over a global, unless the name begins with `!` or a module.
        """

    def type(self, name: str) -> Type | None:
        """`_EPROCESS` or `nt!_EPROCESS`, complete."""

    def register(self, name: str) -> int | None:
        """A register or flag, its own width."""

    def pseudo(self, name: str) -> Typed | int | None:
        """A pseudo-register, its name with the `$`."""

    def set_pseudo(self, name: str, value: Typed | int) -> None:
        """Set `$t0` ... `$t19`, `$exp`, `$p`."""

    def source_line(self, module: str, file: str, line: int) -> int | None:
        """Address of a line, of the file's start for line 0.

        Empty strings mean any module and the current file.
        """

    def describe(self, va: int) -> str:
        """`nt!Name+0x12`, or the plain address when no symbol is near."""

    def describe_line(self, va: int) -> str:
        """`file.c @ 12`, or nothing when no line is known."""

    def function_type(self, va: int) -> Type | None:
        """The declared type of the function at an address."""
