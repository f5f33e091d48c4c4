"""Turns what `grammar/kd.lark` recognises into syntax trees."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lark import Token, Transformer, v_args

from kdsim.debugger.language import syntax_lines as syntax
from kdsim.debugger.language.syntax_lines import Text

_SCRIPT = re.compile(r"(\$\$>a<|\$\$><|\$\$<|\$><|\$<)(.*)", re.DOTALL)


@v_args(inline=True)
class LineBuilder(Transformer[Token, syntax.Program]):
    """One method per rule of the grammar."""

    def start(self, *statements: syntax.Statement | None) -> syntax.Program:
        return syntax.Program(tuple(s for s in statements if s is not None))

    def if_else(self, *parts: Text) -> syntax.Statement:
        pairs = list(zip(parts[0::2], parts[1::2], strict=False))
        return syntax.If(tuple(pairs), parts[-1] if len(parts) % 2 else None)

    def while_loop(self, condition: Text, body: Text) -> syntax.Statement:
        return syntax.While(condition, body)

    def do_loop(self, body: Text, condition: Text) -> syntax.Statement:
        return syntax.While(condition, body, body_first=True)

    def for_loop(self, *parts: Text) -> syntax.Statement:
        start, condition, *steps, body = parts
        return syntax.For(start, condition, tuple(steps), body)

    def foreach(self, *parts: object) -> syntax.Statement:
        options: dict[str, str] = dict(part for part in parts if isinstance(part, tuple))
        variable, source, body = (part for part in parts if not isinstance(part, tuple))
        kind = options.get("kind", "commands")
        if isinstance(source, Token):
            source = Text(source[1:-1], _at(source) + 1)
            kind = "string" if kind == "commands" else kind
        assert isinstance(source, Text)
        assert isinstance(body, Text)
        return syntax.ForEach(
            str(variable), kind, source, body, options.get("/pS", "0"), options.get("/ps", "0")
        )

    def foreach_option(self, switch: Token, number: Token | None = None) -> tuple[str, str]:
        if number is not None:
            return str(switch), str(number)
        return "kind", "string" if switch == "/s" else "file"

    def catch(self, body: Text) -> syntax.Statement:
        return syntax.Block(body, catches=True)

    def block(self, body: Text) -> syntax.Statement:
        return syntax.Block(body)

    def leave(self, word: Token) -> syntax.Statement:
        return syntax.Leave(word[1:].lower(), _at(word))

    def condition(self, token: Token) -> Text:
        return Text(token.rstrip(), _at(token))

    def clause(self, *pieces: Token | Text) -> Text:
        return _join(pieces)

    def parenthesised(self, *pieces: Token | Text) -> Text:
        return _join(pieces)

    def raw(self, *pieces: Token | Text) -> Text:
        return _join(pieces)

    def body(self, text: Text) -> Text:
        return text

    def source(self, text: Text) -> Text:
        return text

    def command_text(self, *pieces: Token | Text) -> Text:
        return _join(pieces)

    def command(self, text: Text) -> syntax.Statement:
        return syntax.Command(text.text.rstrip(), text.column)

    def jump(self, first: Token, *others: Token) -> syntax.Statement:
        second = next((_stripped(token) for token in others if token.type == "BRANCH"), None)
        return syntax.Jump(_stripped(first), second if second and second.text else None)

    def repeat(self, z: Token, condition: Token) -> syntax.Statement:
        processor = int(z[:-1]) if z[:-1] else None
        return syntax.Repeat(Text(condition.rstrip(), _at(condition)), processor)

    def alias(self, *pieces: Token | Text) -> syntax.Statement:
        whole = _join(pieces)
        return syntax.AliasCommand(whole.text, whole.column)

    def fixed_alias(self, token: Token) -> syntax.Statement:
        return syntax.AliasCommand(str(token), _at(token))

    def script(self, token: Token) -> syntax.Statement:
        found = _SCRIPT.fullmatch(token)
        assert found, "the terminal matches the same forms"
        return syntax.Script(found[1], found[2].strip(), _at(token))

    def comment(self, _: Token) -> None:
        """Leaves nothing behind."""


def _join(pieces: Sequence[Token | Text]) -> Text:
    """The source text of neighbouring pieces; what was skipped between them were blanks."""
    text, column = "", _at(pieces[0]) if pieces else 0
    for piece in pieces:
        gap = _at(piece) - column - len(text)
        text += " " * gap + str(piece)
    return Text(text, column)


def _stripped(token: Token) -> Text:
    return Text(token.strip(), _at(token) + len(token) - len(token.lstrip()))


def _at(piece: Token | Text) -> int:
    return piece.column if isinstance(piece, Text) else piece.start_pos or 0
