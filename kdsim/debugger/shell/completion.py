"""What may follow at the cursor: a command first, then the words that fit behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.errors import KdsimError, UnknownCommand

if TYPE_CHECKING:
    from kdsim.debugger.session import Session
    from kdsim.symbols.module import Module

LIMIT = 500
"""Names offered at once; nobody reads further."""

_STATEMENT = re.compile(r"[^;{}]*$")
_WORD = re.compile(r"[\w!$?@:.\\]*$")


class KdCompleter(Completer):
    """Completes command names, then symbols, types, modules, registers and files."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._paths = PathCompleter(expanduser=True)
        self._sources: dict[str, Callable[[str], Iterable[str]]] = {
            "type": self._types,
            "module": self._modules,
            "register": lambda _typed: session.register_names(),
            "command": lambda _typed: REGISTRY.names(),
        }

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        found = _STATEMENT.search(document.text_before_cursor)
        statement = found[0].lstrip() if found else ""
        if " " not in statement:
            yield from self._commands(statement)
            return
        kind = _parameter_kind(statement)
        if kind == "file":
            path = statement.rsplit(" ", 1)[-1]
            yield from self._paths.get_completions(Document(path), complete_event)
            return
        word = _WORD.search(statement)
        yield from self._words(kind, word[0] if word else "")

    def _commands(self, typed: str) -> Iterator[Completion]:
        lowered = typed.lower()
        for name in REGISTRY.names():
            declared = REGISTRY.get(name) if name.lower().startswith(lowered) else None
            if declared is not None:
                yield Completion(name, -len(typed), display_meta=declared.summary)

    def _words(self, kind: str, typed: str) -> Iterator[Completion]:
        if typed.startswith("@"):
            names: Iterable[str] = (f"@{name}" for name in self._session.register_names())
        else:
            names = self._sources.get(kind, self._symbols)(typed)
        try:
            offered = sorted({n for n in islice(names, LIMIT) if _begins(n, typed)})
        except KdsimError:
            # Unreadable memory or no symbols: nothing to offer; the command itself will say why.
            return
        for name in offered:
            yield Completion(name, -len(typed))

    def _modules(self, typed: str) -> Iterator[str]:
        return (m.name for m in self._session.symbols.modules if _begins(m.name, typed))

    def _symbols(self, typed: str) -> Iterator[str]:
        module, mark, name = typed.rpartition("!")
        for loaded in self._named(module, mark):
            if not mark and _begins(loaded.name, typed):
                yield f"{loaded.name}!"
            if mark or (len(typed) > 1 and loaded.pdb is not None):
                matches = self._session.symbols.match(f"{loaded.name}!{name}*")
                yield from (found.name if mark else found.symbol.name for found in matches)

    def _types(self, typed: str) -> Iterator[str]:
        module, mark, name = typed.rpartition("!")
        for loaded in self._named(module, mark):
            if not mark and _begins(loaded.name, typed):
                yield f"{loaded.name}!"
            if mark or (len(typed) > 1 and loaded.pdb is not None):
                names = self._session.symbols.type_names(loaded.name, f"{name}*")
                yield from (f"{loaded.name}!{found}" if mark else found for found in names)

    def _named(self, module: str, mark: str) -> list[Module]:
        """The module that was typed, or all."""
        modules = self._session.symbols.modules
        return [m for m in modules if not mark or m.name.lower() == module.lower()]


def _begins(name: str, typed: str) -> bool:
    return name.lower().startswith(typed.lower())


def _parameter_kind(statement: str) -> str:
    """What the declaration of the command says may stand where the last word stands."""
    try:
        match = REGISTRY.find(statement)
    except UnknownCommand:
        return ""
    params = [param for param in match.command.params if param.kind != "flags"]
    words = [word for word in match.rest.split(" ")[:-1] if word and word[0] not in "-/"]
    return params[min(len(words), len(params) - 1)].kind if params else ""
