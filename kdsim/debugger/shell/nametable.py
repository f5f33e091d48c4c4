"""A large sorted set of names, asked by prefix or wildcard at every TAB."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator

from kdsim.symbols.wildcard import compile_wildcard, has_wildcard

_CHOICES = re.compile(r"[\[\]#+\\]")


class NameTable:
    """Names in order, whatever their case. 100,000 of them take milliseconds to search."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(set(names), key=str.lower)
        self._folded = [name.lower() for name in self._names]
        self._text = ""

    def __len__(self) -> int:
        return len(self._names)

    def find(self, typed: str) -> Iterator[str]:
        """Names that begin with what is typed; wildcards are honoured as kd honours them."""
        folded = typed.lower()
        if has_wildcard(folded):
            yield from self._fitting(folded)
            return
        for index in range(bisect_left(self._folded, folded), len(self._names)):
            if not self._folded[index].startswith(folded):
                return
            yield self._names[index]

    def _fitting(self, pattern: str) -> Iterator[str]:
        if not self._text:
            self._text = "\n".join(dict.fromkeys(self._folded))
        fits = compile_wildcard(f"{pattern}*", symbol=True).fullmatch
        for name in filter(fits, self._candidates(_longest_literal(pattern))):
            index = bisect_left(self._folded, name)
            while index < len(self._names) and self._folded[index] == name:
                yield self._names[index]
                index += 1

    def _candidates(self, literal: str) -> Iterator[str]:
        """Names that hold a piece of text: one search through all of them is fast."""
        if not literal:
            yield from self._text.split("\n")
            return
        text, place = self._text, self._text.find(literal)
        while place >= 0:
            end = text.find("\n", place)
            end = len(text) if end < 0 else end
            yield text[text.rfind("\n", 0, place) + 1 : end]
            place = text.find(literal, end)


def _longest_literal(pattern: str) -> str:
    """What every name must hold; nothing is sure where a pattern repeats or chooses.

    A leading underscore stands for any number of them.
    """
    if _CHOICES.search(pattern):
        return ""
    return max(reversed(re.split(r"[*?]", pattern)), key=len).strip("_")
