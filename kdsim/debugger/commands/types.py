"""`dt`: types, and memory seen through them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsim.debugger.backends.base import Caps
from kdsim.debugger.commands.listing import in_pieces
from kdsim.debugger.commands.registry import HELP_LETTER, HELP_SWITCH, Option, Param, command
from kdsim.debugger.commands.type_list import TypeList, list_types, prefix_matches
from kdsim.debugger.commands.type_request import TypeRequest, read_request
from kdsim.debugger.inspect.nt import LIST_LIMIT
from kdsim.debugger.inspect.typetree import NAME_WIDTH, FieldLine, TypeTree
from kdsim.debugger.inspect.typevalues import TypeValues
from kdsim.debugger.language.conversions import named_type
from kdsim.debugger.language.numbers import MASK
from kdsim.debugger.language.typed import Typed
from kdsim.debugger.language.typed_text import type_name
from kdsim.debugger.text import address as tick
from kdsim.debugger.variables import Variable, scope_variables, typed_global
from kdsim.errors import ArgumentError, MemoryFault, SymbolError
from kdsim.symbols.memory import BytesMemory
from kdsim.symbols.types import Array, BaseType, Enum, Function, Pointer, Record, Type
from kdsim.symbols.wildcard import has_wildcard

if TYPE_CHECKING:
    from kdsim.debugger.language.arguments import Arguments
    from kdsim.debugger.language.context import Context
    from kdsim.debugger.session import Session

RULER = "-" * 45


@dataclass(frozen=True, slots=True)
class TypeDump:
    """A type's fields, or a value of it."""

    heading: tuple[str, ...]
    rows: tuple[FieldLine, ...]
    width: int = NAME_WIDTH
    offsets: bool = True
    indent: bool = True
    compact: bool = False
    problem: str = ""
    type: str = ""
    address: int | None = None

    def lines(self) -> Iterator[str]:
        yield from self.heading
        texts = [
            row.line(self.width, offsets=self.offsets, indent=self.indent) for row in self.rows
        ]
        if self.compact and texts:
            yield " " + " ".join(" ".join(text.split()) for text in texts)
        else:
            yield from texts
        if self.problem:
            yield self.problem


@dataclass(frozen=True, slots=True)
class PlainValue:
    """What has no fields: a number, a pointer, an array, a function, an enumeration.

    Attributes:
        texts: its value, or its type where there is no value; one for each element of an array.
    """

    heading: tuple[str, ...]
    type: str
    address: int | None
    texts: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        yield from self.heading
        yield from self.texts


@dataclass(frozen=True, slots=True)
class LinkedValues:
    """`-l`: the elements of a list, each with its address."""

    field: str
    elements: tuple[tuple[int, TypeDump], ...]

    def lines(self) -> Iterator[str]:
        for address, element in self.elements:
            yield f"{self.field} at 0x{tick(address)}"
            yield RULER
            yield from element.lines()
            yield ""


