"""Turns what `grammar/masm.lark` recognises into syntax trees."""

from __future__ import annotations

from lark import Token, Transformer, v_args

from kdsim.debugger.language import syntax_masm as syntax
from kdsim.debugger.language.numbers import TooBig, line_number, prefixed_number, unescape

# Operators written in two ways have one spelling in the tree.
_SPELLING = {"=": "==", "and": "&", "or": "|", "xor": "^", "mod": "%"}


@v_args(inline=True)
class MasmBuilder(Transformer[Token, syntax.Expression]):
    """One method per rule alias of the grammar."""

    def start(self, tree: syntax.Expression) -> syntax.Expression:
        return tree

    def binary(
        self, left: syntax.Expression, operator: Token, right: syntax.Expression
    ) -> syntax.Expression:
        spelling = operator.lower()
        return syntax.Binary(_SPELLING.get(spelling, spelling), left, right, left.column)

    def unary(self, operator: Token, operand: syntax.Expression) -> syntax.Expression:
        return syntax.Unary(operator.lower(), operand, _at(operator))

    def function(self, name: Token, *arguments: syntax.Expression) -> syntax.Expression:
        return syntax.Function(name.lower(), arguments, _at(name))

    def inner(self, *pieces: str) -> str:
        return "".join(pieces)

    def switch(self, opening: Token, text: str) -> syntax.Expression:
        language, start = opening[2:-1].lower(), _at(opening) + len(opening)
        return syntax.Switch(language, text, _at(opening), start)

    def number(self, token: Token) -> syntax.Expression:
        try:
            value, ticked = prefixed_number(token)
        except TooBig as error:
            error.column = _at(token)
            raise
        return syntax.Number(value, ticked, _at(token))

    def characters(self, token: Token) -> syntax.Expression:
        return syntax.Characters(token[1:-1], _at(token))

    def string(self, token: Token) -> syntax.Expression:
        if token.startswith("@"):
            return syntax.String(token[2:-1], literal=True, column=_at(token))
        return syntax.String(unescape(token[1:-1]), column=_at(token))

    def source_line(self, token: Token) -> syntax.Expression:
        module, bang, place = token[1:-1].rpartition("!")
        file, colon, line = place.rpartition(":")
        if not colon:
            file, line = place, ""
        return syntax.SourceLine(module if bang else "", file, line_number(line), _at(token))

    def here(self, token: Token) -> syntax.Expression:
        return syntax.Here(_at(token))

    def register(self, token: Token) -> syntax.Expression:
        return syntax.Register(token[1:].lower(), _at(token))

    def symbol(self, token: Token) -> syntax.Expression:
        column = _at(token)
        if token.startswith("@"):
            return syntax.Symbol(token[3:-1], quoted=True, column=column)
        for prefix in ("$!", "!"):
            if token.startswith(prefix):
                return syntax.Symbol(token[len(prefix) :], prefix, column=column)
        return syntax.Symbol(str(token), column=column)

    def word(self, token: Token) -> syntax.Expression:
        return syntax.Word(str(token), _at(token))


def _at(token: Token) -> int:
    return token.start_pos or 0
