"""Syntax trees of MASM expressions: frozen, and equal when they mean the same.

`str(tree)` writes a tree as text that parses to an equal tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field


def _column() -> int:
    """Where in the text a node begins; not part of its meaning."""
    column: int = field(default=0, compare=False, repr=False)
    return column


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
