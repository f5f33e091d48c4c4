"""Binds the language, the commands and a session together."""

from __future__ import annotations

import functools
import json
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import DumpFile
from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.context import SessionContext
from kdsim.debugger.commands.registry import HelpPage, Match, Record, refuse, render, to_json
from kdsim.debugger.control import SessionEnded
from kdsim.debugger.language.aliases import Aliases
from kdsim.debugger.language.arguments import Arguments
from kdsim.debugger.language.evaluate import Evaluator
from kdsim.debugger.language.interpreter import Interpreter
from kdsim.errors import KdsimError, UnknownCommand, Unsupported

if TYPE_CHECKING:
    from kdsim.debugger.modules import Gone
    from kdsim.debugger.session import Session


class Engine:
    """Implements `kdsim.debugger.language.interpreter.Host` for one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.context = SessionContext(session)
        self.aliases = Aliases()
        self.interpreter = Interpreter(self, self.aliases)
        self._find = functools.lru_cache(maxsize=1024)(REGISTRY.find)

    @property
    def prompt(self) -> str:
        return self.session.prompt

    def dispatch(self, text: str) -> None:
        """Execute one command and print what it returns."""
        try:
            match = self._find(text)
        except UnknownCommand:
            if text.startswith("!") and "NOEXTWARNING" in self.session.settings.kernel_options:
                return
            raise
        if self.session.settings.json:
            self._dispatch_json(text, match)
        else:
            for line in render(self._call(text, match)):
                self.session.out.line(line)
        if self.session.ended:
            raise SessionEnded

    def on_processor(self, number: int) -> AbstractContextManager[None]:
        return self.session.on_processor(number)

    def write(self, text: str) -> None:
        self.session.out.write(text)

    def capture(self) -> AbstractContextManager[list[str]]:
        return self.session.out.capture()

    def report(self, error: KdsimError) -> None:
        self.session.report_error(error)

    def check_interrupt(self) -> None:
        self.session.check_interrupt()

    def require_user(self, name: str) -> None:
        if self.session.for_target:
            raise Unsupported(f"'{name}' is refused to a target: it reaches this computer")

    def _call(self, text: str, match: Match) -> Record | None:
        """Run a command. What loading symbols had to say stands before its result."""
        try:
            return self._run(text, match)
        finally:
            for notice in self.session.modules.notices():
                self.session.out.line(notice)

    def _run(self, text: str, match: Match) -> Record | None:
        session = self.session
        declaration = match.command
        if declaration.wants_help(match.rest):
            return HelpPage.of(declaration)
        refuse(declaration, match.name, session.backend.caps, session.backend.refusals)
        if declaration.reaches_out(match.rest):
            self.require_user(match.name)
        arguments = Arguments(text, self.context, len(text) - len(match.rest))
        if match.processor is None:
            return declaration.function(session, arguments, match.name)
        with session.on_processor(match.processor):
            return declaration.function(session, arguments, match.name)

    def _dispatch_json(self, text: str, match: Match) -> None:
        """One JSON object per command: its text as printed meanwhile, and the record."""
        out = self.session.out
        with out.capture() as pieces:
            result = self._call(text, match)
        record: dict[str, object] = {"command": text.strip()}
        if pieces:
            record["output"] = "".join(pieces)
        if result is not None:
            record["text"] = render(result)
            record["result"] = to_json(result)
        out.line(json.dumps(record))


def _register_lines(session: Session) -> list[str]:
    from kdsim.debugger.commands.registers import session_register_lines

    return session_register_lines(session)


def equip(session: Session) -> Engine:
    """Give a session its command language."""
    engine = Engine(session)
    session.runner = engine.interpreter.run
    evaluator = Evaluator(engine.context)
    session.evaluate = evaluator.evaluate
    session.evaluate_cpp = lambda text: evaluator.cpp(text).number()
    session.aliases = engine.aliases
    if isinstance(session.backend, DumpFile):
        file = session.backend.path.absolute()
        engine.aliases.automatic |= {
            "$CurrentDumpFile": file.name,
            "$CurrentDumpPath": str(file.parent),
        }
    session.register_lines = lambda: _register_lines(session)
    session.modules.unloaded = lambda: _unloaded(session)
    return engine


def _unloaded(session: Session) -> list[Gone]:
    from kdsim.debugger.commands.modules import unloaded_drivers

    if session.facts is None:
        return []
    return [(gone.name, gone.start, gone.end) for gone in unloaded_drivers(session)]
