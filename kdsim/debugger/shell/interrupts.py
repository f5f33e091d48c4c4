"""What Ctrl+C does: break into a running target, end whatever else is going on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from kdsim.debugger.shell.terminal import forget_typed
from kdsim.wire.interrupts import Deferrable

if TYPE_CHECKING:
    from kdsim.debugger.session import Session


@contextmanager
def break_in_on_interrupt(session: Session) -> Iterator[None]:
    """While the target runs, Ctrl+C is a request to it and tears nothing apart here."""

    def caught(number: int, frame: FrameType | None) -> None:
        forget_typed()
        if session.running:
            session.control.break_requested = True
        else:
            signal.default_int_handler(number, frame)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, Deferrable(caught))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
