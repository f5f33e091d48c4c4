"""Floating-point and vector registers as `r` writes them."""

from __future__ import annotations

import re
import struct
from decimal import Decimal, localcontext
from math import copysign, frexp, isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdsim.debugger.registers import RegisterFile

EXTENDED_BITS = 80
XMM_BITS = 128

_WIDTHS = {"b": 8, "w": 16, "d": 32, "q": 64}
_DECIMAL = re.compile(r"[+-]?\d+(?:\.\d*(?:e[+-]?\d+)?|e[+-]\d+)", re.IGNORECASE)
_EXPONENT_BIAS = 16383
_FRACTION_BITS = 63

# Letters of the exceptions, high bit first: precision, underflow ... invalid operation.
_EXCEPTIONS = "puozdi"
_ROUNDING = ("rn", "rd", "ru", "rc")
_PRECISION = ("24", "??", "53", "64")


def typed_text(value: int, bits: int, kind: str, count: int = 0) -> str:
    """A vector register as numbers of one type, the highest first; `count` of them, 0: all."""
    width = {"f": 32, "d": 64}.get(kind) or _WIDTHS[kind[-1]]
    data = value.to_bytes(bits // 8, "little")
    pieces = [data[i : i + width // 8] for i in range(0, len(data), width // 8)]
    if kind in ("f", "d"):
        parts = [f"{struct.unpack(f'<{kind}', piece)[0]:g}" for piece in pieces]
    elif kind[0] == "i":
        parts = [str(int.from_bytes(piece, "little", signed=True)) for piece in pieces]
    else:
        parts = [piece[::-1].hex() for piece in pieces]
    return " ".join(reversed(parts[: count or len(parts)]))


def extended_value(text: str) -> int | None:
    """The 80 bits of a number that is written with a point or an exponent; None for other text."""
    if not _DECIMAL.fullmatch(text):
        return None
    number = float(text)
    if not isfinite(number):
        return None
    fraction, exponent = frexp(abs(number))
    sign = int(copysign(1.0, number) < 0) << 79
    if not fraction:
        return sign
    return sign | (exponent - 1 + _EXPONENT_BIAS) << 64 | int(fraction * 2.0**64)


def extended_text(value: int) -> str:
    """An 80-bit number: ` 1.500000000000000000000e+0000`."""
    sign = "-" if value >> 79 else " "
    exponent, fraction = value >> 64 & 0x7FFF, value & (1 << 64) - 1
    if exponent == 0x7FFF:
        return f"{sign}{'inf' if fraction << 1 & (1 << 64) - 1 == 0 else 'nan'}"
    with localcontext() as context:
        context.prec = 60
        context.Emax, context.Emin = 10_000, -10_000
        scale = max(exponent, 1) - _EXPONENT_BIAS - _FRACTION_BITS
        number = Decimal(fraction) * Decimal(2) ** scale
        mantissa, _, power = f"{number:.21e}".partition("e")
    return f"{sign}{mantissa}e{int(power) if number else 0:+05d}"


def float_lines(registers: RegisterFile) -> list[str]:
    """Control, status and tag word taken apart, then the eight registers."""
    control, status = registers["fpcw"], registers["fpsw"]
    masks = _letters(control)
    rounding, precision = _ROUNDING[control >> 10 & 3], _PRECISION[control >> 8 & 3]
    condition = "".join(str(status >> bit & 1) for bit in (14, 10, 9, 8))
    flags = f"{'b' if status >> 15 & 1 else '-'}{'s' if status >> 6 & 1 else '-'}{_letters(status)}"
    lines = [
        f"fpcw={control:04X}: {rounding} {precision} {masks}  "
        f"fpsw={status:04X}: top={status >> 11 & 7:x} cc={condition} {flags}  "
        f"fptw={registers['fptw']:04X}",
        f"fopcode={registers['fpopcode']:04X}  "
        f"fpip={registers['fpipsel']:04x}:{registers['fpip']:08x}  "
        f"fpdp={registers['fpdpsel']:04x}:{registers['fpdp']:08x}",
    ]
    cells = [f"st{n}={extended_text(registers[f'st{n}'])}" for n in range(8)]
    lines += ["  ".join(cells[i : i + 2]) for i in range(0, 8, 2)]
    return [*lines, f"mxcsr={registers['mxcsr']:08x}"]


def _letters(word: int) -> str:
    """The exceptions whose bits are set."""
    bits = range(5, -1, -1)
    return "".join(
        letter if word >> bit & 1 else "-" for letter, bit in zip(_EXCEPTIONS, bits, strict=True)
    )
