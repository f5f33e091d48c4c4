"""The interactive `kd>`: history, completion, highlighting."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import ThreadedCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.styles import Style, merge_styles, style_from_pygments_cls

from kdsim.debugger.shell.completion import KdCompleter
from kdsim.debugger.shell.lexers import KdLexer
from kdsim.debugger.shell.styles import STYLES

if TYPE_CHECKING:
    from prompt_toolkit.input import Input
    from prompt_toolkit.output import Output as ScreenOutput

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

    def __init__(
        self,
        session: Session,
        *,
        style: str,
        colour: bool,
        screen_input: Input | None = None,
        screen_output: ScreenOutput | None = None,
    ) -> None:
        self._session = session
        base = style_from_pygments_cls(STYLES[style])
        self._reader: PromptSession[str] = PromptSession(
            history=_history(),
            completer=ThreadedCompleter(KdCompleter(session)),
            complete_while_typing=False,
            auto_suggest=AutoSuggestFromHistory(),
            lexer=PygmentsLexer(KdLexer) if colour else None,
            style=merge_styles([base, Style.from_dict({"prompt": "bold"})]) if colour else None,
            input=screen_input,
            output=screen_output,
        )

    def run(self) -> None:
        """Until `q`, or Ctrl+D, which means `q`. ENTER alone repeats the last line."""
        previous = ""
        while not self._session.ended:
            line = self._read()
            if line is None:
                continue
            previous = line = line if line.strip() else previous
            self._session.execute(line)

    def _read(self) -> str | None:
        self._session.out.fresh_line()
        prompt = self._session.prompt
        try:
            line = self._reader.prompt([("class:prompt", prompt)])
        except KeyboardInterrupt:
            return None
        except EOFError:
            line = "q"
        self._session.out.echo(f"{prompt}{line}\n")
        return line
