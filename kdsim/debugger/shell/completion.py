"""What may follow at the cursor: commands first, then the words that fit behind them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.errors import KdsimError

if TYPE_CHECKING:
    from kdsim.debugger.session import Session

SYMBOL_LIMIT = 200
_COMMAND_START = re.compile(r"(?:^|[;{}])\s*([^;{}]*)$")
_WORD = re.compile(r"[\w!$?@:~.]*$")


class KdCompleter(Completer):
    """Completes command names, then symbols, modules and registers."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        before = document.text_before_cursor
        start = _COMMAND_START.search(before)
        command = start[1] if start else before
        if " " not in command:
            yield from self._commands(command)
            return
        word = _WORD.search(before)
        yield from self._words(word[0] if word else "")

    def _commands(self, typed: str) -> Iterator[Completion]:
        lowered = typed.lower()
        for name in REGISTRY.names():
            if name.lower().startswith(lowered):
                declared = REGISTRY.get(name)
                summary = declared.summary if declared else ""
                yield Completion(name, start_position=-len(typed), display_meta=summary)

    def _words(self, typed: str) -> Iterator[Completion]:
        if typed.startswith("@"):
            names: Iterable[str] = (f"@{name}" for name in self._session.register_names())
        else:
            names = self._symbols(typed)
        lowered = typed.lower()
        for name in islice((n for n in names if n.lower().startswith(lowered)), SYMBOL_LIMIT):
            yield Completion(name, start_position=-len(typed))

    def _symbols(self, typed: str) -> Iterator[str]:
        mark = "!" in typed
        symbols = self._session.symbols
        if not mark:
            yield from sorted(f"{loaded.name}!" for loaded in symbols.modules)
            return
        try:
            yield from sorted(
                {found.name for found in islice(symbols.match(f"{typed}*"), 20 * SYMBOL_LIMIT)}
            )
        except KdsimError:
            # No symbols for that module: nothing to offer; the command itself will say why.
            return
