"""What Ctrl+C does: break into a running target, end whatever else is going on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from kdsim.debugger.shell.terminal import forget_typed
from kdsim.wire.interrupts import Deferrable

if TYPE_CHECKING:
    from kdsim.debugger.session import Session


@contextmanager
def break_in_on_interrupt(
    session: Session, wanted: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """While the target runs, Ctrl+C is a request to it and tears nothing apart here.

    Otherwise it is raised as KeyboardInterrupt, if `wanted` says so.
    """

    def caught(number: int, frame: FrameType | None) -> None:
        if session.running:
            forget_typed()
            session.control.break_requested = True
        elif wanted():
            forget_typed()
            signal.default_int_handler(number, frame)

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        """In a finalizer nobody can catch it; the next look for it will."""
        if lost.exc_type is KeyboardInterrupt:
            session.interrupt()
        else:
            hook(lost)

    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, Deferrable(caught))
    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, before)
