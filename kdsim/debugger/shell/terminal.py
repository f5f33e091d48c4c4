"""Colour on a terminal, plain text everywhere else."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

Sink = Callable[[str], None]

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def wants_colour() -> bool:
    """True on a terminal that can show colour and was not told not to (https://no-color.org)."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def plain_sink() -> Sink:
    """Writes text as it is and lets it be seen at once."""
    stream = sys.stdout
    on_terminal = stream.isatty()

    def sink(text: str) -> None:
        _write_whole(stream, legible(text) if on_terminal else text)

    return sink


def control_sink() -> Sink:
    """Writes what only a terminal understands, past everything that keeps text legible."""
    stream = sys.stdout

    def sink(text: str) -> None:
        _write_whole(stream, text)

    return sink


def coloured_sink(style: str) -> Sink:
    """As `plain_sink`, through the output lexer. The lexer keeps no state between two writes."""
    from pygments import highlight
    from pygments.formatters import Terminal256Formatter

    from kdsim.debugger.shell.lexers import KdOutputLexer
    from kdsim.debugger.shell.styles import STYLES

    lexer = KdOutputLexer(stripnl=False, ensurenl=False)
    formatter = Terminal256Formatter(style=STYLES[style])
    stream = sys.stdout

    def sink(text: str) -> None:
        _write_whole(stream, highlight(legible(text), lexer, formatter))

    return sink


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
