"""Evaluates C++ expressions: values with the types of the debuggee."""

from __future__ import annotations

import operator
from collections.abc import Callable

from kdsim.debugger.language import parse
from kdsim.debugger.language import syntax_cpp as cpp
from kdsim.debugger.language.context import Context
from kdsim.debugger.language.conversions import (
    Number,
    basic,
    common,
    fit,
    is_float,
    is_scalar,
    load,
    named_type,
    promoted,
    store,
)
from kdsim.debugger.language.numbers import MASK
from kdsim.debugger.language.problems import (
    EXTRA,
    MEMORY,
    OPERAND,
    REGISTER,
    TYPE,
    UNRESOLVED,
    ExpressionError,
)
from kdsim.debugger.language.syntax_masm import Register, Switch
from kdsim.debugger.language.typed import Typed
from kdsim.errors import CommandSyntaxError, MemoryFault
from kdsim.symbols.types import Array, BitField, Enum, Function, Pointer, Record, Type

_COMPARE: dict[str, Callable[[Number, Number], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_BITS: dict[str, Callable[[int, int], int]] = {
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}

MOST_POINTERS = 32
"""Stars of a type: more are a slip of the keyboard."""


def evaluate_prefix(context: Context, text: str, start: int) -> tuple[Typed, int]:
    """Value and end of the longest expression at `start`."""
    parsed = parse.cpp(text, start, is_type=lambda name: named_type(context, name) is not None)
    return _Cpp(context, text).value(parsed.tree), parsed.end


def evaluate_whole(context: Context, text: str) -> Typed:
    """The value of an expression that fills `text`; the comma operator is allowed."""
    parsed = parse.cpp(text, is_type=lambda name: named_type(context, name) is not None, full=True)
    rest = text[parsed.end :].lstrip()
    if rest and not rest.startswith("//"):
        raise CommandSyntaxError(EXTRA, text, len(text) - len(rest))
    return _Cpp(context, text).value(parsed.tree)


class _Cpp:
    """One evaluation; `text` is kept for the messages."""

    def __init__(self, context: Context, text: str) -> None:
        self._context = context
        self._text = text

    def value(self, tree: cpp.Expression) -> Typed:
        """Type and value of an expression."""
        place = self._place(tree)
        if place is not None:
            return self._load(*place, tree.column)
        match tree:
            case cpp.Literal():
                return Typed(basic(tree.type), tree.value)
            case cpp.Variable():
                return self._variable(tree)
            case Register():
                return self._register(tree)
            case cpp.Unary():
                return self._unary(tree)
            case cpp.Binary():
                return self._binary(tree)
            case cpp.Cast():
                return self._cast(tree)
            case cpp.SizeOf():
                return self._sizeof(tree)
            case cpp.Conditional():
                chosen = tree.then if self._true(tree.condition) else tree.otherwise
                return self.value(chosen)
            case cpp.Assign():
                return self._assign(tree)
            case cpp.Step():
                return self._step(tree)
            case cpp.Macro():
                return self._macro(tree)
            case Switch():
                return self._switch(tree)
        raise self._error(TYPE, tree.column)

    def _place(self, tree: cpp.Expression) -> tuple[Type, int] | None:
        """Type and address of an lvalue, unread: `&p->x` and `sizeof(*p)` must not touch it."""
        match tree:
            case cpp.Variable():
                found = self._variable(tree)
                return None if found.address is None else (found.type, found.address)
            case Register():
                # `r? $t1 = *(T *)x` keeps a structure, which is as good as the variable itself.
                held = self._register(tree)
                structured = isinstance(held.type, Record | Array)
                return (held.type, held.number() & MASK) if structured else None
            case cpp.Member():
                return self._member(tree)
            case cpp.Index():
                return self._index(tree)
            case cpp.Unary(operator="*"):
                return self._pointee(self._decayed(tree.operand), tree.column)
        return None

    # ---- operands ---------------------------------------------------------------------------

    def _variable(self, tree: cpp.Variable) -> Typed:
        name = tree.name
        if name.startswith("$!"):
            found = self._context.local(name[2:])
        elif name.startswith("::"):
            found = self._context.typed_symbol("!" + name[2:])
        else:
            found = self._context.typed_symbol(name) or self._enumerator(name)
        if found is None:
            raise self._error(UNRESOLVED, tree.column)
        return found

    def _enumerator(self, name: str) -> Typed | None:
        """`_KWAIT_REASON::Executive`."""
        scope, _, plain = name.rpartition("::")
        kind = named_type(self._context, scope) if scope else None
        if isinstance(kind, Enum) and plain in kind.values:
            return Typed(kind, kind.values[plain])
        return None

    def _register(self, tree: Register) -> Typed:
        if not tree.name.startswith("$"):
            number = self._context.register(tree.name)
            if number is None:
                raise self._error(REGISTER, tree.column)
            return Typed(basic("unsigned int64"), number & MASK)
        value = self._context.pseudo(tree.name)
        if value is None:
            raise self._error(REGISTER, tree.column)
        return value if isinstance(value, Typed) else Typed(basic("unsigned int64"), value & MASK)

    def _switch(self, tree: Switch) -> Typed:
        from kdsim.debugger.language.evaluate import Evaluator

        evaluator = Evaluator(self._context)
        try:
            if tree.language == "c++":
                return evaluator.cpp(tree.text)
            return Typed(basic("unsigned int64"), evaluator.masm(tree.text))
        except CommandSyntaxError as error:
            error.text, error.column = self._text, error.column + tree.text_column
            raise

    def _member(self, tree: cpp.Member) -> tuple[Type, int]:
        kind, address = self._place(tree.base) or (None, 0)
        if kind is None or isinstance(kind, Pointer):
            # `.` on a pointer is read as `->`; there is nothing else it could mean.
            base = self.value(tree.base)
            kind, address = base.type, base.number() & MASK
            if not isinstance(kind, Pointer):
                raise self._error(TYPE, tree.column)
            kind = kind.target
        elif tree.arrow and isinstance(kind, Array):
            kind = kind.element
        elif tree.arrow:
            raise self._error(TYPE, tree.column)
        field = self._complete(kind, tree.column).by_name.get(tree.name)
        if field is None:
            raise self._error(UNRESOLVED, tree.column)
        return field.type, (address + field.offset) & MASK

    def _complete(self, kind: Type, column: int) -> Record:
        """A record with its fields; a forward reference is looked up by name."""
        if isinstance(kind, Record) and not kind.fields and kind.name:
            kind = self._context.type(kind.name) or kind
        if not isinstance(kind, Record):
            raise self._error(TYPE, column)
        return kind

    def _index(self, tree: cpp.Index) -> tuple[Type, int]:
        base, subscript = self._decayed(tree.base), self._decayed(tree.subscript)
        if not isinstance(base.type, Pointer):
            base, subscript = subscript, base
        return self._pointee(self._moved(base, subscript, 1, tree.column), tree.column)

    # ---- unary operators --------------------------------------------------------------------

    def _unary(self, tree: cpp.Unary) -> Typed:
        if tree.operator == "&":
            return self._address_of(tree)
        operand = self._decayed(tree.operand)
        if tree.operator == "!":
            return Typed(basic("bool"), int(not operand.value))
        self._need_scalar(operand, tree.column)
        kind = promoted(operand.type)
        if isinstance(kind, Pointer) or (tree.operator == "~" and is_float(kind)):
            raise self._error(TYPE, tree.column)
        if tree.operator == "~":
            return Typed(kind, fit(kind, ~operand.number()))
        return Typed(kind, fit(kind, -operand.value if tree.operator == "-" else operand.value))

    def _address_of(self, tree: cpp.Unary) -> Typed:
        place = self._place(tree.operand)
        if place is None or isinstance(place[0], BitField):
            raise self._error(TYPE, tree.column)
        return Typed(self._pointer(place[0]), place[1])

    def _pointee(self, pointer: Typed, column: int) -> tuple[Type, int]:
        if not isinstance(pointer.type, Pointer):
            raise self._error(TYPE, column)
        target = pointer.type.target
        if isinstance(target, Record):
            target = self._complete(target, column)
        elif not target.size and not isinstance(target, Function | Array):
            raise self._error(TYPE, column)
        return target, pointer.number() & MASK

    def _step(self, tree: cpp.Step) -> Typed:
        old = self.value(tree.operand)
        one = Typed(basic("int"), 1)
        new = self._sum("+" if tree.operator == "++" else "-", old, one, tree.column)
        stored = self._store(old, new, tree.column)
        return Typed(old.type, old.value) if tree.after else stored

    def _sizeof(self, tree: cpp.SizeOf) -> Typed:
        if isinstance(tree.operand, cpp.TypeName):
            kind = self._type(tree.operand)
        else:
            kind = self._type_of_value(tree.operand)
        if isinstance(kind, Record):
            kind = self._complete(kind, tree.column)
        return Typed(basic("unsigned int64"), kind.size)

    # ---- binary operators -------------------------------------------------------------------

    def _binary(self, tree: cpp.Binary) -> Typed:
        match tree.operator:
            case ",":
                self.value(tree.left)
                return self.value(tree.right)
            case "&&":
                both = self._true(tree.left) and self._true(tree.right)
                return Typed(basic("bool"), int(both))
            case "||":
                either = self._true(tree.left) or self._true(tree.right)
                return Typed(basic("bool"), int(either))
        left, right = self._decayed(tree.left), self._decayed(tree.right)
        return self._operate(tree.operator, left, right, tree.column)

    def _operate(self, sign: str, left: Typed, right: Typed, column: int) -> Typed:
        self._need_scalar(left, column)
        self._need_scalar(right, column)
        if sign in ("+", "-"):
            return self._sum(sign, left, right, column)
        if sign in _COMPARE:
            return self._compare(sign, left, right)
        kinds = promoted(left.type), promoted(right.type)
        if any(isinstance(kind, Pointer) for kind in kinds):
            raise self._error(TYPE, column)
        if sign in ("<<", ">>"):
            return self._shift(sign, left, right, column)
        kind = common(*kinds)
        a, b = fit(kind, left.value), fit(kind, right.value)
        if sign == "*":
            return Typed(kind, fit(kind, a * b))
        if sign in ("/", "%"):
            return Typed(kind, self._divide(sign, kind, a, b, column))
        if is_float(kind):
            raise self._error(TYPE, column)
        return Typed(kind, fit(kind, _BITS[sign](int(a), int(b))))

    def _sum(self, sign: str, left: Typed, right: Typed, column: int) -> Typed:
        direction = 1 if sign == "+" else -1
        if isinstance(left.type, Pointer) and isinstance(right.type, Pointer):
            size = left.type.target.size
            if sign == "+" or not size:
                raise self._error(TYPE, column)
            distance = fit(basic("int64"), left.number() - right.number())
            return Typed(basic("int64"), int(distance) // size)
        if isinstance(left.type, Pointer):
            return self._moved(left, right, direction, column)
        if isinstance(right.type, Pointer):
            if sign == "-":
                raise self._error(TYPE, column)
            return self._moved(right, left, 1, column)
        kind = common(promoted(left.type), promoted(right.type))
        result = fit(kind, left.value) + direction * fit(kind, right.value)
        return Typed(kind, fit(kind, result))

    def _moved(self, pointer: Typed, count: Typed, direction: int, column: int) -> Typed:
        """Pointer arithmetic counts in elements."""
        kind = pointer.type
        self._need_scalar(count, column)
        if not isinstance(kind, Pointer) or is_float(count.type) or isinstance(count.type, Pointer):
            raise self._error(TYPE, column)
        target = kind.target
        if isinstance(target, Record):
            target = self._complete(target, column)
        if isinstance(target, Function):
            raise self._error(TYPE, column)
        # A pointer to void counts in bytes.
        step = (target.size or 1) * count.number() * direction
        return Typed(kind, (pointer.number() + step) & MASK)

    def _compare(self, sign: str, left: Typed, right: Typed) -> Typed:
        a, b = left.value, right.value
        if not isinstance(left.type, Pointer) and not isinstance(right.type, Pointer):
            kind = common(promoted(left.type), promoted(right.type))
            a, b = fit(kind, a), fit(kind, b)
        return Typed(basic("bool"), int(_COMPARE[sign](a, b)))

    def _shift(self, sign: str, left: Typed, right: Typed, column: int) -> Typed:
        kind = promoted(left.type)
        if is_float(kind) or is_float(right.type):
            raise self._error(TYPE, column)
        # The processor looks at the low five or six bits of the count.
        count = right.number() & (kind.size * 8 - 1)
        value = left.number() << count if sign == "<<" else left.number() >> count
        return Typed(kind, fit(kind, value))

    def _divide(self, sign: str, kind: Type, a: Number, b: Number, column: int) -> Number:
        if sign == "%" and is_float(kind):
            raise self._error(TYPE, column)
        if b == 0:
            raise self._error(OPERAND, column)
        if is_float(kind):
            return fit(kind, a / b)
        # C rounds towards zero.
        quotient = abs(int(a)) // abs(int(b))
        quotient = -quotient if (a < 0) != (b < 0) else quotient
        return fit(kind, quotient if sign == "/" else int(a) - quotient * int(b))

    # ---- casts, assignments, macros ---------------------------------------------------------

    def _cast(self, tree: cpp.Cast) -> Typed:
        kind, operand = self._type(tree.type), self._decayed(tree.operand)
        if not is_scalar(kind) or not is_scalar(operand.type):
            raise self._error(TYPE, tree.column)
        if isinstance(kind, Pointer) and is_float(operand.type):
            raise self._error(TYPE, tree.column)
        return Typed(kind, fit(kind, operand.value))

    def _assign(self, tree: cpp.Assign) -> Typed:
        target, value = self.value(tree.target), self._decayed(tree.value)
        sign = tree.operator[:-1]
        if sign:
            value = self._operate(sign, target, value, tree.column)
        return self._store(target, value, tree.column)

    def _store(self, target: Typed, value: Typed, column: int) -> Typed:
        """Write to an lvalue; registers and pseudo-registers are none (use `r`)."""
        if target.address is None or not is_scalar(target.type) or not is_scalar(value.type):
            raise self._error(TYPE, column)
        try:
            store(self._context, target.type, target.address, value.value)
        except MemoryFault as fault:
            raise self._error(MEMORY, column, fault.reason) from fault
        return self._load(target.type, target.address, column)

    def _macro(self, tree: cpp.Macro) -> Typed:
        size, given = basic("unsigned int64"), tree.arguments
        match tree.name, len(given):
            case "CONTAINING_RECORD", 3:
                record = self._type_of(given[1])
                offset, _ = self._path(record, given[2], tree.column)
                member = self._argument(given[0]).number()
                return Typed(self._pointer(record), (member - offset) & MASK)
            case "FIELD_OFFSET", 2:
                offset, _ = self._path(self._type_of(given[0]), given[1], tree.column)
                return Typed(basic("long"), offset)
            case "RTL_FIELD_SIZE", 2:
                _, field = self._path(self._type_of(given[0]), given[1], tree.column)
                return Typed(size, field.size)
            case "RTL_SIZEOF_THROUGH_FIELD", 2:
                offset, field = self._path(self._type_of(given[0]), given[1], tree.column)
                return Typed(size, offset + field.size)
            case "RTL_NUMBER_OF", 1 if not isinstance(given[0], cpp.TypeName):
                array = self._type_of_value(given[0])
                if isinstance(array, Array):
                    return Typed(size, array.count)
            case "RTL_CONTAINS_FIELD", 3:
                pointer = self._argument(given[0]).type
                record = pointer.target if isinstance(pointer, Pointer) else pointer
                offset, field = self._path(record, given[2], tree.column)
                limit = self._argument(given[1]).number()
                return Typed(basic("bool"), int(offset + field.size <= limit))
        raise self._error(TYPE, tree.column)

    def _path(
        self, record: Type, path: cpp.TypeName | cpp.Expression, column: int
    ) -> tuple[int, Type]:
        """Offset and type of `Pcb.Header[1].Lock` in a record."""
        try:
            return self._complete(record, column).find(str(path))
        except (KeyError, ValueError):
            raise self._error(UNRESOLVED, path.column) from None

    def _type_of(self, tree: cpp.TypeName | cpp.Expression) -> Type:
        """A macro's type argument: a type, or a name that is one nowhere else."""
        if isinstance(tree, cpp.TypeName):
            return self._type(tree)
        found = named_type(self._context, str(tree))
        if found is None:
            raise self._error(UNRESOLVED, tree.column)
        return found

    def _argument(self, tree: cpp.TypeName | cpp.Expression) -> Typed:
        """A macro's value argument."""
        if isinstance(tree, cpp.TypeName):
            raise self._error(TYPE, tree.column)
        return self._decayed(tree)

    # ---- helpers ----------------------------------------------------------------------------

    def _type_of_value(self, tree: cpp.Expression) -> Type:
        """The type of an expression; what it stands for is not read."""
        place = self._place(tree)
        return self.value(tree).type if place is None else place[0]

    def _type(self, tree: cpp.TypeName) -> Type:
        kind = named_type(self._context, tree.base)
        if kind is None:
            raise self._error(UNRESOLVED, tree.column)
        if tree.pointers > MOST_POINTERS:
            raise self._error(TYPE, tree.column)
        for _ in range(tree.pointers):
            kind = self._pointer(kind)
        for count in reversed(tree.dimensions):
            kind = Array(kind, count)
        return kind

    def _pointer(self, target: Type) -> Pointer:
        return Pointer(lambda: target, self._context.pointer_size)

    def _decayed(self, tree: cpp.Expression) -> Typed:
        return self._decay(self.value(tree))

    def _decay(self, value: Typed) -> Typed:
        """Arrays and functions become pointers."""
        if isinstance(value.type, Array):
            return Typed(self._pointer(value.type.element), value.number())
        if isinstance(value.type, Function):
            return Typed(self._pointer(value.type), value.number())
        return value

    def _true(self, tree: cpp.Expression) -> bool:
        value = self._decayed(tree)
        self._need_scalar(value, tree.column)
        return value.value != 0

    def _need_scalar(self, value: Typed, column: int) -> None:
        if not is_scalar(value.type):
            raise self._error(TYPE, column)

    def _load(self, kind: Type, address: int, column: int) -> Typed:
        try:
            return load(self._context, kind, address)
        except MemoryFault as fault:
            raise self._error(MEMORY, column, fault.reason) from fault

    def _error(self, message: str, column: int, reason: str = "") -> ExpressionError:
        return ExpressionError(message, self._text, column, reason)
