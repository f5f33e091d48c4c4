"""The two lines at the bottom: what the typed command takes, and how the target stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdsim.debugger.commands import tokens
from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.registry import Command
from kdsim.debugger.commands.tokens import Token
from kdsim.debugger.inspect.processes import image_name
from kdsim.debugger.shell.places import Place, Places
from kdsim.debugger.text import clip, width
from kdsim.errors import KdsimError

if TYPE_CHECKING:
    from prompt_toolkit.formatted_text import StyleAndTextTuples

    from kdsim.debugger.session import Session

KEYS = "Tab completes   F1 explains   Ctrl+R searches what was typed   q leaves"
LOW = 8
"""Lines of a terminal that has no room for a second line at the bottom."""
BETWEEN = " | "
ROOM = 24
"""Columns that what matters now needs; where they are missing it stands alone."""

# What a narrow terminal goes without, the first first; that the target stands is always said.
_DISPENSABLE = ("target", "build", "irql", "processor", "process")


class BottomLine:
    """Asks the target once for each stop, never for a key."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._places = Places()
        self._asked: tuple[object, ...] = ()
        self._facts: dict[str, str] = {}

    def __call__(self, typed: str, columns: int, rows: int) -> StyleAndTextTuples:
        """Both lines in prompt_toolkit's pieces."""
        status = f" {self.status(columns - 2)}"
        status += " " * (columns - width(status))
        if rows <= LOW:
            return [("class:status", status)]
        hint = clip(f" {self.hint(typed, columns)}", columns)
        return [("class:hint", f"{hint}\n"), ("class:status", status)]

    # ---- the target -------------------------------------------------------------------------

    def status(self, columns: int) -> str:
        """As much of it as fits into a line."""
        facts = self._known()
        for dropped in ("", *_DISPENSABLE):
            facts = {name: text for name, text in facts.items() if name != dropped and text}
            line = BETWEEN.join(facts.values())
            if width(line) <= columns:
                return line
        return clip(line, columns)

    def _known(self) -> dict[str, str]:
        session = self._session
        scope = session.scope
        here = (session.event, session.processor, scope, scope.process, scope.thread, session.lost)
        if not self._facts or self._asked != here:
            self._asked, self._facts = here, self._ask()
        return self._facts

    def _ask(self) -> dict[str, str]:
        session = self._session
        facts = session.facts
        stopped = (session.halted or session.dump) and session.lost is None
        return {
            "target": session.backend.description,
            "build": f"{facts.version.minor} {facts.machine}" if facts else "",
            "processor": f"cpu {session.processor}/{session.processors}" if stopped else "",
            "irql": self._irql() if stopped else "",
            "process": self._process() if stopped else "",
            "state": self._state(),
        }

    def _state(self) -> str:
        session = self._session
        if session.lost is not None:
            return "no answer"
        if session.dump:
            return "crash dump"
        return "broken in" if session.halted else "running"

    def _irql(self) -> str:
        session = self._session
        try:
            block = session.resolve_nt("nt!KiProcessorBlock") + 8 * session.processor
            prcb = session.nt_view("_KPRCB", session.memory.u64(block))
            return f"IRQL {int(prcb.DebuggerSavedIRQL)}"
        except KdsimError:
            return ""

    def _process(self) -> str:
        session = self._session
        try:
            process = session.nt_view("_EPROCESS", session.current_process())
            return f"{image_name(process)} {int(process.UniqueProcessId):x}"
        except KdsimError:
            return ""

    # ---- the command ------------------------------------------------------------------------

    def hint(self, typed: str, columns: int) -> str:
        """What the command at the cursor takes, and what its present argument means."""
        if not typed.strip():
            return KEYS
        place = self._places.at(typed)
        found = explained_at(place)
        if place is None or found is None:
            return ""
        meaning, param = found.summary, place.param
        if isinstance(found, Token):
            usage = found.form(place.token or place.word)
        else:
            usage = found.usage()
            if param is not None and param.summary:
                meaning = f"{param.name}: {param.summary}"
        return f"{usage}   {meaning}" if width(usage) + ROOM < columns else meaning


def explained_at(place: Place | None) -> Command | Token | None:
    """What has a help page and its name, or its text, at the cursor."""
    if place is None:
        return None
    if place.match is not None:
        return place.match.command
    if "command" not in place.kinds:
        return tokens.find(place.token)
    match = REGISTRY.match(place.word)
    return match.command if match is not None else tokens.find(place.word)
