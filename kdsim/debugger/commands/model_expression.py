"""The expressions of `dx`: C++ expressions in which objects of the debugger may stand.

A chain is an object and what is asked of it: `@$curprocess.Threads.Count()`. Each chain of an
expression is evaluated first; where more stands around it, its value goes into the C++ expression
under a name of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from kdsim.debugger.commands.context import SessionContext
from kdsim.debugger.commands.model_objects import (
    Sequence,
    Thing,
    Value,
    from_list_entry,
    root,
)
from kdsim.debugger.language.conversions import basic
from kdsim.debugger.language.evaluate import Evaluator
from kdsim.debugger.language.problems import UNRESOLVED, ExpressionError
from kdsim.debugger.language.typed import Typed
from kdsim.errors import ArgumentError, CommandSyntaxError, MemoryFault, SymbolError
from kdsim.symbols.types import VOID

if TYPE_CHECKING:
    from kdsim.debugger.session import Session

Scope = Mapping[str, Value]

_WORD = re.compile(r"@?\$?[A-Za-z_][\w$]*(?:!\w+)?")
_NAME = re.compile(r"[A-Za-z_]\w*")
_LAMBDA = re.compile(r"\s*\(?\s*([A-Za-z_]\w*)\s*\)?\s*=>")
_NEW = re.compile(r"\s*new\s*\{(.*)\}\s*$", re.DOTALL)
_STRING = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*$')
_COMPARED = re.compile(r'\s*(__model\d+)\s*(==|!=)\s*"((?:[^"\\]|\\.)*)"\s*$')
_OPENING, _CLOSING = "([{", ")]}"


class ModelContext(SessionContext):
    """The session's names, and those of objects that stand for a part of the expression."""

    def __init__(self, outer: SessionContext, values: Mapping[str, Typed]) -> None:
        super().__init__(outer.session)
        self._kept = outer._kept
        self._values = values

    def typed_symbol(self, name: str) -> Typed | None:
        """A symbol without a type stands for its address, of which `&` is a `void *`."""
        if name in self._values:
            return self._values[name]
        found = super().typed_symbol(name)
        if found is not None:
            return found
        try:
            located = self.session.symbols.lookup(name)
        except SymbolError:
            return None
        return Typed(VOID, located[0].va, located[0].va) if located else None


class ModelExpressions:
    """Evaluates for one session."""

    def __init__(self, session: Session, context: SessionContext) -> None:
        self._session = session
        self._context = context

    def value(self, text: str, scope: Scope | None = None) -> Value:
        """The value of an expression, with the names of lambdas in `scope`."""
        scope = scope or {}
        if found := _NEW.match(text):
            return self._new(found[1], scope)
        if found := _STRING.match(text):
            return found[1]
        pieces: list[str] = []
        values: list[Value] = []
        position = 0
        while position < len(text):
            word = None if _inside_name(text, position) else _WORD.match(text, position)
            start = None
            if word is not None:
                start = scope.get(word[0], root(self._session, word[0]))
            if word is None or start is None:
                end = word.end() if word else position + 1
                pieces.append(text[position:end])
                position = end
                continue
            value, position = self._chain(start, text, word.end(), scope)
            pieces.append(f"__model{len(values)}")
            values.append(value)
        replaced = "".join(pieces)
        if len(values) == 1 and replaced.strip() == "__model0":
            return values[0]
        return self._native(replaced, values, text)

    def _native(self, text: str, values: list[Value], original: str) -> Value:
        compared = _COMPARED.match(text)
        if compared:
            value = values[int(compared[1].removeprefix("__model"))]
            return (value == compared[3]) == (compared[2] == "==")
        bound = {f"__model{n}": _as_typed(value) for n, value in enumerate(values)}
        try:
            return Evaluator(ModelContext(self._context, bound)).cpp(text)
        except ExpressionError as error:
            raise ArgumentError(_problem(error)) from error
        except CommandSyntaxError as error:
            raise ArgumentError(f"Error: {error.message} in '{original}'") from error
        except ArgumentError as error:
            raise ArgumentError(f"Error: {error}") from error

    def _new(self, body: str, scope: Scope) -> Thing:
        """`new { Name = p.Name, Id = p.Id }`."""
        members: dict[str, Callable[[], Value]] = {}
        for part in split(body):
            name, equals, expression = part.partition("=")
            if not equals or not _NAME.fullmatch(name.strip()):
                raise ArgumentError("Error: new takes { name = expression, ... }")
            members[name.strip()] = partial(_same, self.value(expression.strip(), scope))
        return Thing(members=members)

    # -- chains ----------------------------------------------------------------------------------

    def _chain(self, value: Value, text: str, position: int, scope: Scope) -> tuple[Value, int]:
        """Follow `.Member`, `.Method(...)` and `[key]` as far as they lead through objects."""
        while position < len(text):
            if isinstance(value, Typed):
                break
            if text[position] == "[" and isinstance(value, Sequence):
                end = _closing(text, position)
                key = self.number(text[position + 1 : end], scope)
                value, position = _item(value, key), end + 1
                continue
            found = _NAME.match(text, position + 1) if text[position] == "." else None
            if found is None:
                break
            name, position = found[0], found.end()
            if text[position : position + 1] == "(":
                end = _closing(text, position)
                value = self._method(value, name, split(text[position + 1 : end]), scope)
                position = end + 1
            else:
                value = _member(value, name)
        return value, position

    def number(self, text: str, scope: Scope | None = None) -> int:
        value = self.value(text, scope)
        if isinstance(value, int):
            return value
        if isinstance(value, Typed):
            return value.number()
        raise ArgumentError(f"Error: '{text}' is not a number")

    def _method(self, value: Value, name: str, arguments: list[str], scope: Scope) -> Value:
        if name == "FromListEntry" and isinstance(value, Thing) and len(arguments) == 3:
            head = self.value(arguments[0], scope)
            return from_list_entry(
                self._session, head, _quoted(arguments[1]), _quoted(arguments[2])
            )
        if not isinstance(value, Sequence):
            raise ArgumentError(f"Error: Unable to bind name '{name}'")
        rows = value.rows
        match name, len(arguments):
            case "Count", 0:
                return sum(1 for _ in rows())
            case "First", 0:
                return next((item for _, item in rows()), "")
            case "Take", 1:
                count = self.number(arguments[0], scope)
                return Sequence(lambda: (row for row, _ in zip(rows(), range(count), strict=False)))
            case "Skip", 1:
                count = self.number(arguments[0], scope)
                return Sequence(lambda: (row for n, row in enumerate(rows()) if n >= count))
            case "Select" | "Where" | "OrderBy" | "OrderByDescending", 1:
                return self._query(name, rows, self._lambda(arguments[0], scope))
        raise ArgumentError(f"Error: Unable to bind name '{name}'")

    def _lambda(self, text: str, scope: Scope) -> Callable[[Value], Value]:
        found = _LAMBDA.match(text)
        if found is None:
            raise ArgumentError(f"Error: '{text}' is not a lambda, for instance p => p.Name")
        name, body = found[1], text[found.end() :].strip()
        return lambda value: self.value(body, {**scope, name: value})

    def _query(
        self,
        name: str,
        rows: Callable[[], Iterator[tuple[int, Value]]],
        function: Callable[[Value], Value],
    ) -> Sequence:
        if name == "Select":
            return Sequence(lambda: ((key, function(item)) for key, item in rows()))
        if name == "Where":
            return Sequence(lambda: ((k, item) for k, item in rows() if _true(function(item))))
        backwards = name == "OrderByDescending"
        return Sequence(
            lambda: iter(
                sorted(rows(), key=lambda row: _order(function(row[1])), reverse=backwards)
            )
        )


