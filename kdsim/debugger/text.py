"""How kd writes numbers, and how wide text is on a terminal."""

from __future__ import annotations

import unicodedata


def address(value: int) -> str:
    """``fffff800`12345678``."""
    value &= (1 << 64) - 1
    return f"{value >> 32:08x}`{value & 0xFFFF_FFFF:08x}"


def signed(value: int, bits: int = 64) -> int:
    """The two's complement reading of an unsigned value."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


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
