"""How numbers are read."""

from __future__ import annotations

import re
from functools import lru_cache

MASK = (1 << 64) - 1

RADIXES = (8, 10, 16)

_BASES = {"0x": 16, "0n": 10, "0t": 8, "0y": 2}
_PLAIN = {
    8: re.compile(r"[0-7]+"),
    10: re.compile(r"[0-9]+"),
    16: re.compile(r"[0-9A-Fa-f`]*[0-9A-Fa-f]`*"),
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", "a": "\a", "b": "\b"}


class TooBig(ValueError):
    """More than 64 bits; `column` is where the number stands, once that is known."""

    column = 0


def prefixed_number(text: str) -> tuple[int, bool]:
    """Value of `0x12`, `0n12`, `12h` ..., and whether a tick divides it."""
    base = _BASES.get(text[:2].lower())
    if base is None:
        return _digits(text[:-1], 16)
    return _digits(text[2:], base)


@lru_cache(maxsize=1024)
def plain_number(text: str, radix: int) -> tuple[int, bool] | None:
    """Value of bare digits, and whether a tick divides it; None for anything else."""
    if not _PLAIN[radix].fullmatch(text):
        return None
    return _digits(text, radix)


def integer(digits: str, base: int) -> int:
    """A number of at most 64 bits; no digits are zero."""
    digits = digits.lstrip("0")
    # As many as a number in base 2 has; Python itself refuses to read thousands of them.
    if len(digits) > 64 or (value := int(digits or "0", base)) > MASK:
        raise TooBig(digits)
    return value


def _digits(digits: str, base: int) -> tuple[int, bool]:
    # The tick stands between the high and the low 32 bits, so 1`0 is 0x100000000.
    high, tick, low = digits.partition("`")
    low = low.replace("`", "")
    if tick and base == 16 and len(low) <= 8:
        value = integer(high, 16) << 32 | integer(low, 16)
    else:
        value = integer(digits.replace("`", ""), base)
    if value > MASK:
        raise TooBig(digits)
    return value, bool(tick)


def line_number(text: str) -> int:
    """A source line: decimal unless it says 0x; nothing is the start of the file."""
    text = text.strip()
    if text[:2].lower() == "0x":
        return integer(text[2:], 16)
    return integer(text, 10)


def signed(value: int, size: int = 8) -> int:
    """The low `size` bytes read as a signed number."""
    bits = size * 8
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def unescape(text: str, digits: int = 2) -> str:
    r"""C escapes: `\n`, `\t`, `\"`, `\x41`, `\101`; an unknown one stands for its character.

    Args:
        text: what stands between the quotes.
        digits: how many digits `\x` takes.
    """

    def replace(match: re.Match[str]) -> str:
        escape = match[1]
        if escape[0] == "x" and len(escape) > 1:
            return chr(int(escape[1:], 16))
        if escape[0] in "01234567":
            return chr(int(escape, 8) & 0xFF)
        return _ESCAPES.get(escape, escape)

    pattern = rf"\\(x[0-9A-Fa-f]{{1,{digits}}}|[0-7]{{1,3}}|.)"
    return re.sub(pattern, replace, text, flags=re.DOTALL)


def without_quoting(text: str) -> str:
    r"""One level of quoting less: `\"` and `\\` lose a backslash, `\n` does not."""
    return re.sub(r'\\(["\\])', r"\1", text)
