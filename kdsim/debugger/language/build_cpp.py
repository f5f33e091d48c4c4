"""Turns what `grammar/cpp.lark` recognises into syntax trees."""

from __future__ import annotations

import dataclasses
import re

from lark import Token, Transformer, v_args

from kdsim.debugger.language.numbers import TooBig, integer, signed, unescape
from kdsim.debugger.language.syntax_cpp import (
    Assign,
    Binary,
    Cast,
    Conditional,
    Expression,
    Index,
    Literal,
    Macro,
    Member,
    SizeOf,
    Step,
    TypeName,
    Unary,
    Variable,
)
from kdsim.debugger.language.syntax_masm import Register, Switch

_NUMBER = re.compile(r"(0x[0-9a-f`]+|\d+)([ul]*|u?i64)", re.IGNORECASE)
# The order in which C tries types for a literal; on Windows a long has 32 bits. Decimal literals
# without U never become unsigned.
_DECIMAL = (("int", 31), ("int64", 63), ("unsigned int64", 64))
_OTHER = (("int", 31), ("unsigned int", 32), ("int64", 63), ("unsigned int64", 64))


@v_args(inline=True)
class CppBuilder(Transformer[Token, Expression]):
    """One method per rule alias of the grammar."""

    def start(self, tree: Expression) -> Expression:
        return tree

    full = start

    def sequence(self, left: Expression, right: Expression) -> Expression:
        return Binary(",", left, right, left.column)

    def binary(self, left: Expression, operator: Token, right: Expression) -> Expression:
        return Binary(str(operator), left, right, left.column)

    logical = binary

    def assign(self, target: Expression, operator: Token, value: Expression) -> Expression:
        return Assign(str(operator), target, value, target.column)

    def conditional(self, test: Expression, then: Expression, other: Expression) -> Expression:
        return Conditional(test, then, other, test.column)

    def cast(self, kind: TypeName, operand: Expression) -> Expression:
        return Cast(kind, operand, kind.column)

    def named_cast(self, _l: Token, kind: TypeName, _m: Token, operand: Expression) -> Expression:
        return Cast(kind, operand, kind.column)

    def function_cast(self, kind: TypeName, operand: Expression) -> Expression:
        return Cast(kind, operand, kind.column)

    def unary(self, operator: Token, operand: Expression) -> Expression:
        return Unary(str(operator), operand, _at(operator))

    def step(self, operator: Token, operand: Expression) -> Expression:
        return Step(str(operator), operand, column=_at(operator))

    def step_after(self, operand: Expression, operator: Token) -> Expression:
        return Step(str(operator), operand, after=True, column=operand.column)

    def sizeof_value(self, operand: Expression) -> Expression:
        return SizeOf(operand, operand.column)

    def sizeof_type(self, kind: TypeName) -> Expression:
        return SizeOf(kind, kind.column)

    def index(self, base: Expression, subscript: Expression) -> Expression:
        return Index(base, subscript, base.column)

    def member(self, base: Expression, operator: Token, name: Token) -> Expression:
        return Member(base, str(name), operator == "->", _at(name))

    def macro(self, name: Token, *arguments: TypeName | Expression) -> Expression:
        return Macro(name[1:].upper(), arguments, _at(name))

    def inner(self, *pieces: str) -> str:
        return "".join(pieces)

    def switch(self, opening: Token, text: str) -> Expression:
        language, start = opening[2:-1].lower(), _at(opening) + len(opening)
        return Switch(language, text, _at(opening), start)

    def floating(self, token: Token) -> Expression:
        kind = "float" if token[-1] in "fF" else "double"
        return Literal(float(token.rstrip("fF")), kind, str(token), _at(token))

    def boolean(self, token: Token) -> Expression:
        return Literal(int(token == "true"), "bool", str(token), _at(token))

    def number(self, token: Token) -> Expression:
        try:
            value, kind = _literal(token)
        except TooBig as error:
            error.column = _at(token)
            raise
        return Literal(value, kind, str(token), _at(token))

    def character(self, token: Token) -> Expression:
        wide = token.startswith("L")
        text = unescape(token[2:-1] if wide else token[1:-1], digits=4 if wide else 2)
        value = ord(text[0]) & 0xFFFF if wide else signed(ord(text[0]), 1)
        return Literal(value, "wchar_t" if wide else "char", str(token), _at(token))

    def register(self, token: Token) -> Expression:
        return Register(token[1:].lower(), _at(token))

    def quoted_symbol(self, token: Token) -> Expression:
        return Variable(token[3:-1], quoted=True, column=_at(token))

    def variable(self, token: Token) -> Expression:
        return Variable(str(token), column=_at(token))

    # ---- types ------------------------------------------------------------------------------

    def type(self, base: TypeName, *parts: int | Literal) -> TypeName:
        dimensions = tuple(int(part.value) for part in parts if isinstance(part, Literal))
        return dataclasses.replace(
            base, pointers=len(parts) - len(dimensions), dimensions=dimensions
        )

    def builtin(self, *words: Token) -> TypeName:
        return TypeName(_builtin_name([str(word) for word in words]), column=_at(words[0]))

    def named(self, name: Token) -> TypeName:
        return TypeName(str(name), column=_at(name), tagged=name.type == "NAME")

    def pointer(self, _: Token) -> int:
        return 1

    def dimension(self, token: Token) -> Literal:
        return Literal(_literal(token)[0], "int")


def _literal(token: str) -> tuple[int, str]:
    """Value and type of an integer literal."""
    found = _NUMBER.fullmatch(token)
    assert found, "the terminal matches the same numbers"
    digits, suffix = found[1].replace("`", "").lower(), found[2].lower()
    decimal = not digits.startswith("0") or digits == "0"
    if digits.startswith("0x"):
        value = integer(digits[2:], 16)
    else:
        value = integer(digits, 10 if decimal else 8)
    kind = next(name for name, bits in (_DECIMAL if decimal else _OTHER) if value >> bits == 0)
    if "i64" in suffix or suffix.count("l") == 2:
        kind = "unsigned int64" if value >> 63 else "int64"
    elif "l" in suffix:
        kind = {"int": "long", "unsigned int": "unsigned long"}.get(kind, kind)
    if "u" in suffix and not kind.startswith("unsigned"):
        kind = f"unsigned {kind}"
        if value >> 32 and not kind.endswith("int64"):
            kind = "unsigned int64"
    return value, kind


_SIZED = {"__int8": "char", "__int16": "short", "__int32": "int"}


def _builtin_name(words: list[str]) -> str:
    """One spelling for `unsigned long int`, `long unsigned`, `unsigned long`."""
    unsigned = "unsigned" in words
    if words.count("long") > 1 or "__int64" in words or "int64" in words:
        core = "int64"
    elif "double" in words:
        core = "double"  # as Windows' compilers have it, a long one, too
    else:
        plain = (_SIZED.get(word, word) for word in words)
        core = next((word for word in plain if word not in ("unsigned", "signed", "int")), "int")
    return f"unsigned {core}" if unsigned else core


def _at(token: Token) -> int:
    return token.start_pos or 0
