"""Aliases: names that stand for text and are replaced before a line or block is parsed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdsim.debugger.language.arguments import Arguments
from kdsim.debugger.language.problems import SYNTAX
from kdsim.debugger.language.strings import counted, zero_terminated
from kdsim.errors import ArgumentError, CommandSyntaxError, UserError

if TYPE_CHECKING:
    from kdsim.debugger.language.context import Context

_TOKEN = re.compile(r"\$\{(?:/(?P<form>[dfnv]):)?(?P<name>[^{}\s]+)\}")
_FIXED = re.compile(r"\$u([0-9])")
_FIXED_COMMAND = re.compile(r"r[ \t]*\$\.u([0-9])[ \t]*=(.*)", re.IGNORECASE | re.DOTALL)
# An alias without `${}` must stand alone between these.
_BARE = re.compile(r"""[^\s;"']+""")
_UNREPLACED = re.compile(r"(?:as|aS|[aA][dDlL])(?=[\s;]|$)")
_NAME_FORM = re.compile(r"\$\{/v:([^{}\s]+)\}")
_PHRASE = re.compile(r'"([^"]*)"\s*')
_FORBIDDEN = ("al", "as", "aS", "ad")

MAX_EXPANDED = 1 << 18
"""Characters that a text may grow to: in a loop, an alias that holds its own name doubles."""


@dataclass(frozen=True, slots=True)
class AliasList:
    """What `al` shows: the user's names in order."""

    aliases: tuple[tuple[str, str], ...]

    def lines(self) -> list[str]:
        if not self.aliases:
            return ["No aliases"]
        rows = [f" {name:<16} {value}" for name, value in self.aliases]
        return ["  Alias            Value", " -------          -------", *rows]


