"""Which command file declares which names, so that a file is imported when it is first needed.

A test compares this table with the declarations.
"""

from __future__ import annotations

from kdsim.debugger.commands.registry import Registry

CATALOGUE: dict[str, tuple[str, ...]] = {
    "pool": ("!pool", "!poolused", "!poolfind"),
    "processes": ("!process", "!thread"),
    "verifier": ("!verifier",),
}

REGISTRY = Registry(CATALOGUE)
