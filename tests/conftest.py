from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

import pytest


def _heed(number: int, handler: Callable[[int, FrameType | None], None]) -> None:
    """A shell has what runs in the background ignore some signals; whom we start would too."""
    if signal.getsignal(number) is signal.SIG_IGN:
        # What has a handler here is the default in a new program.
        signal.signal(number, handler)


_heed(signal.SIGINT, signal.default_int_handler)
_heed(signal.SIGHUP, lambda _number, _frame: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-transcripts",
        action="store_true",
        help="write what the program prints now into the transcript files",
    )
