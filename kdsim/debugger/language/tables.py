"""Loads the parsers, one grammar at a time, when they are first needed.

Building LALR tables takes a tenth of a second, loading them a few milliseconds, so lark keeps them
in a file per user. Its own key covers the grammar's text, the options, and the versions of lark
and Python; a file that does not fit is written anew.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsim.resources import resource_path

if TYPE_CHECKING:
    from lark import Lark, Transformer


def cache_folder() -> Path:
    """Where generated files of this user go; `KDSIM_CACHE` overrides it."""
    chosen = os.environ.get("KDSIM_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kdsim"


@functools.cache
def parser(name: str) -> Lark:
    """The parser of `grammar/NAME.lark`, which builds syntax trees directly."""
    from lark import Lark

    grammar = resource_path("grammar", f"{name}.lark").read_text(encoding="utf-8")
    folder = cache_folder()
    cache: str | bool
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        cache = str(folder / f"{name}.tables")
    except OSError:
        cache = False
    return Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        transformer=_builder(name),
        maybe_placeholders=False,
        start=["start", "full"] if name == "cpp" else ["start"],
        cache=cache,
    )


def _builder(name: str) -> Transformer[Any, Any]:
    """The builder of a grammar's trees; each is imported with its grammar only."""
    if name == "masm":
        from kdsim.debugger.language.build_masm import MasmBuilder

        return MasmBuilder()
    if name == "cpp":
        from kdsim.debugger.language.build_cpp import CppBuilder

        return CppBuilder()
    from kdsim.debugger.language.build_lines import LineBuilder

    return LineBuilder()
