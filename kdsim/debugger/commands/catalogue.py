"""Which command file declares which names, so that a file is imported when it is first needed.

A test compares this table with the declarations.
"""

from __future__ import annotations

from kdsim.debugger.commands.registry import Registry

CATALOGUE: dict[str, tuple[str, ...]] = {
    "analyze": ("!analyze",),
    "headers": ("!dh",),
    "lists": ("!error", "!list"),
    "modules": ("lm", "ld", ".reload", "!lmi"),
    "objects": ("!object", "!drvobj", "!devobj"),
    "paging": ("!pte", "!vtop"),
    "pool": ("!pool", "!poolused", "!poolfind"),
    "processes": ("!process", "!thread", "!running"),
    "processors": ("!pcr", "!prcb", "!irql"),
    "symbols": (
        "x",
        "ln",
        ".sympath",
        ".sympath+",
        ".symfix",
        ".symfix+",
        ".symopt",
        ".symopt+",
        ".symopt-",
        "!sym",
    ),
    "types": ("dt",),
    "verifier": ("!verifier",),
}

REGISTRY = Registry(CATALOGUE)
