"""Colour on a terminal, plain text everywhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

Sink = Callable[[str], None]


def wants_colour() -> bool:
    """True on a terminal that can show colour and was not told not to (https://no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def plain_sink() -> Sink:
    """Writes text as it is and lets it be seen at once."""
    stream = sys.stdout

    def sink(text: str) -> None:
        stream.write(text)
        stream.flush()

    return sink


def coloured_sink(style: str) -> Sink:
    """Writes whole lines through the output lexer; a partial line waits for its end or `flush`."""
    from pygments import highlight
    from pygments.formatters import Terminal256Formatter

    from kdsim.debugger.shell.lexers import KdOutputLexer
    from kdsim.debugger.shell.styles import STYLES

    lexer = KdOutputLexer(stripnl=False, ensurenl=False)
    formatter = Terminal256Formatter(style=STYLES[style])
    stream = sys.stdout

    def sink(text: str) -> None:
        stream.write(highlight(text, lexer, formatter))
        stream.flush()

    return sink
