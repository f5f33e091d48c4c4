"""The interactive `kd>`: history, completion, highlighting."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.styles import Style, merge_styles, style_from_pygments_cls

from kdsim.debugger.shell.completion import KdCompleter
from kdsim.debugger.shell.lexers import KdLexer
from kdsim.debugger.shell.styles import STYLES
from kdsim.debugger.shell.terminal import working
from kdsim.errors import TargetEnded

if TYPE_CHECKING:
    from kdsim.debugger.session import Session


def history_path() -> Path:
    """`$XDG_STATE_HOME/kdsim/history`, by default under `~/.local/state`."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "kdsim" / "history"


def _history() -> History:
    path = history_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError:
        # A read-only home costs the history, not the session.
        return InMemoryHistory()
    return FileHistory(str(path))


class Prompt:
    """Reads command lines from the terminal and runs them until the session ends."""

    def __init__(self, session: Session, *, style: str, colour: bool) -> None:
        self._session = session
        session.ask = self._ask
        base = style_from_pygments_cls(STYLES[style])
        # The completer asks the target, whose connection belongs to this thread.
        self._reader: PromptSession[str] = PromptSession(
            history=_history(),
            completer=KdCompleter(engine),
            complete_while_typing=False,
            auto_suggest=AutoSuggestFromHistory(),
            lexer=PygmentsLexer(KdLexer) if colour else None,
            style=merge_styles([base, Style.from_dict({"prompt": "bold"})]) if colour else None,
        )

    def run(self) -> bool:
        """Until `q`, or Ctrl+D, which means `q`; False when the target has ended first.

        ENTER alone repeats the last line.
        """
        session, previous = self._session, ""
        while not session.ended:
            if session.running:
                # It was lost, or Ctrl+C did not stop it: go on listening.
                self._perform(session.await_stop)
            if isinstance(session.lost, TargetEnded):
                return False
            typed = self._read()
            if typed is None:
                continue
            previous = typed if typed.strip() else previous
            # A pasted script comes as one text of many lines.
            for line in previous.splitlines():
                if not session.ended:
                    self._perform(partial(session.execute, line))
        return True

    def _perform(self, work: Callable[[], None]) -> None:
        with working():
            work()

    def _read(self) -> str | None:
        session = self._session
        session.out.fresh_line()
        prompt = session.prompt
        try:
            line = self._reader.prompt([("class:prompt", prompt)])
        except KeyboardInterrupt:
            return None
        except EOFError:
            line = "q"
        session.out.echo(f"{prompt}{line}\n")
        return line

    def _ask(self, question: str) -> str:
        """The answer to a question of the target or of a command; Ctrl+D gives an empty one."""
        session = self._session
        session.out.fresh_line()
        reader: PromptSession[str] = PromptSession()
        try:
            answer = reader.prompt(question)
        except EOFError:
            answer = ""
        session.out.echo(f"{question}{answer}\n")
        return answer
