"""WinDbg's string wildcards, as regular expressions.

`*` zero or more characters, `?` one, `[a-z0]` one of a set, `#` zero or more of the preceding
element, `+` one or more of it; a backslash takes the next character literally. Matching ignores
case.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple, Protocol

_FLAGS = re.IGNORECASE | re.DOTALL
_MOST_REPEATED = 1
"""Repeated elements, other than stars, with which a regular expression is sure to end soon."""

_SPECIAL = frozenset("*?[]#+\\")


def has_wildcard(text: str) -> bool:
    """Whether `text` is a pattern rather than a plain name."""
    return not _SPECIAL.isdisjoint(text)


class Element(NamedTuple):
    """One piece of a pattern: a regular expression for one character, and how often it may come."""

    source: str
    repeats: bool = False


class Matcher(Protocol):
    """What a compiled pattern can do."""

    def fullmatch(self, text: str, /) -> object | None: ...


def _elements(pattern: str, *, symbol: bool) -> list[Element]:
    """The pieces of a pattern; `x+` becomes `x` and any number of `x`."""
    found: list[Element] = []
    position = 0
    if symbol and pattern.startswith("_"):
        found.append(Element("_", repeats=True))
        position = len(pattern) - len(pattern.lstrip("_"))
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            if not found or found[-1] != _ANYTHING:
                found.append(_ANYTHING)
        elif char == "?":
            found.append(Element("."))
        elif char == "#" and found:
            found[-1] = found[-1]._replace(repeats=True)
        elif char == "+" and found:
            found.append(found[-1]._replace(repeats=True))
        elif char == "[" and (close := pattern.find("]", position + 1)) > 0:
            found.append(Element(_set(pattern[position:close])))
            position = close + 1
        elif char == "\\" and position < len(pattern):
            found.append(Element(re.escape(pattern[position])))
            position += 1
        else:
            found.append(Element(re.escape(char)))
    return found


_ANYTHING = Element(".", repeats=True)


def _source(elements: list[Element]) -> str:
    """Regular-expression text, anchored by the caller.

    What stands between two stars is looked for from left to right and, once found, never looked
    for again: the second star makes up for the rest. So a mismatch costs no more than a match.
    """
    pieces: list[str] = []
    segment: list[str] | None = None
    for element in elements:
        if element == _ANYTHING:
            if segment is not None:
                pieces.append(f"(?>.*?{''.join(segment)})")
            segment = []
        else:
            text = f"{element.source}*" if element.repeats else element.source
            (pieces if segment is None else segment).append(text)
    return "".join(pieces) + ("" if segment is None else f".*{''.join(segment)}")


class _Simulated:
    """Follows every way through the pattern at once, for what makes `re` try them one by one."""

    def __init__(self, elements: list[Element]) -> None:
        self._tests = [re.compile(element.source, _FLAGS).fullmatch for element in elements]
        self._repeats = [element.repeats for element in elements]

    def fullmatch(self, text: str, /) -> object | None:
        states = self._reached({0})
        for char in text:
            here = {n for n in states if n < len(self._tests) and self._tests[n](char)}
            states = self._reached({n if self._repeats[n] else n + 1 for n in here})
        return text if len(self._tests) in states else None

    def _reached(self, states: set[int]) -> set[int]:
        """These states, and those behind elements that need not come."""
        reached: set[int] = set()
        for state in states:
            reached.add(state)
            while state < len(self._repeats) and self._repeats[state]:
                state += 1
                reached.add(state)
        return reached


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
def compile_wildcard(pattern: str, *, symbol: bool = False) -> Matcher:
    """A compiled pattern; use its `fullmatch`.

    Args:
        pattern: string wildcard.
        symbol: a symbol pattern, where a leading `_` stands for any number of underscores.
    """
    elements = _elements(pattern, symbol=symbol)
    if sum(element.repeats for element in elements if element != _ANYTHING) > _MOST_REPEATED:
        return _Simulated(elements)
    return re.compile(_source(elements), _FLAGS)


def matches(pattern: str, text: str) -> bool:
    """Whether all of `text` fits `pattern`."""
    return compile_wildcard(pattern).fullmatch(text) is not None