Shown = TypeDump | PlainValue | LinkedValues


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a name stands for.

    Attributes:
        value: of a variable in a register.
        heading: what is said before its fields.
        is_lost: the heading is all there is to say.
    """

    type: Type
    address: int | None = None
    value: int | None = None
    heading: tuple[str, ...] = ()
    is_lost: bool = False


@command(
    "dt",
    summary="A type's layout, or memory shown as that type.",
    group="types",
    params=(
        Param("type", "type", "nt!_EPROCESS; with * a list of names; or a variable"),
        Param("fields", "field", "only these; name. opens one", optional=True),
        Param("address", "expression", "where the value lies", optional=True),
    ),
    options=(
        Option("-r[n]", "inner structures, n levels deep"),
        Option("-b", "all inner structures"),
        Option("-a[n]", "elements of arrays, each on its line"),
        Option("-v", "sizes and counts"),
        Option("-o", "no offsets"),
        Option("-i", "no indentation"),
        Option("-c", "on one line"),
        Option("-l", "follow the list that this field links", "<field>"),
        Option("-p", "the address is physical"),
        Option("-n", "what follows is a name"),
        Option("-y", "what follows begins a name"),
        Option("-e", "the name is a type, not a variable"),
        Option("-t", "list types only"),
        Option("-s", "list types of this size only", "<size>"),
        Option("-d", "each type of a list in full"),
        HELP_LETTER,
        HELP_SWITCH,
    ),
    needs=Caps.NONE,
    see_also=("x", "dv", "dx", "??"),
    examples=("dt nt!_EPROCESS ImageFileName", "dt -r1 nt!_KTHREAD @$thread"),
    notes="name. opens a field, name.. two levels; name* lists; name[2] is an element (decimal).",
    glued=r"[-/\s]",
    processor_prefix=True,
)
def dt(session: Session, args: Arguments, name: str) -> Shown | TypeList:
    """Types come from the module's PDB; values from memory at the address given."""
    session.cursor.display, session.cursor.arguments = name, args.text[args.start :]
    if typed := _typed_register(args):
        return _Display(session, args, TypeRequest()).show(typed)
    request = read_request(args)
    note = _repeated(session, request)
    if request.is_prefix and (found := prefix_matches(session, request)):
        session.out.write("".join(f"{line}\n" for line in found.lines()))
        request.name = found.rows[0].name
    elif has_wildcard(request.name.partition("[")[0]) or request.name.endswith("!"):
        return list_types(session, request)
    display = _Display(session, args, request)
    subject = display.subject() if request.name else display.at(request.address)
    return display.show(dataclasses.replace(subject, heading=(*note, *subject.heading)))


def _typed_register(args: Arguments) -> _Subject | None:
    """`dt @$t0`, alone, when it was given a type by `r?`."""
    word = args.peek().strip()
    if not word.startswith("@$") or not word[2:].isalnum():
        return None
    value = args.context.pseudo(word[1:].lower())
    if not isinstance(value, Typed):
        return None
    args.rest()
    if isinstance(value.value, float):
        return _Subject(value.type, heading=(f"{value.value:g}",), is_lost=True)
    return _Subject(value.type, value.address, value.number())


def _repeated(session: Session, request: TypeRequest) -> tuple[str, ...]:
    """`dt .` takes the last name again."""
    cursor = session.cursor
    if request.name == ".":
        if not cursor.type_name:
            raise ArgumentError("dt . repeats the last name, and there is none yet")
        request.name = cursor.type_name
        return (f"Using sym {request.name}",)
    if request.name:
        cursor.type_name = request.name
    elif request.address is None:
        raise ArgumentError("dt needs a type or a variable, for instance dt nt!_EPROCESS")
    return ()


