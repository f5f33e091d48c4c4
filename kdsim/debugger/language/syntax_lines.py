"""Syntax trees of lines: frozen, and equal when they mean the same.

`str(program)` writes a program as text that parses to an equal program.
"""

from __future__ import annotations

from dataclasses import dataclass, field


def _column() -> int:
    """Where in the text a node begins; not part of its meaning."""
    column: int = field(default=0, compare=False, repr=False)
    return column


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the line that is parsed later, and where it began."""

    text: str
    column: int = _column()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Command:
    """One ordinary command with its arguments."""

    text: str
    column: int = _column()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class If:
    """Conditions with their blocks, in order; `otherwise` is the block of `.else`."""

    branches: tuple[tuple[Text, Text], ...]
    otherwise: Text | None = None

    def __str__(self) -> str:
        words = [".if", *[".elsif"] * (len(self.branches) - 1)]
        parts = [f"{w} {c} {{{b}}}" for w, (c, b) in zip(words, self.branches, strict=True)]
        if self.otherwise is not None:
            parts.append(f".else {{{self.otherwise}}}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class While:
    """`.while`, and with `body_first` `.do`."""

    condition: Text
    body: Text
    body_first: bool = False

    def __str__(self) -> str:
        if self.body_first:
            return f".do {{{self.body}}} {self.condition}"
        return f".while {self.condition} {{{self.body}}}"


@dataclass(frozen=True, slots=True)
class For:
    start: Text
    condition: Text
    steps: tuple[Text, ...]
    body: Text

    def __str__(self) -> str:
        header = ";".join(map(str, (self.start, self.condition, *self.steps)))
        return f".for ({header}) {{{self.body}}}"


@dataclass(frozen=True, slots=True)
class ForEach:
    """`kind` says what `source` is: "commands" whose output, "string" or "file" whose text."""

    variable: str
    kind: str
    source: Text
    body: Text
    skip_first: str = "0"
    skip_each: str = "0"

    def __str__(self) -> str:
        skips = f" /pS {self.skip_first} /ps {self.skip_each}"
        if self.kind == "commands":
            return f".foreach{skips} ({self.variable} {{{self.source}}}) {{{self.body}}}"
        option = "/s" if self.kind == "string" else "/f"
        return f'.foreach{skips} {option} ({self.variable} "{self.source}") {{{self.body}}}'


@dataclass(frozen=True, slots=True)
class Block:
    """`.block`, and with `catches` `.catch`."""

    body: Text
    catches: bool = False

    def __str__(self) -> str:
        return f"{'.catch' if self.catches else '.block'} {{{self.body}}}"


@dataclass(frozen=True, slots=True)
class Leave:
    """`.break`, `.continue` or `.leave`; `word` has no dot."""

    word: str
    column: int = _column()

    def __str__(self) -> str:
        return f".{self.word}"


@dataclass(frozen=True, slots=True)
class Jump:
    """`j`: the first text begins with the condition."""

    first: Text
    second: Text | None = None

    def __str__(self) -> str:
        return f"j {self.first}" + (f";{self.second}" if self.second else "")


@dataclass(frozen=True, slots=True)
class Repeat:
    """`z(condition)`, and with a processor's number in front `1z(condition)`."""

    condition: Text
    processor: int | None = None

    def __str__(self) -> str:
        number = "" if self.processor is None else self.processor
        return f"{number}z{self.condition}"


@dataclass(frozen=True, slots=True)
class AliasCommand:
    """`as`, `aS`, `ad`, `al`, and `r $.uN=`, whole."""

    text: str
    column: int = _column()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Script:
    """`form` is one of `$<`, `$><`, `$$<`, `$$><`, `$$>a<`."""

    form: str
    text: str
    column: int = _column()

    def __str__(self) -> str:
        return self.form + self.text


Statement = (
    Command | If | While | For | ForEach | Block | Leave | Jump | Repeat | AliasCommand | Script
)


@dataclass(frozen=True, slots=True)
class Program:
    """The commands of a line or block, comments left out."""

    statements: tuple[Statement, ...]

    def __str__(self) -> str:
        # No semicolons: `as x a` takes them for its own.
        return "\n".join(map(str, self.statements))
