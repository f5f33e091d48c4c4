"""Text to syntax trees.

An expression in a command line ends where it can no longer go on, so parsing stops at the longest
valid prefix and says where that was. A prefix that is not complete there is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from kdsim.debugger.language import syntax
from kdsim.debugger.language.numbers import TooBig
from kdsim.debugger.language.problems import OVERFLOW, SYNTAX, MissingExpression
from kdsim.debugger.language.tables import parser
from kdsim.errors import CommandSyntaxError

if TYPE_CHECKING:
    from lark.parsers.lalr_parser_state import ParserState


@dataclass(frozen=True, slots=True)
class Parsed:
    """A tree and the column after its last character."""

    tree: syntax.Expression
    end: int


@lru_cache(maxsize=512)
def masm(text: str, start: int = 0) -> Parsed:
    """The longest MASM expression that begins at `start`."""
    return _longest("masm", text, start)


@lru_cache(maxsize=512)
def line(text: str) -> syntax.Program:
    """The commands of a line or of a block's body."""
    from lark import UnexpectedInput

    try:
        program: syntax.Program = parser("kd").parse(text)  # type: ignore[assignment]
    except UnexpectedInput as error:
        column = error.pos_in_stream if error.pos_in_stream is not None else len(text)
        column = len(text.rstrip()) if column < 0 else column
        raise CommandSyntaxError(SYNTAX, text, column) from None
    return program


def _longest(grammar: str, text: str, start: int) -> Parsed:
    from lark import TextSlice, Token, UnexpectedInput

    interactive = parser(grammar).parse_interactive(TextSlice(text, start, len(text)))
    state = interactive.parser_state
    end = start
    try:
        try:
            for token in interactive.lexer_thread.lex(state):  # type: ignore[no-untyped-call]
                state.feed_token(token)
                end = token.end_pos or end
        except UnexpectedInput:
            pass  # the expression ends here, if it may
        tree = state.feed_token(Token("$END", ""), is_end=True)
    except UnexpectedInput:
        raise _incomplete(state, text, end) from None
    except TooBig:
        raise CommandSyntaxError(OVERFLOW, text, _skip_blanks(text, end)) from None
    return Parsed(tree, end)


def _incomplete(state: ParserState[object], text: str, end: int) -> CommandSyntaxError:
    """Why the text cannot end at `end`: an operand is missing, or something else is wrong."""
    column = _skip_blanks(text, end)
    if "WORD" in state.parse_conf.parse_table.states[state.position]:
        return MissingExpression(text, column)
    return CommandSyntaxError(SYNTAX, text, column)


def _skip_blanks(text: str, column: int) -> int:
    while column < len(text) and text[column].isspace():
        column += 1
    return column


def accepts(text: str, grammar: str = "masm") -> frozenset[str]:
    """The terminals that may follow `text`; none when `text` is not the start of anything.

    "$END" among them says that `text` is complete as it stands.
    """
    from lark import UnexpectedInput

    interactive = parser(grammar).parse_interactive(text)
    try:
        interactive.exhaust_lexer()
    except (UnexpectedInput, TooBig):
        return frozenset()
    return frozenset(interactive.accepts())  # type: ignore[no-untyped-call]
