"""TAB: what kind of thing fits at the cursor (`places.py`), then the words (`words.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion

from kdsim.debugger.shell.places import Place, Places
from kdsim.debugger.shell.words import Word, Words

if TYPE_CHECKING:
    from prompt_toolkit.document import Document

    from kdsim.debugger.commands.engine import Engine

LIMIT = 500
"""Words offered at once; nobody reads further."""

_OPERATOR = re.compile(r".*[*?:]", re.DOTALL)


class KdCompleter(Completer):
    """Completes everything a command line may hold."""

    def __init__(self, engine: Engine) -> None:
        self._words = Words(engine)
        self.places = Places(self._words.known.is_type, lambda: engine.context.evaluator)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        place = self.places.at(document.text_before_cursor)
        if place is None:
            return
        words = list(self._offered(place))
        operator = _OPERATOR.match(place.word)
        if operator and not words and "symbol" in place.kinds:
            # What could have been a wildcard is a multiplication.
            place = replace(place, word=place.word[operator.end() :])
            words = list(self._offered(place))
        for word in words:
            shown = word.shown or word.text
            yield Completion(word.text, -len(place.word), display=shown, display_meta=word.meta)

    def _offered(self, place: Place) -> Iterator[Word]:
        seen: set[str] = set()
        for word in islice(self._words.of(place), LIMIT):
            if word.text not in seen:
                seen.add(word.text)
                yield word
