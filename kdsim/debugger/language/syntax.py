"""The syntax trees: frozen dataclasses, equal when they mean the same.

`str(tree)` writes a tree as text that parses to an equal tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field


def _column() -> int:
    """Where in the text a node begins; not part of its meaning."""
    column: int = field(default=0, compare=False, repr=False)
    return column


# ---- MASM -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """A number whose base is written out. `ticked` keeps it from being sign-extended."""

    value: int
    ticked: bool = False
    column: int = _column()

    def __str__(self) -> str:
        if self.ticked:
            return f"0x{self.value >> 32:x}`{self.value & 0xFFFFFFFF:08x}"
        return f"0x{self.value:x}"


@dataclass(frozen=True, slots=True)
class Word:
    """Plain digits, a symbol or a register: decided when it is evaluated."""

    text: str
    column: int = _column()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name that can only be a symbol; `prefix` is "", "!" or "$!"."""

    name: str
    prefix: str = ""
    quoted: bool = False
    column: int = _column()

    def __str__(self) -> str:
        return f'@!"{self.name}"' if self.quoted else self.prefix + self.name


@dataclass(frozen=True, slots=True)
class Register:
    """`@rax`, `@$t0`: a register or, with a `$`, a pseudo-register."""

    name: str
    column: int = _column()

    def __str__(self) -> str:
        return f"@{self.name}"


@dataclass(frozen=True, slots=True)
class Here:
    """`.`, the current instruction."""

    column: int = _column()

    def __str__(self) -> str:
        return "."


@dataclass(frozen=True, slots=True)
class SourceLine:
    """`` `mod!file.c:12` ``; no module or file: the current one; line 0: the file's start."""

    module: str
    file: str
    line: int
    column: int = _column()

    def __str__(self) -> str:
        module = f"{self.module}!" if self.module else ""
        return f"`{module}{self.file}:{self.line}`"


@dataclass(frozen=True, slots=True)
class Characters:
    """`'Abc '`: a number whose first character is the highest byte."""

    text: str
    column: int = _column()

    def __str__(self) -> str:
        return f"'{self.text}'"


@dataclass(frozen=True, slots=True)
class String:
    """A string operand; `literal` when its escapes were not to be read (`@"..."`)."""

    text: str
    literal: bool = False
    column: int = _column()

    def __str__(self) -> str:
        if self.literal:
            return f'@"{self.text}"'
        escaped = self.text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'


@dataclass(frozen=True, slots=True)
class Unary:
    operator: str
    operand: Expression
    column: int = _column()

    def __str__(self) -> str:
        return f"({self.operator} {self.operand})"


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: Expression
    right: Expression
    column: int = _column()

    def __str__(self) -> str:
        return f"({self.left} {self.operator} {self.right})"


@dataclass(frozen=True, slots=True)
class Function:
    """`$scmp(...)` and its kin; in C++ a macro such as `#FIELD_OFFSET(...)`."""

    name: str
    arguments: tuple[Expression, ...]
    column: int = _column()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"


@dataclass(frozen=True, slots=True)
class Switch:
    """`@@( ... )`: text for the other evaluator; `language` is "", "c++" or "masm"."""

    language: str
    text: str
    column: int = _column()
    text_column: int = _column()

    def __str__(self) -> str:
        return f"@@{self.language}({self.text})"


Expression = (
    Number
    | Word
    | Symbol
    | Register
    | Here
    | SourceLine
    | Characters
    | String
    | Unary
    | Binary
    | Function
    | Switch
)


# ---- lines ----------------------------------------------------------------------------------


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
    """`z(condition)`."""

    condition: Text

    def __str__(self) -> str:
        return f"z{self.condition}"


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
        return "; ".join(map(str, self.statements))
