"""Colour on a terminal, plain text everywhere else."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from kdsim.errors import UserError

# The last two ranges turn the direction of writing round.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


DEFAULT_STYLE = "dark"
STYLE_VARIABLE = "KDSIM_STYLE"


class Terminal:
    """Where output goes: a screen, whose colours can be chosen, or a file or pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.interactive = stream.isatty()
        self.capable = self.interactive and os.environ.get("TERM") != "dumb"
        self.style = "none"
        self._paint: Callable[[str], str] | None = None
        if isinstance(stream, io.TextIOWrapper):
            # A terminal of another encoding shows what it can.
            stream.reconfigure(errors="replace")

    def write(self, text: str) -> None:
        """Print text; on a screen in colour, with nothing in it that would steer the screen."""
        if self.interactive:
            text = legible(text)
            if self.style != "none":
                self._paint = self._paint or _painter(self.style)
                text = self._paint(text)
        _write_whole(self._stream, text)

    def control(self, text: str) -> None:
        """Write what only a terminal understands."""
        _write_whole(self._stream, text)

    def use(self, style: str) -> None:
        """Choose a style by its name, or by the name pygments knows it by.

        Raises:
            UserError: there is no such style.
        """
        from kdsim.debugger.shell.styles import STYLES

        name = style.removeprefix("kd-").lower()
        if name not in STYLES:
            *others, last = STYLES
            raise UserError(f"no style '{style}': {', '.join(others)} or {last}")
        self.style, self._paint = name, None

    def use_default(self) -> None:
        """What the environment asks for: see https://no-color.org for NO_COLOR."""
        chosen = os.environ.get(STYLE_VARIABLE, "")
        if chosen:
            self.use(chosen)
        elif self.capable and not os.environ.get("NO_COLOR"):
            self.style = DEFAULT_STYLE


def _painter(style: str) -> Callable[[str], str]:
    """The lexer keeps no state between two writes."""
    from pygments import highlight
    from pygments.formatters import Terminal256Formatter

    from kdsim.debugger.shell.lexers import KdOutputLexer
    from kdsim.debugger.shell.styles import STYLES

    lexer = KdOutputLexer(stripnl=False, ensurenl=False)
    formatter = Terminal256Formatter(style=STYLES[style] or "default")
    return lambda text: highlight(text, lexer, formatter)


def _write_whole(stream: TextIO, text: str) -> None:
    """Write all of it: Ctrl+C waits, so that it cuts no line and no escape sequence in two."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        stream.write(text)
        stream.flush()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def legible(text: str) -> str:
    """Text from a target must not steer the user's terminal: its control characters become dots."""
    return _CONTROL.sub(".", text)


@contextmanager
def working() -> Iterator[None]:
    """The terminal's mode while a command works.

    What is typed ahead is kept for the next prompt, which shows it. Ctrl+C does not throw away
    output that is on its way, for it would cut escape sequences in two.
    """
    if not sys.stdin.isatty():
        yield
        return
    import termios

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    mode = [*before]
    mode[3] = mode[3] & ~termios.ECHO | termios.NOFLSH
    termios.tcsetattr(fd, termios.TCSADRAIN, mode)
    try:
        yield
    finally:
        # The terminal may be gone by now.
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


def forget_typed() -> None:
    """Drop what was typed ahead, as Ctrl+C usually does."""
    if sys.stdin.isatty():
        import termios

        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
