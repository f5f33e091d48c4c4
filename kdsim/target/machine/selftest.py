"""A quick look at the engine: does it behave as this machine relies on?"""

from __future__ import annotations

from functools import cache


@cache
def check() -> None:
    """TargetError naming the first difference; runs once in a process."""
