"""Types of the debugged program, as frozen values.

Targets of pointers, fields of records and parameter lists are resolved when first asked for, since
types refer to one another in circles and most are never looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

BaseKind = Literal["uint", "int", "float", "bool", "char", "wchar", "void"]
RecordKind = Literal["struct", "union", "class"]

T = TypeVar("T")


class Lazy(Generic[T]):
    """A value, or the function that makes it once."""

    __slots__ = ("_make", "_value")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Callable[[], T] | None = make
        self._value: T

    def get(self) -> T:
        if self._make is not None:
            self._value = self._make()
            self._make = None
        return self._value


class _Frozen:
    """Attributes are set once, in `__init__`; equality is identity."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BaseType(_Frozen):
    """A number, a character, or nothing.

    Attributes:
        name: as WinDbg prints it, for instance `Uint4B`.
        size: bytes.
        kind: how the bytes are to be read.
        c_name: as C writes it, for instance `unsigned long`.
    """

    name: str
    size: int
    kind: BaseKind
    c_name: str


class Pointer(_Frozen):
    """A pointer or reference; `target` is resolved when asked for."""

    __slots__ = ("_target", "size")

    def __init__(self, target: Type | Callable[[], Type], size: int = 8) -> None:
        self._target = Lazy(target if callable(target) else lambda: target)
        self.size = size

    @property
    def target(self) -> Type:
        return self._target.get()

    @property
    def name(self) -> str:
        return f"Ptr{self.size * 8} {self.target.name}"

    @property
    def c_name(self) -> str:
        return f"{self.target.c_name}*"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Array(_Frozen):
    """`count` elements in a row."""

    element: Type
    count: int

    @property
    def size(self) -> int:
        return self.element.size * self.count

    @property
    def name(self) -> str:
        return f"[{self.count}] {self.element.name}"

    @property
    def c_name(self) -> str:
        return f"{self.element.c_name}[{self.count}]"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BitField(_Frozen):
    """`length` bits from bit `position` of a base."""

    base: Type
    position: int
    length: int

    @property
    def size(self) -> int:
        return self.base.size

    @property
    def name(self) -> str:
        return f"Pos {self.position}, {self.length} Bit{'s' if self.length != 1 else ''}"

    @property
    def c_name(self) -> str:
        return self.base.c_name


class Enum(_Frozen):
    """Named integers; `values` keeps the order of declaration."""

    __slots__ = ("_values", "base", "name")

    def __init__(
        self, name: str, base: BaseType, values: dict[str, int] | Callable[[], dict[str, int]]
    ) -> None:
        self.name = name
        self.base = base
        self._values = Lazy(values if callable(values) else lambda: values)

    @property
    def size(self) -> int:
        return self.base.size

    @property
    def values(self) -> dict[str, int]:
        return self._values.get()

    @property
    def c_name(self) -> str:
        return self.name

    def name_of(self, value: int) -> str | None:
        """The first name of a value."""
        return next((name for name, number in self.values.items() if number == value), None)


class Function(_Frozen):
    """A procedure or method type."""

    __slots__ = ("_parameters", "_result")
    size = 0

    def __init__(
        self,
        result: Type | Callable[[], Type],
        parameters: tuple[Type, ...] | Callable[[], tuple[Type, ...]] = (),
    ) -> None:
        self._result = Lazy(result if callable(result) else lambda: result)
        self._parameters = Lazy(parameters if callable(parameters) else lambda: parameters)

    @property
    def result(self) -> Type:
        return self._result.get()

    @property
    def parameters(self) -> tuple[Type, ...]:
        return self._parameters.get()

    @property
    def name(self) -> str:
        """WinDbg shows the result alone, set off by blanks: `Ptr64     void `."""
        return f"    {self.result.c_name} "

    @property
    def c_name(self) -> str:
        parameters = ",".join(parameter.c_name for parameter in self.parameters)
        return f"{self.result.c_name} ({parameters})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Field(_Frozen):
    """One member of a record."""

    name: str
    offset: int
    type: Type


class Record(_Frozen):
    """A struct, union or class.

    Members of anonymous members appear among the fields at their own offsets, as the linker leaves
    them in a PDB; the fields of base classes come first.
    """

    def __init__(
        self,
        name: str,
        size: int,
        kind: RecordKind = "struct",
        fields: tuple[Field, ...] | Callable[[], tuple[Field, ...]] = (),
    ) -> None:
        self.name = name
        self.size = size
        self.kind = kind
        self._fields = Lazy(fields if callable(fields) else lambda: fields)

    @property
    def fields(self) -> tuple[Field, ...]:
        return self._fields.get()

    @property
    def c_name(self) -> str:
        return self.name

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """Fields by name; the first of equal names wins."""
        return {field.name: field for field in reversed(self.fields)}

    @cached_property
    def accessors(self) -> dict[str, Any]:
        """Room for the typed views' compiled accessors."""
        return {}

    def offset(self, path: str) -> int:
        """Offset of `Pcb.Header` within the record; KeyError for an unknown field."""
        return self.find(path)[0]

    def find(self, path: str) -> tuple[int, Type]:
        """Offset and type of a member path such as `Tcb.WaitBlock[1].Thread`.

        Raises:
            KeyError: the path's part that names no member.
        """
        offset, current = 0, self
        result: Type = self
        for part in path.split("."):
            name, *subscripts = part.replace("]", "").split("[")
            if not isinstance(result, Record) or name not in (current := result).by_name:
                raise KeyError(part)
            field = current.by_name[name]
            offset, result = offset + field.offset, field.type
            for subscript in subscripts:
                if not isinstance(result, Array):
                    raise KeyError(part)
                result = result.element
                offset += int(subscript) * result.size
        return offset, result


Type = BaseType | Pointer | Array | Record | Enum | BitField | Function

VOID = BaseType("Void", 0, "void", "void")
