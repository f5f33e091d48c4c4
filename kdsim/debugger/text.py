"""How kd writes numbers."""

from __future__ import annotations


def address(value: int) -> str:
    """``fffff800`12345678``."""
    value &= (1 << 64) - 1
    return f"{value >> 32:08x}`{value & 0xFFFF_FFFF:08x}"


def signed(value: int, bits: int = 64) -> int:
    """The two's complement reading of an unsigned value."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value