def _same(value: Value) -> Value:
    return value


def split(text: str) -> list[str]:
    """The parts between commas that stand in no brackets and no quotes."""
    parts, depth, start, quoted = [], 0, 0, False
    for position, char in enumerate(text):
        if char == '"' and text[position - 1 : position] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    last = text[start:].strip()
    return [*parts, last] if last or parts else []


def _inside_name(text: str, position: int) -> bool:
    """Behind a letter, a dot or an arrow no object begins."""
    before = text[:position]
    return bool(before) and (before[-1].isalnum() or before[-1] in "_.!$" or before.endswith("->"))


def _closing(text: str, position: int) -> int:
    """Where the bracket at `position` is closed."""
    depth, quoted = 0, False
    for place in range(position, len(text)):
        char = text[place]
        if char == '"':
            quoted = not quoted
        if quoted:
            continue
        depth += (char in _OPENING) - (char in _CLOSING)
        if depth == 0:
            return place
    raise ArgumentError(f"Error: a bracket is not closed in '{text}'")


def _quoted(text: str) -> str:
    found = _STRING.match(text)
    if found is None:
        raise ArgumentError(f"Error: '{text}' is not a string")
    return found[1]


def _member(value: Value, name: str) -> Value:
    maker = value.members.get(name) if isinstance(value, Thing) else None
    if maker is None:
        raise ArgumentError(f"Error: Unable to bind name '{name}'")
    return maker()


def _item(value: Sequence, key: int) -> Value:
    for found, item in value.rows():
        if found == key:
            return item
    raise ArgumentError(f"Error: No element at index 0x{key:x}")


def _true(value: Value) -> bool:
    return bool(value.number() if isinstance(value, Typed) else value)


def _order(value: Value) -> tuple[int, int, str]:
    if isinstance(value, Typed):
        return 0, value.number(), ""
    return (0, value, "") if isinstance(value, int) else (1, 0, str(value).lower())


def _as_typed(value: Value) -> Typed:
    if isinstance(value, Typed):
        return value
    if isinstance(value, int):
        return Typed(basic("unsigned int64"), value)
    raise ArgumentError("Error: an object cannot take part in a C++ expression")


def _problem(error: ExpressionError) -> str:
    """What `dx` says of an expression that has no value."""
    if error.message == UNRESOLVED:
        found = re.compile(r"(?:\.|->)?\s*([\w!$:@]+)").match(error.text, error.column)
        return f"Error: Unable to bind name '{found[1] if found else error.text[error.column :]}'"
    if isinstance(error.__cause__, MemoryFault):
        return f"Error: Unable to read memory at Address 0x{error.__cause__.address:x}"
    return f"Error: {error.message} in '{error.text}'"
