"""The interactive `kd>`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.document import Document
from prompt_toolkit.filters import has_completions, is_searching
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import DynamicLexer, Lexer, PygmentsLexer, SimpleLexer
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import BaseStyle, DynamicStyle, Style, merge_styles
from prompt_toolkit.styles.pygments import style_from_pygments_cls

from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.language.tables import parser
from kdsim.debugger.shell.bottomline import BottomLine, explained_at
from kdsim.debugger.shell.completion import KdCompleter
from kdsim.debugger.shell.conversation import Conversation
from kdsim.debugger.shell.history import SharedHistory, open_history
from kdsim.debugger.shell.lexers import KdLexer
from kdsim.debugger.shell.places import Places
from kdsim.debugger.shell.styles import STYLES
from kdsim.debugger.shell.terminal import Terminal, working

if TYPE_CHECKING:
    from prompt_toolkit.formatted_text import StyleAndTextTuples

    from kdsim.debugger.commands.engine import Engine

WELCOME = "? lists the commands, .hh NAME or F1 explains one, q leaves."

ESCAPE_PATIENCE = 0.3
"""Seconds until a lone Esc means Esc, and is not the beginning of Alt+something."""

_OWN_STYLE = {
    "prompt": "bold",
    "bottom-toolbar": "noreverse",
    "status": "reverse",
    "hint": "italic",
    "auto-suggestion": "#808080",
}
_PLAIN_STYLE = _OWN_STYLE | {
    "auto-suggestion": "italic",
    "completion-menu": "noinherit reverse",
    "completion-menu.completion.current": "noinherit bold",
    "completion-menu.meta.completion.current": "noinherit bold",
    "scrollbar.background": "noinherit",
    "scrollbar.button": "noinherit reverse",
}


class Prompt(Conversation):
    """Lines are edited with completion, colours, history and two lines at the bottom.

    While one is read Ctrl+C is a key; a signal would tear the event loop apart.
    """

    def __init__(self, engine: Engine, terminal: Terminal) -> None:
        super().__init__(engine.session)
        self._terminal = terminal
        self._session.ask = self._ask
        self._bottom = BottomLine(self._session)
        self._places = Places()
        self._preparations = _preparations()
        self._history = open_history()
        self._lexer = PygmentsLexer(KdLexer)
        self._styles: dict[str, BaseStyle] = {}
        # The completer asks the target, whose connection belongs to this thread.
        self._reader: PromptSession[str] = PromptSession(
            history=self._history,
            enable_history_search=True,
            enable_suspend=True,
            search_ignore_case=True,
            completer=KdCompleter(engine),
            complete_while_typing=False,
            auto_suggest=AutoSuggestFromHistory(),
            lexer=DynamicLexer(self._lexer_in_use),
            style=DynamicStyle(self._style_in_use),
            key_bindings=self._keys(),
            bottom_toolbar=self._bottom_lines,
        )
        self._reader.app.ttimeoutlen = self._reader.app.timeoutlen = ESCAPE_PATIENCE

    def _run(self) -> bool:
        self._session.out.fresh_line()
        self._terminal.write(f"{WELCOME}\n")
        return super()._run()

    def _perform(self, work: Callable[[], None]) -> None:
        with working():
            super()._perform(work)

    def _read(self) -> str | None:
        session = self._session
        if isinstance(self._history, SharedHistory):
            self._history.look_again()
        prompt = session.prompt
        self._reader.color_depth = None if STYLES[self._terminal.style] else ColorDepth.MONOCHROME
        try:
            line = self._reader.prompt(
                [("class:prompt", prompt)], pre_run=self._prepare, handle_sigint=False
            )
        except KeyboardInterrupt:
            return None
        except EOFError:
            line = "q"
        session.out.echo(f"{prompt}{line}\n")
        self._interrupted = False
        return line

    def _prepare(self) -> None:
        """Do the next of the preparations whenever no key is pressed."""
        loop = asyncio.get_running_loop()

        def step() -> None:
            work = next(self._preparations, None)
            if work is not None:
                work()
                loop.call_soon(step)

        loop.call_soon(step)

    def _ask(self, question: str) -> str:
        """The answer to a question of the target or of a command; Ctrl+D gives an empty one."""
        session = self._session
        session.out.fresh_line()
        self._interruptible = False
        reader: PromptSession[str] = PromptSession()
        try:
            answer = reader.prompt(question, handle_sigint=False)
        except EOFError:
            answer = ""
        self._interruptible = True
        session.out.echo(f"{question}{answer}\n")
        return answer

    # ---- looks ------------------------------------------------------------------------------

    def _lexer_in_use(self) -> Lexer:
        return self._lexer if STYLES[self._terminal.style] else SimpleLexer()

    def _style_in_use(self) -> BaseStyle:
        name = self._terminal.style
        if name not in self._styles:
            colours = STYLES[name]
            own = Style.from_dict(_OWN_STYLE if colours else _PLAIN_STYLE)
            base = style_from_pygments_cls(colours) if colours else Style([])
            self._styles[name] = merge_styles([base, own])
        return self._styles[name]

    def _bottom_lines(self) -> StyleAndTextTuples:
        size = get_app().output.get_size()
        typed = self._reader.default_buffer.document.text_before_cursor
        return self._bottom(typed, size.columns, size.rows)

    # ---- keys -------------------------------------------------------------------------------

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("escape", filter=~is_searching)
        def clear(event: KeyPressEvent) -> None:
            """Esc takes the menu away, or else the line, as in kd."""
            if has_completions():
                event.current_buffer.cancel_completion()
            else:
                event.current_buffer.document = Document()

        @keys.add("f1")
        def explain(event: KeyPressEvent) -> None:
            """F1 prints the help page of the command at the cursor, or the list of commands."""
            typed = event.current_buffer.document.text_before_cursor
            run_in_terminal(partial(self._perform, partial(self._explain, typed)))

        return keys

    def _explain(self, typed: str) -> None:
        found = explained_at(self._places.at(typed))
        self._session.out.at_line_start = True
        self._session.execute(f".hh {found.names[0]}" if found else "?")


def _preparations() -> Iterator[Callable[[], object]]:
    """What TAB and the bottom line need, in pieces too small to keep a key waiting."""
    for grammar in ("kd", "masm", "cpp"):
        yield partial(parser, grammar)
    for name in REGISTRY.names():
        yield partial(REGISTRY.get, name)
