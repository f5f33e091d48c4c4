"""Text to syntax trees.

An expression in a command line ends where it can no longer go on, so parsing stops at the longest
valid prefix and says where that was. A prefix that is not complete there is an error.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kdsim.debugger.language.numbers import TooBig
from kdsim.debugger.language.problems import (
    DEEP,
    OVERFLOW,
    SYNTAX,
    ExpressionError,
    MissingExpression,
)
from kdsim.debugger.language.syntax_lines import Command, Program
from kdsim.debugger.language.tables import parser
from kdsim.errors import CommandSyntaxError

if TYPE_CHECKING:
    from lark import Token
    from lark.parsers.lalr_parser_state import ParserState

    from kdsim.debugger.language import syntax_cpp, syntax_masm


Tree = TypeVar("Tree")
IsType = Callable[[str], bool]

# In front of a type: `(`, the `<` of a named cast, the comma between a macro's arguments, `const`;
# and `sizeof`, so that `sizeof _EPROCESS` is refused, as in C, rather than taken for a variable.
_BEFORE_TYPES = frozenset({"LPAR", "LESS", "COMMA", "_QUALIFIER", "_SIZEOF"})

_KEPT = 1024
"""Trees of each kind that are kept, so that a loop's text is parsed once."""

MOST_PARENTHESES = 100
"""Inside one another. What is inside a `@@( )` is read once for every one of them around it."""


@dataclass(frozen=True, slots=True)
class Parsed(Generic[Tree]):
    """A tree and the column after its last character."""

    tree: Tree
    end: int


def never_type(_: str) -> bool:
    """Takes every name for a value."""
    return False


@lru_cache(maxsize=_KEPT)
def masm(text: str, start: int = 0) -> Parsed[syntax_masm.Expression]:
    """The longest MASM expression that begins at `start`."""
    return _longest("masm", text, start)


# A tree depends on which names are types, so it is kept together with what was asked. Modules
# come and go, and with them types; most expressions ask for none.
_cpp_trees: dict[tuple[str, int, bool], tuple[Parsed[syntax_cpp.Expression], dict[str, bool]]] = {}


def cpp(
    text: str, start: int = 0, *, is_type: IsType = never_type, full: bool = False
) -> Parsed[syntax_cpp.Expression]:
    """The longest C++ expression that begins at `start`.

    `is_type` says whether a name is a type, which decides between a cast and a value. A `full`
    expression has the text for itself, so a comma is an operator.
    """
    key = (text, start, full)
    known = _cpp_trees.get(key)
    if known and all(is_type(name) is answer for name, answer in known[1].items()):
        return known[0]
    asked: dict[str, bool] = {}

    def ask(name: str) -> bool:
        asked[name] = is_type(name)
        return asked[name]

    parsed = _longest("cpp", text, start, "full" if full else "start", ask)
    if len(_cpp_trees) >= _KEPT:
        _cpp_trees.clear()
    _cpp_trees[key] = parsed, asked
    return parsed


# Most lines are one command with nothing in it that the grammar cares about. They need no parser,
# so a session that evaluates nothing never loads it. The tests compare this with the grammar.
_PLAIN = re.compile(
    r"""[ \t\r]*(?!\.(?:if|for|while|do|foreach|catch|block|break|continue|leave|shell)(?!\w)
             |(?:as|ad|al)(?!\S)|j(?:[\s(;]|$)|[0-9]*z[ \t]*\()
        ([\w!.?~|\#][^;{}"'$\n]*)""",
    re.VERBOSE | re.IGNORECASE,
)


@lru_cache(maxsize=_KEPT)
def line(text: str) -> Program:
    """The commands of a line or of a block's body."""
    plain = _PLAIN.fullmatch(text)
    if plain:
        return Program((Command(plain[1].rstrip(), plain.start(1)),))
    return parsed_line(text)


def parsed_line(text: str) -> Program:
    """The same by the grammar alone."""
    from lark import UnexpectedInput, UnexpectedToken

    try:
        program: Program = parser("kd").parse(text)  # type: ignore[assignment]
    except UnexpectedInput as error:
        early_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        column = len(text.rstrip()) if early_end else error.pos_in_stream or 0
        raise CommandSyntaxError(SYNTAX, text, column) from None
    return program