class Aliases:
    """The aliases of a session.

    Attributes:
        user: set by `as` and `aS`, and by `.foreach` while it runs.
        fixed: texts of `$u0` to `$u9`.
        automatic: set by the debugger, for instance `$ntnsym`.
    """

    def __init__(self) -> None:
        self.user: dict[str, str] = {}
        self.fixed: dict[int, str] = {}
        self.automatic: dict[str, str] = {"$ntsym": "nt", "$ntnsym": "nt", "$ntwsym": "nt32"}

    # ---- replacement ------------------------------------------------------------------------

    def expand(self, text: str) -> str:
        """A line or block as it will be parsed: fixed names first, then the others.

        A text that begins with one of the alias commands keeps its names, so that they can be
        managed; a blank or a semicolon in front lifts that.
        """
        text = self._with_fixed(text)
        concerned = self.user or "${" in text or any(map(text.__contains__, self.automatic))
        if not concerned or _UNREPLACED.match(text):
            return text
        replaced = _BARE.sub(self._word, text)
        if len(replaced) > max(len(text), MAX_EXPANDED):
            raise UserError(f"Aliases make more than {MAX_EXPANDED} characters of this text")
        return replaced

    def _word(self, found: re.Match[str]) -> str:
        """What stands between blanks: an alias, or text with `${name}` in it."""
        value = self._value(found[0])
        return _TOKEN.sub(self._token, found[0]) if value is None else value

    def _with_fixed(self, text: str) -> str:
        if "$u" not in text:
            return text
        return _FIXED.sub(lambda found: self.fixed.get(int(found[1]), ""), text)

    @staticmethod
    def expand_arguments(text: str, arguments: Sequence[str]) -> str:
        """A script's text with `${$arg1}` and its like replaced; what is missing stays."""
        given = Aliases()
        given.automatic = {f"$arg{n}": value for n, value in enumerate(arguments, 1)}

        def replace(found: re.Match[str]) -> str:
            return given._token(found) if found["name"].startswith("$arg") else found[0]

        return _TOKEN.sub(replace, text)

    def _token(self, found: re.Match[str]) -> str:
        name, form = found["name"], found["form"]
        value = self._value(name)
        if form == "v":
            return found[0]
        if form == "d":
            return "0" if value is None else "1"
        if value is None:
            return "" if form == "f" else found[0]
        return name if form == "n" else value

    def _value(self, name: str) -> str | None:
        return self.user.get(name, self.automatic.get(name))

    @contextmanager
    def scoped(self, name: str) -> Iterator[Callable[[str], None]]:
        """A name of a `.foreach`: yields the function that gives it a value."""
        before = self.user.get(name)
        try:
            yield lambda value: self.user.__setitem__(name, value)
        finally:
            self.user.pop(name, None)
            if before is not None:
                self.user[name] = before

    # ---- commands ---------------------------------------------------------------------------

    def command(self, text: str, context: Context, run: Callable[[str], str]) -> AliasList | None:
        """Do `as`, `aS`, `ad`, `al` or `r $.uN=`; `run` gives the output of commands."""
        fixed = _FIXED_COMMAND.fullmatch(text)
        if fixed:
            self.fixed[int(fixed[1])] = fixed[2].strip()
            return None
        name = text[:2] if text.startswith(("as", "aS")) else text[:2].lower()
        arguments = Arguments(text, context, len(name))
        if name == "al":
            arguments.at_end()
            return AliasList(tuple(sorted(self.user.items())))
        if name == "ad":
            self._delete(arguments)
        else:
            self._set(arguments, run, phrase=name == "aS")
        return None

    def _delete(self, arguments: Arguments) -> None:
        quiet = "q" in arguments.switches("q")
        name = _plain_name(arguments)
        arguments.at_end()
        if name == "*":
            self.user.clear()
        elif self.user.pop(name, None) is None and not quiet:
            raise UserError(f"Alias '{name}' does not exist")

    def _set(self, arguments: Arguments, run: Callable[[str], str], *, phrase: bool) -> None:
        switches = arguments.switches("e", "msa", "msu", "ma", "mu", "x", "f", "c")
        name = _plain_name(arguments)
        if name.startswith(_FORBIDDEN):
            raise arguments.error("Alias names may not begin with as, aS, ad or al: Syntax error")
        if switches:
            self.user[name] = _computed(next(iter(switches)), arguments, run)
            return
        # Blanks at the end belong to the value; `aS` strips the quotes that protect a semicolon.
        value = arguments.text[arguments.position :].lstrip()
        quoted = _PHRASE.fullmatch(value) if phrase else None
        if quoted:
            value = quoted[1]
        if not value:
            raise CommandSyntaxError(SYNTAX, arguments.text, len(arguments.text))
        self.user[name] = value


def _plain_name(arguments: Arguments) -> str:
    """An alias's name; `${/v:name}` keeps it from being replaced on the way here."""
    arguments.peek()
    found = re.compile(r"[^\s;]+").match(arguments.text, arguments.position)
    if found is None:
        raise arguments.error()
    arguments.position = found.end()
    protected = _NAME_FORM.fullmatch(found[0])
    return protected[1] if protected else found[0]


def _computed(kind: str, arguments: Arguments, run: Callable[[str], str]) -> str:
    """The text an `as` with a switch stands for."""
    if kind == "c":
        return run(arguments.rest())
    if kind == "f":
        return _file_text(arguments.rest().strip('"'))
    if kind == "e":
        variable = arguments.rest()
        if variable not in os.environ:
            raise ArgumentError(f"Environment variable '{variable}' does not exist")
        return os.environ[variable]
    value = arguments.expression()
    arguments.at_end()
    if kind == "x":
        return f"0x{value:x}"
    if kind in ("ma", "mu"):
        return zero_terminated(arguments.context.memory, value, wide=kind == "mu")
    return counted(arguments.context, value, wide=kind == "msu")


def _file_text(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:
        # WinDbg says no more than this, whatever is wrong with the file.
        raise UserError(f"Out of memory: '{name}' cannot be read") from error
