"""Colour on a terminal, plain text everywhere else."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

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
        stream.write(legible(text) if on_terminal else text)
        stream.flush()

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
        stream.write(highlight(legible(text), lexer, formatter))
        stream.flush()

    return sink


def legible(text: str) -> str:
    """Text from a target must not steer the user's terminal: its control characters become dots."""
    return _CONTROL.sub(".", text)


@contextmanager
def echo_off() -> Iterator[None]:
    """While a command works, what is typed ahead is kept for the next prompt, which shows it."""
    import termios

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    silent = [*before]
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        # The terminal may be gone by now.
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
