"""Reading command lines and running them, in any terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from kdsim.debugger.language import parse
from kdsim.debugger.output import Kind
from kdsim.debugger.shell.interrupts import break_in_on_interrupt
from kdsim.debugger.shell.places import open_block
from kdsim.errors import TargetEnded

if TYPE_CHECKING:
    from kdsim.debugger.session import Session


class Conversation:
    """Where the terminal can do nothing but show lines, or shows something else (`kdsim | tee`).

    The terminal itself lets the user edit the line.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._interruptible = self._interrupted = False

    def run(self) -> bool:
        """Until `q`, or Ctrl+D, which means `q`; False when the target has ended first.

        ENTER alone repeats the last line.
        """
        with break_in_on_interrupt(self._session, self._may_interrupt):
            return self._run()

    def _run(self) -> bool:
        session, previous = self._session, ""
        while not session.ended:
            self._interrupted = False
            if session.running:
                # It was lost, or Ctrl+C did not stop it: go on listening.
                self._perform(session.await_stop)
            if isinstance(session.lost, TargetEnded):
                return False
            session.out.fresh_line()
            typed = self._read()
            if typed is None:
                continue
            previous = typed if typed.strip() else previous
            for line in commands_of(previous):
                if not (self._interrupted or session.ended):
                    self._perform(partial(session.execute, line))
        return True

    def _read(self) -> str | None:
        """The next line; None where Ctrl+C dropped it."""
        out = self._session.out
        out.write(self._session.prompt, Kind.PROMPT)
        try:
            self._interruptible = True
            line = sys.stdin.readline()
            self._interruptible = False
        except KeyboardInterrupt:
            out.write("\n")
            return None
        out.echo(line)
        return line.rstrip("\n") if line else "q"

    def _perform(self, work: Callable[[], None]) -> None:
        try:
            self._interruptible = True
            if not self._interrupted:
                work()
            self._interruptible = False
        except KeyboardInterrupt:
            # Just before the work began, or just after it was done.
            return

    def _may_interrupt(self) -> bool:
        """Whether Ctrl+C ends what goes on. It does so once, because what ends cleans up."""
        interruptible, self._interruptible = self._interruptible, False
        self._interrupted = True
        return interruptible


def commands_of(text: str) -> list[str]:
    """A pasted text as command lines; a block that is open goes on in the next line."""
    commands: list[str] = []
    unfinished = False
    for line in text.splitlines():
        if commands and (unfinished or line.lstrip().startswith((".els", "{"))):
            commands[-1] += f"\n{line}"
        else:
            commands.append(line)
        if "{" in line or "}" in line:
            unfinished = open_block(parse.read(commands[-1]).tokens) is not None
    return commands
