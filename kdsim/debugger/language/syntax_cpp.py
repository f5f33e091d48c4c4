"""Syntax trees of C++ expressions; `str(tree)` parses to an equal tree."""

from __future__ import annotations

from dataclasses import dataclass, field

from kdsim.debugger.language.syntax_masm import Register, Switch


def _column() -> int:
    """Where in the text a node begins; not part of its meaning."""
    column: int = field(default=0, compare=False, repr=False)
    return column


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type as written: `base` may name its module, `pointers` counts the stars.

    A `tagged` one need not be known to be read as a type: `struct _NODE`.
    """

    base: str
    pointers: int = 0
    dimensions: tuple[int, ...] = ()
    column: int = _column()
    tagged: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        tag = "struct " if self.tagged else ""
        stars = " " + "*" * self.pointers if self.pointers else ""
        return tag + self.base + stars + "".join(f"[{n}]" for n in self.dimensions)


@dataclass(frozen=True, slots=True)
class Literal:
    """A number or character with the name of its C type."""

    value: int | float
    type: str
    text: str = field(compare=False, default="")
    column: int = _column()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Variable:
    """A symbol or local variable."""

    name: str
    quoted: bool = False
    column: int = _column()

    def __str__(self) -> str:
        return f'@!"{self.name}"' if self.quoted else self.name


@dataclass(frozen=True, slots=True)
class Unary:
    operator: str
    operand: Expression
    column: int = _column()

    def __str__(self) -> str:
        return f"({self.operator} {self.operand})"


@dataclass(frozen=True, slots=True)
class Step:
    """`++` and `--`, before their operand or after it."""

    operator: str
    operand: Expression
    after: bool = False
    column: int = _column()

    def __str__(self) -> str:
        if self.after:
            return f"({_primary(self.operand)} {self.operator})"
        return f"({self.operator} {self.operand})"


@dataclass(frozen=True, slots=True)
class Binary:
    """All binary operators but assignments; `&&`, `||` and `,` among them."""

    operator: str
    left: Expression
    right: Expression
    column: int = _column()

    def __str__(self) -> str:
        return f"({self.left} {self.operator} {self.right})"


@dataclass(frozen=True, slots=True)
class Assign:
    operator: str
    target: Expression
    value: Expression
    column: int = _column()

    def __str__(self) -> str:
        return f"({self.target} {self.operator} {self.value})"


@dataclass(frozen=True, slots=True)
class Conditional:
    condition: Expression
    then: Expression
    otherwise: Expression
    column: int = _column()

    def __str__(self) -> str:
        return f"({self.condition} ? {self.then} : {self.otherwise})"


@dataclass(frozen=True, slots=True)
class Cast:
    type: TypeName
    operand: Expression
    column: int = _column()

    def __str__(self) -> str:
        return f"(({self.type}){self.operand})"


@dataclass(frozen=True, slots=True)
class SizeOf:
    operand: TypeName | Expression
    column: int = _column()

    def __str__(self) -> str:
        return f"sizeof({self.operand})"


@dataclass(frozen=True, slots=True)
class Index:
    base: Expression
    subscript: Expression
    column: int = _column()

    def __str__(self) -> str:
        return f"{_primary(self.base)}[{self.subscript}]"


@dataclass(frozen=True, slots=True)
class Member:
    """`base.name`, and with `arrow` `base->name`."""

    base: Expression
    name: str
    arrow: bool = False
    column: int = _column()

    def __str__(self) -> str:
        return f"{_primary(self.base)}{'->' if self.arrow else '.'}{self.name}"


@dataclass(frozen=True, slots=True)
class Macro:
    """`#CONTAINING_RECORD(...)`; the name has no `#`."""

    name: str
    arguments: tuple[TypeName | Expression, ...]
    column: int = _column()

    def __str__(self) -> str:
        return f"#{self.name}({', '.join(map(str, self.arguments))})"


def _primary(tree: Expression) -> str:
    """A tree in front of a postfix operator; `sizeof` binds less, and `0.x` begins with a float."""
    return f"({tree})" if isinstance(tree, SizeOf | Literal) else str(tree)


Expression = (
    Literal
    | Variable
    | Register
    | Switch
    | Unary
    | Step
    | Binary
    | Assign
    | Conditional
    | Cast
    | SizeOf
    | Index
    | Member
    | Macro
)