def _longest(
    grammar: str, text: str, start: int, rule: str = "start", is_type: IsType = never_type
) -> Parsed[Any]:
    from lark import TextSlice, Token, UnexpectedInput

    if _nesting(text, start) > MOST_PARENTHESES:
        raise CommandSyntaxError(DEEP, text, start)
    interactive = parser(grammar).parse_interactive(TextSlice(text, start, len(text)), rule)
    state = interactive.parser_state
    end = start
    functions: list[Token] = []
    try:
        try:
            for token in _typed_names(interactive.lexer_thread.lex(state), is_type):  # type: ignore[no-untyped-call]
                state.feed_token(token)
                end = token.end_pos or end
                if token.type == "FUNCTION":
                    functions.append(token)
        except UnexpectedInput:
            pass  # the expression ends here, if it may
        tree = state.feed_token(Token("$END", ""), is_end=True)
    except UnexpectedInput:
        raise _incomplete(state, text, end, functions) from None
    except TooBig as error:
        raise CommandSyntaxError(OVERFLOW, text, error.column) from None
    return Parsed(tree, end)


def _nesting(text: str, start: int) -> int:
    """How deep parentheses are nested, at most; exact only where it matters."""
    if text.count("(", start) <= MOST_PARENTHESES:
        return 0
    depths = itertools.accumulate((char == "(") - (char == ")") for char in text[start:])
    return max(depths)


def _typed_names(tokens: Iterator[Token], is_type: IsType) -> Iterator[Token]:
    """The tokens; a NAME that stands where a type may begin and is one becomes a TYPE_NAME."""
    before = ""
    for token in tokens:
        if token.type == "NAME" and before in _BEFORE_TYPES and is_type(token):
            token.type = "TYPE_NAME"
        before = token.type
        yield token


def _incomplete(
    state: ParserState[object], text: str, end: int, functions: list[Token]
) -> CommandSyntaxError:
    """Why the text cannot end at `end`: an operand is missing, or something else is wrong.

    What is wrong with the operands of a function, mostly a string's escapes, is told at the
    parenthesis that opens them.
    """
    column = _skip_blanks(text, end)
    expected = state.parse_conf.parse_table.states[state.position]
    if "WORD" in expected or "REGISTER" in expected:
        return MissingExpression(text, column)
    if functions and "COMMA" in expected:
        return ExpressionError(SYNTAX, text, text.index("(", functions[-1].end_pos))
    return CommandSyntaxError(SYNTAX, text, column)


def _skip_blanks(text: str, column: int) -> int:
    while column < len(text) and text[column].isspace():
        column += 1
    return column


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a grammar goes along with a text that is still being typed.

    Attributes:
        tokens: what was read.
        end: column after the last token; the grammar does not take what follows.
        accepts: terminals that may come next; "$END": complete as it stands.
    """

    tokens: tuple[Token, ...]
    end: int
    accepts: frozenset[str]


def read(
    text: str, grammar: str = "kd", start: int = 0, *, is_type: IsType = never_type
) -> Reading:
    """Read as much of `text` as a grammar takes; what may come next is what completion offers."""
    from lark import TextSlice, UnexpectedInput

    interactive = parser(grammar).parse_interactive(TextSlice(text, start, len(text)), "start")
    state = interactive.parser_state
    tokens: list[Token] = []
    try:
        for token in _typed_names(interactive.lexer_thread.lex(state), is_type):  # type: ignore[no-untyped-call]
            state.feed_token(token)
            tokens.append(token)
    except (UnexpectedInput, TooBig):
        pass  # the rest is none of this grammar's
    end = tokens[-1].end_pos if tokens else start
    return Reading(tuple(tokens), end or start, frozenset(interactive.accepts()))  # type: ignore[no-untyped-call]


def accepts(text: str, grammar: str = "masm") -> frozenset[str]:
    """The terminals that may follow `text`; none when `text` is not the start of anything."""
    reading = read(text, grammar)
    return reading.accepts if not text[reading.end :].strip() else frozenset()