class _Display:
    """One `dt` of a type or variable."""

    def __init__(self, session: Session, args: Arguments, request: TypeRequest) -> None:
        self._session = session
        self._context = args.context
        self._request = request
        self._integers = session.settings.integers
        memory = session.physical if request.has("p") else session.memory
        style = dataclasses.replace(request.style, integers=self._integers)
        self._tree = TypeTree(memory, style, session.disassembler.symbol)

    @property
    def _values(self) -> TypeValues:
        return self._tree.values

    # -- what a name stands for ------------------------------------------------------------------

    def subject(self) -> _Subject:
        """The local variable, type or global variable of the request's name."""
        name = self._request.name
        if "!" not in name and not self._request.has("e") and self._request.address is None:
            local = _local(self._session, name)
            if local is not None:
                return _local_subject(local)
        kind = _type(self._context, name)
        if kind is not None:
            return _Subject(kind, heading=self._home(name, kind))
        if self._request.has("e"):
            raise SymbolError(f"Symbol {name} not found.")
        return self._global(name)

    def _home(self, name: str, kind: Type) -> tuple[str, ...]:
        """`nt!_EPROCESS`: where a type was found that was named without its module."""
        if "!" in name or not isinstance(kind, Record | Enum):
            return ()
        symbols = self._session.symbols
        for module in symbols.modules_like():
            full = f"{module.name}!{kind.name}"
            with contextlib.suppress(SymbolError):
                symbols.type(full)
                return (full,)
        return ()

    def _global(self, name: str) -> _Subject:
        with contextlib.suppress(SymbolError):
            found = typed_global(self._session, name)
            if found is not None:
                place, kind = found
                named = "!" in name or isinstance(kind, Function)
                return _Subject(kind, place.va, heading=() if named else (place.name,))
        raise SymbolError(f"Symbol {name} not found.")

    def at(self, address: int | None) -> _Subject:
        """`dt Address`: the variable that lies there."""
        found = self._session.symbols.nearest(address or 0)
        if found is None or found[1] or found[0].symbol.type is None:
            raise SymbolError(f"Symbol not found at address {address or 0:016x}.")
        return _Subject(found[0].symbol.type, address, heading=(found[0].name,))

    # -- showing it ------------------------------------------------------------------------------

    def show(self, subject: _Subject) -> Shown:
        """The fields of a record, the elements of an array, or a value."""
        request = self._request
        kind, heading = subject.type, subject.heading
        if subject.is_lost:
            return PlainValue(heading, type_name(kind), None, ())
        place = subject.address if request.address is None else request.address
        if isinstance(kind, Pointer) and isinstance(kind.target, Record):
            value = subject.value
            if value is None and place is not None:
                value = self._values.integer(place, kind.size)
                heading = (*heading, f"0x{tick(value)} ")
            if value is not None:
                kind, place = kind.target, value
                if not place:
                    texts = () if subject.value is None else ("(null) ",)
                    return PlainValue(heading, type_name(kind), place, texts)
        elif subject.value is not None:
            text = self._register_value(kind, subject.value)
            return PlainValue(heading, type_name(kind), None, (text,))
        if request.list_field:
            return self._walk(kind, place)
        in_a_row = request.arrays and place is not None and not request.fields
        if isinstance(kind, Record) and not in_a_row:
            return self._record(kind, place, heading)
        return PlainValue(heading, type_name(kind), place, tuple(self._plain(kind, place)))

    def _register_value(self, kind: Type, value: int) -> str:
        if isinstance(kind, Pointer):
            return self._values.pointer(kind, value)
        raw = (value & MASK).to_bytes(8, "little")[: kind.size or 8]
        return TypeValues(BytesMemory(0, raw), integers=self._integers).value(kind, 0)

    def _plain(self, kind: Type, place: int | None) -> list[str]:
        """A number, a pointer, an array, an enumeration, a function."""
        request = self._request
        if isinstance(kind, Array) and place is not None:
            return self._array(kind, place)
        if request.arrays is not None and place is not None:
            # `dt -a10 ULONG Address`: the name stands for so many of them in a row.
            return self._array(Array(kind, request.arrays or 1), place)
        if isinstance(kind, Function):
            parameters = ", ".join(map(type_name, kind.parameters)) or "void"
            name = request.name if place is None else self._session.symbols.format(place)
            return [f"{name}  {type_name(kind.result)} ({parameters})"]
        if place is not None:
            return [self._values.value(kind, place)]
        if isinstance(kind, Enum):
            heading = [f"Enum {kind.name},  {len(kind.values)} total enums"]
            values = (f"   {name} = 0n{value}" for name, value in kind.values.items())
            return [*(heading if request.verbose else ()), *values]
        return [self._values.type_text(kind)]

    def _array(self, kind: Array, place: int) -> list[str]:
        """All of an array, each element on its line; text on one."""
        request = self._request
        element = kind.element
        if request.arrays is None and isinstance(element, BaseType) and element.size == 1:
            return [self._values.value(kind, place)]
        count = min(request.arrays or kind.count, kind.count)
        if isinstance(element, Record) and not request.has("c"):
            tree = self._tree.elements(kind, place, count, 0)
            rows = [row.line(offsets=not request.has("o")) for row in tree]
            return [*rows, *self._read_error()]
        form = "[{}] {}" if request.has("c") else "[{:02}] {}"
        lines: list[str] = []
        for index in range(count):
            self._session.check_interrupt()
            text = self._values.value(element, place + index * element.size)
            lines.append(form.format(index, text).rstrip())
            if self._values.failure is not None:
                break  # what lies behind memory that cannot be read is not looked for
        return [*lines, *self._read_error()]

    def _read_error(self) -> Iterator[str]:
        if self._tree.failure is not None:
            yield f"Memory read error {self._tree.failure.address:016x}"

    def _record(self, kind: Record, place: int | None, heading: tuple[str, ...]) -> TypeDump:
        request = self._request
        if request.verbose:
            heading = (*heading, self._values.type_text(kind))
        if place is not None and not request.fields:
            heading = (*heading, *self._summary(kind, place))
        rows = self._tree.fields(kind, place, request.fields)
        headings = iter([heading])
        found = in_pieces(
            self._session,
            rows,
            lambda piece: self._dump(kind, place, next(headings, ()), tuple(piece)),
        )
        if request.fields and not found.rows:
            raise ArgumentError("Cannot find specified field members.")
        return dataclasses.replace(found, problem="".join(self._read_error()))

    def _summary(self, kind: Record, place: int) -> Iterator[str]:
        """The line over the fields of a list entry, a string, a large integer."""
        try:
            text = self._values.summary(kind, place)
        except MemoryFault:
            return
        if text:
            yield f" {text}"

    def _dump(
        self,
        kind: Record,
        place: int | None,
        heading: tuple[str, ...],
        rows: tuple[FieldLine, ...],
    ) -> TypeDump:
        request = self._request
        return TypeDump(
            heading,
            rows,
            request.width,
            offsets=not request.has("o"),
            indent=not request.has("i"),
            compact=request.has("c"),
            type=type_name(kind),
            address=place,
        )

    def _walk(self, kind: Type, place: int | None) -> LinkedValues:
        """`-l Field`: this record, then the one its field points at, and so on."""
        field = self._request.list_field
        if not isinstance(kind, Record) or place is None:
            raise ArgumentError("dt -l needs a structure and an address")
        offset, back = _link(kind, field)
        elements: list[tuple[int, TypeDump]] = []
        start = place
        for _ in range(LIST_LIMIT):
            self._session.check_interrupt()
            rows = self._tree.fields(kind, place, self._request.fields)
            elements.append((place, self._dump(kind, place, (), tuple(rows))))
            place = self._session.memory.u64(place + offset)
            if not place:
                break
            place -= back
            if place == start:
                break
        return LinkedValues(field, tuple(elements))


