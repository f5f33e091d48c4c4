"""WinDbg's string wildcards, as regular expressions.

`*` zero or more characters, `?` one, `[a-z0]` one of a set, `#` zero or more of the preceding
element, `+` one or more of it; a backslash takes the next character literally. Matching ignores
case.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SPECIAL = frozenset("*?[]#+\\")


def has_wildcard(text: str) -> bool:
    """Whether `text` is a pattern rather than a plain name."""
    return not _SPECIAL.isdisjoint(text)


def pattern_source(pattern: str, *, symbol: bool = False) -> str:
    """Regular-expression text for `pattern`, anchored by the caller.

    Args:
        pattern: string wildcard.
        symbol: a symbol pattern, where a leading `_` stands for any number of underscores.
    """
    out: list[str] = []
    position = 0
    if symbol and pattern.startswith("_"):
        out.append("_*")
        position = len(pattern) - len(pattern.lstrip("_"))
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            out.append(".*")
        elif char == "?":
            out.append(".")
        elif char == "#" and out:
            out[-1] = f"(?:{out[-1]})*"
        elif char == "+" and out:
            out[-1] = f"(?:{out[-1]})+"
        elif char == "[" and (close := pattern.find("]", position + 1)) > 0:
            out.append(_set(pattern[position:close]))
            position = close + 1
        elif char == "\\" and position < len(pattern):
            out.append(re.escape(pattern[position]))
            position += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def _set(body: str) -> str:
    """The inside of `[...]`; an upside-down range means its two ends, as typed."""
    parts: list[str] = []
    position = 0
    while position < len(body):
        low = body[position]
        if body[position + 1 : position + 2] == "-" and position + 2 < len(body):
            high = body[position + 2]
            low, high = min(low, high), max(low, high)
            parts.append(f"{re.escape(low)}-{re.escape(high)}")
            position += 3
        else:
            parts.append(re.escape(low))
            position += 1
    return f"[{''.join(parts)}]"


@lru_cache(maxsize=256)
def compile_wildcard(pattern: str, *, symbol: bool = False) -> re.Pattern[str]:
    """A compiled pattern; use its `fullmatch`."""
    return re.compile(pattern_source(pattern, symbol=symbol), re.IGNORECASE | re.DOTALL)


def matches(pattern: str, text: str) -> bool:
    """Whether all of `text` fits `pattern`."""
    return compile_wildcard(pattern).fullmatch(text) is not None
