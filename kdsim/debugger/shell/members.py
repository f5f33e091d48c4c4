"""The fields that may follow `->`, `.` or a type's name.

The expression in front of an arrow is not evaluated: its type follows from the declarations alone,
so nothing is read from the target while the user types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kdsim.debugger.language import parse
from kdsim.debugger.language import syntax_cpp as cpp
from kdsim.debugger.language.syntax_masm import Register
from kdsim.debugger.shell.known import Known
from kdsim.errors import KdsimError
from kdsim.symbols.types import Array, Field, Pointer, Record, Type
from kdsim.symbols.wildcard import matches

PseudoType = Callable[[str], Type | None]


class Members:
    """`pseudo_type` tells the type of `$proc`, `$t0` and their like."""

    def __init__(self, known: Known, pseudo_type: PseudoType) -> None:
        self._known = known
        self._pseudo_type = pseudo_type

    def of_expression(self, base: str, typed: str) -> Iterator[Field]:
        """Fields of what `base` is or points to."""
        try:
            tree = parse.cpp(base, is_type=self._known.is_type).tree
            kind = self._type(tree)
        except KdsimError:
            return
        yield from _fields(kind, typed)

    def of_type(self, name: str, path: str) -> Iterator[tuple[str, Field]]:
        """Fields of a type, or of a variable's, behind a path such as `Pcb.Header.`."""
        kind = self._known.type(name) or self._known.symbol_type(name)
        *parents, typed = path.split(".")
        for parent in parents:
            kind = _member(kind, parent)
        before = "".join(f"{parent}." for parent in parents)
        for field in _fields(kind, typed):
            yield before + field.name, field

    def _type(self, tree: cpp.Expression) -> Type | None:
        match tree:
            case cpp.Variable():
                return self._known.symbol_type(tree.name)
            case Register():
                return self._pseudo_type(tree.name)
            case cpp.Cast():
                return self._named(tree.type)
            case cpp.Member():
                return _member(self._type(tree.base), tree.name)
            case cpp.Index():
                return _pointee(self._type(tree.base))
            case cpp.Unary(operator="*"):
                return _pointee(self._type(tree.operand))
            case cpp.Unary(operator="&"):
                operand = self._type(tree.operand)
                return Pointer(operand) if operand is not None else None
            case cpp.Binary(operator="+" | "-"):
                return self._type(tree.left)
            case cpp.Conditional():
                return self._type(tree.then)
            case cpp.Macro(name="CONTAINING_RECORD", arguments=(_, record, _)):
                found = self._known.type(str(record))
                return Pointer(found) if found is not None else None
        return None

    def _named(self, name: cpp.TypeName) -> Type | None:
        found = self._known.type(name.base)
        for _ in range(name.pointers):
            found = Pointer(found) if found is not None else None
        return found


def _pointee(kind: Type | None) -> Type | None:
    if isinstance(kind, Pointer):
        return kind.target
    return kind.element if isinstance(kind, Array) else None


def _record(kind: Type | None) -> Record | None:
    """The record itself or what is one step away."""
    found = kind if isinstance(kind, Record) else _pointee(kind)
    return found if isinstance(found, Record) else None


def _member(kind: Type | None, name: str) -> Type | None:
    plain = name.partition("[")[0]
    field = next((f for f in _fields(kind, plain) if f.name.lower() == plain.lower()), None)
    if field is None:
        return None
    return _pointee(field.type) if "[" in name else field.type


def _fields(kind: Type | None, typed: str) -> Iterator[Field]:
    record = _record(kind)
    if record is not None:
        yield from (field for field in record.fields if matches(f"{typed}*", field.name))
