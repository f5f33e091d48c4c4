"""Fields that may not be readable: the rest of a report is worth printing without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from kdsim.errors import MemoryFault, SymbolError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands where a value would: prints why there is none, whatever format is asked for."""

    reason: str

    def __format__(self, spec: str) -> str:
        return f"<{self.reason}>"


def attempt(read: Callable[[], T]) -> T | Unreadable:
    """What `read` returns, or why it could not: a missing page, a field this kernel lacks."""
    try:
        return read()
    except (MemoryFault, SymbolError) as error:
        return Unreadable(str(error))


def known(value: T | Unreadable, default: T) -> T:
    """The value, or `default` where it could not be read."""
    return default if isinstance(value, Unreadable) else value
