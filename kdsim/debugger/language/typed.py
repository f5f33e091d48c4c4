"""A value with its C type."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kdsim.symbols.types import Type

INDEFINITE = -(1 << 63)
"""The "integer indefinite" of the processor's conversion from floating point."""


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
        """The value as an integer; what none can hold becomes what the processor makes of it."""
        if isinstance(self.value, float) and not math.isfinite(self.value):
            return INDEFINITE
        return int(self.value)
