"""A value with its C type."""

from __future__ import annotations

from dataclasses import dataclass

from kdsim.symbols.types import Type


@dataclass(frozen=True, slots=True)
class Typed:
    """What a C++ expression yields.

    Attributes:
        type: complete type of the value.
        value: the number; for a record or an array, which have none, its address.
        address: where the value lies in memory; None when it is not an lvalue.
    """

    type: Type
    value: int | float
    address: int | None = None

    def place(self) -> int:
        """What a MASM expression takes a variable for: its address, or what its register holds."""
        return self.number() if self.address is None else self.address

    def number(self) -> int:
        """The value as an integer."""
        return int(self.value)