def _link(kind: Record, field: str) -> tuple[int, int]:
    """Offset of the pointer to follow, and what to subtract from it to get the next record.

    A link inside a list entry leads to the list entry inside the next record.
    """
    try:
        offset, link = kind.find(field)
        if isinstance(link, Record):
            return offset, offset
        outer, _, inner = field.rpartition(".")
        return offset, kind.offset(outer) if inner and outer else 0
    except KeyError:
        raise ArgumentError(f"{kind.name} has no field {field}") from None


def _local(session: Session, name: str) -> Variable | None:
    """The local variable of a name; it is found even when its case differs."""
    variables = scope_variables(session)[::-1]
    same = (v for v in variables if v.name == name)
    folded = (v for v in variables if v.name.lower() == name.lower())
    return next(same, None) or next(folded, None)


def _local_subject(local: Variable) -> _Subject:
    kind = type_name(local.type).removeprefix("struct ").removeprefix("union ").replace(" *", "*")
    if local.address is not None:
        return _Subject(
            local.type, local.address, heading=(f"Local var @ 0x{local.address:x} Type {kind}",)
        )
    if local.value is None:
        heading = (f"Local var Type {kind}", local.problem)
        return _Subject(local.type, heading=heading, is_lost=True)
    where = f"Local var @ {local.register} Type {kind}"
    return _Subject(local.type, value=local.value, heading=(where,))


def _type(context: Context, name: str) -> Type | None:
    """A type by its name; `CHAR[8]` and `_KPRCB*` are made from one."""
    name = name.strip()
    if name.endswith("*"):
        target = _type(context, name[:-1])
        return Pointer(target) if target else None
    if name.endswith("]"):
        element, _, count = name[:-1].rpartition("[")
        if not count.isdecimal():
            raise ArgumentError(f"{name}: a subscript has to be a decimal number")
        inner = _type(context, element)
        return Array(inner, int(count)) if inner else None
    return named_type(context, name)
