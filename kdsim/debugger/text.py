"""How kd writes numbers, and how wide text is on a terminal."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass


def address(value: int) -> str:
    """``fffff800`12345678``."""
    value &= (1 << 64) - 1
    return f"{value >> 32:08x}`{value & 0xFFFF_FFFF:08x}"


def signed(value: int, bits: int = 64) -> int:
    """The two's complement reading of an unsigned value."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


@dataclass(frozen=True, slots=True)
class IntegerStyle:
    """What `.typeopt` makes of integers.

    Attributes:
        radix, long_radix: of integers, and of `long` ones; 0: each command's own way.
        unicode: 16-bit arrays and pointers are text.
    """

    radix: int = 0
    long_radix: int = 0
    unicode: bool = False

    def text(self, value: int, size: int, c_name: str) -> str:
        """An integer in the radix its type is to have; nothing where that is left open."""
        radix = self.long_radix if c_name in ("long", "unsigned long") else self.radix
        raw = value & (1 << 8 * size) - 1
        if radix == 10:
            return f"0n{raw if c_name.startswith('unsigned') else signed(raw, 8 * size)}"
        if radix == 8:
            return f"0t{raw:o}"
        return f"0x{address(raw) if raw >> 32 else format(raw, 'x')}" if radix else ""


PLAIN = IntegerStyle()


def width(text: str) -> int:
    """Columns of a terminal: two for Korean and its like, none for combining marks."""
    if text.isascii():
        return len(text)
    return sum(_width(char) for char in text)


def clip(text: str, columns: int) -> str:
    """As much of the text as fits."""
    if len(text) <= columns and text.isascii():
        return text
    taken = 0
    for index, char in enumerate(text):
        taken += _width(char)
        if taken > columns:
            return text[:index]
    return text


def _width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
