"""What kind of thing fits at the cursor: the first of completion's two steps.

The grammars say which terminals they accept there, and the declaration of a command says what its
arguments are. Blocks and a breakpoint's quoted commands hold commands again, `@@( )` holds an
expression of the other language, so the search goes inwards until it reaches the cursor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.registry import Match, Option, Param, ParamKind
from kdsim.debugger.language import parse

if TYPE_CHECKING:
    from lark import Token

Kind = Literal[
    "command",
    "control",
    "symbol",
    "type",
    "module",
    "register",
    "operator",
    "macro",
    "member",
    "field",
    "file",
    "option",
    "flags",
    "alias",
    "event",
    "process",
    "thread",
    "breakpoint",
    "processor",
]
"""What may stand somewhere; `words.py` knows the words of each."""

CONTROL: dict[str, tuple[str, ...]] = {
    "_IF": (".if",),
    "_ELSIF": (".elsif",),
    "_ELSE": (".else",),
    "_FOR": (".for",),
    "_WHILE": (".while",),
    "_DO": (".do",),
    "_FOREACH": (".foreach",),
    "_CATCH": (".catch",),
    "_BLOCK": (".block",),
    "LEAVE": (".break", ".continue", ".leave"),
    "SHELL": (".shell",),
    "ALIAS": ("ad", "al", "as", "aS"),
    "SCRIPT": ("$$>a<", "$$><", "$$<"),
    "SCRIPT_LINE": ("$<", "$><"),
}
"""Terminals of `kd.lark` that begin a statement, and how they are spelt."""

LONGEST = 2000
"""Characters of a line beyond which nothing is offered, since nobody typed it."""
DEEPEST = 32
"""Blocks, or changes of the language, inside one another."""

CPP_COMMANDS = frozenset({"??", "r?", "dx"})
"""They read C++ whatever the default language is."""

_WORDS = {
    "masm": re.compile(r"(?:[@!$?~\w][\w!$?:@*~`]*)?\Z|@@[\w+]*\Z"),
    "cpp": re.compile(r"(?:[@#$?\w][\w!$?:*#]*)?\Z|@@[\w+]*\Z"),
}
_COMMAND_WORD = re.compile(r"[^\s;{}\"]*\Z")
_GLUED = re.compile(r"\?{1,2}(?!\?|\Z)|[^@(]+[@(]")
_BLANKS = re.compile(r"[\s,]*")
_PLAIN_ARGUMENT = re.compile(r'@?"[^"]*("|\Z)|[^\s,]+')
_OPTION = re.compile(r"[-/](?:[A-Za-z?]\S*|\Z)")
_LENGTH = re.compile(r"[\s,]*(L[?-]?)(?=[\w@$(.!]|\Z)", re.IGNORECASE)
_ADDRESS = re.compile(r"@|poi\(|[0-9]|[^\s]*!")
_ASSIGNED = re.compile(r"[^=]*?=(?!=)")
_ALIAS_IN_TEXT = re.compile(r"\$\{(?:/[nfdv]:)?([^\s{}]*)\Z")
_FOREACH_SWITCH = re.compile(r"\.foreach\s[^({]*(/\w*)\Z", re.IGNORECASE)
_MACRO_FIELD = re.compile(
    r"#(?:CONTAINING_RECORD\(.*,|(?:FIELD_OFFSET|RTL_FIELD_SIZE|RTL_SIZEOF_THROUGH_FIELD)\()"
    r"\s*([\w!]+)\s*,\s*([\w.]*)\Z"
)
_SCRIPT_FILE = re.compile(r"\$+>?a?<\s*(.*)", re.DOTALL)
_TOKEN = re.compile(r"[;\s]*(\$+>?a?<|\.?[a-z]+(?![\w!]))", re.IGNORECASE)
_ALIASED_FILE = re.compile(r"a[sS]\s+/f\s+\S+\s+(.*)", re.DOTALL)

_COMMANDS = frozenset({"TEXT", "SHELL", "PATHS", "FIXED_ALIAS"})
_END_WITH_A_BLOCK = frozenset(
    {"_IF", "_ELSIF", "_ELSE", "_FOR", "_WHILE", "_FOREACH", "_CATCH", "_BLOCK"}
)
_BRACKETS = {"RPAR": ("LPAR", "SWITCH"), "RSQB": ("LSQB",)}

_EXPRESSIONS = frozenset({"expression", "range", "symbol", "values", "process", "thread"})
"""Kinds of arguments that end where an expression ends; the others end at a blank."""

_ALIAS_SWITCHES = Param("switch", "flags", words=(
    ("/d:", "1 when there is such an alias, 0 when not"),
    ("/f:", "the equivalent, or nothing"),
    ("/n:", "the name itself"),
    ("/v:", "as it stands, never replaced"),
))  # fmt: skip
_FOREACH_SWITCHES = Param("switch", "flags", words=(
    ("/pS", "skip so many words first"),
    ("/ps", "skip so many words each time"),
    ("/s", "the input is a string"),
    ("/f", "the input is a file"),
))  # fmt: skip

_VALUE_KINDS: dict[str, ParamKind] = {
    "<EPROCESS>": "process",
    "<ETHREAD>": "thread",
    "<thread>": "thread",
    "<module>": "module",
    "<file>": "file",
    "<path>": "file",
    "<address>": "expression",
    "<irp>": "expression",
    "<end>": "expression",
    "<start> <end>": "expression",
    "<range>": "range",
}
"""By what follows a switch; a condition is C++, commands are a command line."""

_KINDS: dict[str, tuple[Kind, ...]] = {
    "type": ("module", "type", "symbol"),
    "module": ("module",),
    "register": ("register",),
    "file": ("file",),
    "command": ("command",),
    "event": ("event",),
    "breakpoint": ("breakpoint",),
    "processor": ("processor",),
    "flags": ("flags",),
    "word": ("flags",),
    "field": ("field",),
    "process": ("process", "register", "symbol"),
    "thread": ("thread", "register", "symbol"),
}
"""By kind of parameter; an expression's operands follow where none is named."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cursor stands.

    Attributes:
        kinds: what fits, what is meant most often first.
        word: what is typed of it; a completion replaces it.
        match: the command whose argument it is.
        param: that argument.
        base: of a member, the C++ expression in front of `->` or `.`; of a field, its type.
        token: the control token, script or alias command whose text it is: `.foreach`.
        accepts: terminals of the grammar that fit.
    """

    kinds: tuple[Kind, ...]
    word: str = ""
    match: Match | None = None
    param: Param | None = None
    base: str = ""
    token: str = ""
    accepts: frozenset[str] = field(default=frozenset(), repr=False)


class Places:
    """Finds places; `is_type` knows the names of types, `evaluator` the default language."""

    def __init__(
        self,
        is_type: Callable[[str], bool] = parse.never_type,
        evaluator: Callable[[], str] = lambda: "masm",
    ) -> None:
        self._is_type = is_type
        self._evaluator = evaluator

    def at(self, text: str) -> Place | None:
        """The place at the end of `text`; None where nothing is known to fit."""
        if len(text) > LONGEST:
            return None
        alias = _ALIAS_IN_TEXT.search(text)
        if alias:
            return Place(("alias", "flags"), alias[1], param=_ALIAS_SWITCHES)
        for _ in range(DEEPEST):
            reading = parse.read(text)
            if text[reading.end :].strip():
                switch = _FOREACH_SWITCH.search(text)
                if switch:
                    return Place(("flags",), switch[1], None, _FOREACH_SWITCHES, token=".foreach")
                return None
            inner = open_block(reading.tokens)
            if inner is None:
                return self._at(text, reading)
            text = text[inner:]
        return None

    def _at(self, text: str, reading: parse.Reading) -> Place | None:
        """The same where no block is open."""
        statement = _last_statement(reading.tokens)
        found = _COMMAND_WORD.search(text)
        word = found[0] if found else ""
        begin = len(text) - len(word)
        if statement and (len(statement) > 1 or statement[0].start_pos != begin):
            return self._statement(text, statement)
        return self._command(text[:begin], word)

    def _command(self, before: str, word: str) -> Place | None:
        """The name of a command, or what is glued to it."""
        script = _SCRIPT_FILE.fullmatch(word)
        if script:
            return Place(("file",), script[1], token=word[: script.start(1)])
        if _GLUED.match(word):
            return self._arguments(word)
        accepts = parse.accepts(before, "kd")
        return Place(("command", "control", "alias"), word, accepts=accepts)

    def _statement(self, text: str, tokens: Sequence[Token]) -> Place | None:
        """Inside a statement that has its name."""
        if tokens[0].type in _COMMANDS:
            return self._arguments(text[tokens[0].start_pos :])
        place = self._inside_control(text, tokens)
        named = _TOKEN.match(tokens[0])
        if (place is None or not (place.match or place.token)) and named:
            return replace(place or Place(()), token=named[1].lower())
        return place

    def _inside_control(self, text: str, tokens: Sequence[Token]) -> Place | None:
        first, last = tokens[0], tokens[-1]
        begin, end = first.start_pos or 0, first.end_pos or 0
        match first.type:
            case "_IF" | "_ELSIF" | "_WHILE" | "Z":
                return self._expression(text[end:], self._default)
            case "_DO" if len(tokens) > 1:
                body = next(t.end_pos for t in reversed(tokens) if t.type == "RBRACE")
                return self._expression(text[body:], self._default)
            case "_FOR" if last.type != "RPAR" and len(tokens) > 1:
                return self._for(text, tokens)
            case "_J":
                return self._jump(text[end:])
            case "ALIAS" | "ALIAS_LINE":
                return _alias(text[begin:])
            case "SCRIPT" | "SCRIPT_LINE":
                file = _SCRIPT_FILE.fullmatch(text[begin:])
                return Place(("file",), file[1].lstrip('"')) if file else None
        return None

    @property
    def _default(self) -> str:
        return "cpp" if self._evaluator() == "c++" else "masm"

    def _for(self, text: str, tokens: Sequence[Token]) -> Place | None:
        """`.for (commands; expression; commands)`."""
        marks = [t for t in tokens if t.type == "SEMICOLON"] or [tokens[1]]
        clause = text[marks[-1].end_pos :]
        if marks[0].type == "SEMICOLON" and len(marks) == 1:
            return self._expression(clause, self._default)
        return self.at(clause)

    def _jump(self, text: str) -> Place | None:
        """`j expression 'commands'; 'commands'`."""
        if text.count("'") % 2:
            return self.at(text[text.rindex("'") + 1 :])
        return self._expression(text, self._default) if "'" not in text else None

    # ---- arguments --------------------------------------------------------------------------

    def _arguments(self, text: str) -> Place | None:
        """Somewhere in the text of one command, behind its name."""
        match = REGISTRY.match(text)
        return self._walk(match, text, len(text) - len(match.rest)) if match else None

    def _walk(self, match: Match, text: str, position: int) -> Place | None:
        """Pass over the arguments in front of the cursor."""
        given = match.command.params
        language = "cpp" if _name(match) in CPP_COMMANDS else self._default
        quote = _open_quote(text, position)
        commands = quote if match.command.takes_commands else None
        passed: list[str] = []
        while True:
            position = _behind(_BLANKS, text, position)
            option = _OPTION.match(text, position) if match.command.options else None
            if option:
                reached = self._behind_option(match, text, option, language)
                if not isinstance(reached, int):
                    return reached
                position = reached
                continue
            if commands is not None and position >= commands:
                return self.at(text[commands + 1 :].replace('\\"', '"'))
            if not given:
                return Place((), "", match)
            param = _param_at(given, passed, text[position:])
            if param.kind == "commands" and param is given[0]:
                return self.at(text[position:])
            end = self._end(param, text, position, language)
            if end is None or _takes_the_rest(param, given):
                place = self._argument(param, match, text[position:], language)
                return _typed_field(place, passed)
            length = _LENGTH.match(text, end) if param.kind == "range" else None
            if length and length.end() == len(text):
                return Place((), length[1], match, param)
            if not length:
                passed.append(text[position:end])
            position = length.end() if length else end

    def _behind_option(
        self, match: Match, text: str, option: re.Match[str], language: str
    ) -> int | Place | None:
        """The column after a switch and its value, or the place inside."""
        if option.end() == len(text):
            return Place(("option",), option[0], match)
        declared = (o for o in match.command.options if o.switch[1:] == option[0][1:])
        known = next(declared, None)
        if known is None or not known.value:
            return option.end()
        position = _behind(_BLANKS, text, option.end())
        value = _PLAIN_ARGUMENT.match(text, position)
        if value is not None and value.end() < len(text):
            return value.end()
        return self._value(known, match, text[position:], language)

    def _value(self, option: Option, match: Match, text: str, language: str) -> Place | None:
        """What follows a switch."""
        if option.value == '"<commands>"':
            return self.at(text.removeprefix('"').replace('\\"', '"'))
        param = Param(option.value, _VALUE_KINDS.get(option.value, "text"), option.summary)
        if option.value == '"<condition>"':
            return self._expression(text.removeprefix('"'), "cpp", match, param)
        return self._argument(param, match, text, language)

    def _end(self, param: Param, text: str, position: int, language: str) -> int | None:
        """Where the argument at `position` ends; None: the cursor is inside."""
        quoted = text.startswith(('"', '@"'), position)
        if param.kind in _EXPRESSIONS and not quoted:
            return self._expression_end(text, position, language)
        assigned = _ASSIGNED.match(text, position) if param.kind == "register" else None
        if assigned:
            return self._expression_end(text, assigned.end(), language)
        return _plain_end(text, position)

    def _expression_end(self, text: str, position: int, language: str) -> int | None:
        word = _word(text[position:], language)
        head = text[: len(text) - len(word)]
        reading = parse.read(head, language, position, is_type=self._is_type)
        if head[reading.end :].strip():
            # The expression ends in front of what cannot belong to it; `\Device\x` is none.
            return reading.end if reading.end > position else _plain_end(text, position)
        complete = "$END" in reading.accepts and head[reading.end :]
        return reading.end if complete else None

    def _argument(self, param: Param, match: Match, text: str, language: str) -> Place:
        """The argument in which the cursor stands; `text` begins where it does."""
        assigned = _ASSIGNED.match(text) if param.kind == "register" else None
        kinds = _KINDS.get(param.kind, ())
        place: Place | None = Place(kinds, text.removeprefix('"'), match, param)
        if assigned:
            place = self._expression(text[assigned.end() :], language, match, param)
        elif param.kind in _EXPRESSIONS and not text.startswith('"'):
            place = self._expression(text, language, match, param)
            if place is not None and place.word == text and kinds:
                place = replace(place, kinds=kinds)
        return place or Place((), "", match, param)

    # ---- expressions ------------------------------------------------------------------------

    def _expression(
        self, text: str, language: str, match: Match | None = None, param: Param | None = None
    ) -> Place | None:
        """The place at the end of an expression."""
        for _ in range(DEEPEST):
            field = _MACRO_FIELD.search(text) if language == "cpp" else None
            if field:
                return Place(("field",), field[2], match, param, base=field[1])
            word = _word(text, language)
            head = text[: len(text) - len(word)]
            reading = parse.read(head, language, is_type=self._is_type)
            if head[reading.end :].strip():
                return None
            inner = _open_switch(reading.tokens)
            if inner is None:
                return self._operand(head, word, reading, language, match, param)
            language = self._inside(str(inner).lower())
            text = text[inner.end_pos :]
        return None

    def _inside(self, switch: str) -> str:
        """The language that a `@@(` switches to."""
        if "c++" in switch or "masm" in switch:
            return "cpp" if "c++" in switch else "masm"
        return "cpp" if self._default == "masm" else "masm"

    @staticmethod
    def _operand(
        head: str,
        word: str,
        reading: parse.Reading,
        language: str,
        match: Match | None,
        param: Param | None,
    ) -> Place | None:
        if language == "cpp":
            return _cpp_place(head, word, reading, match, param)
        kinds: tuple[Kind, ...] = ("operator", "register", "module", "symbol")
        if "WORD" not in reading.accepts:
            kinds = ("operator",)
        return Place(kinds, word, match, param, accepts=reading.accepts)


def _cpp_place(
    head: str, word: str, reading: parse.Reading, match: Match | None, param: Param | None
) -> Place | None:
    tokens = reading.tokens
    if tokens and tokens[-1].type in ("DOT", "ARROW"):
        first = _postfix_start(tokens[:-1])
        base = head[first : tokens[-1].start_pos]
        return Place(("member",), word, match, param, base)
    if "NAME" not in reading.accepts:
        return None
    kinds: tuple[Kind, ...] = ("macro", "register", "module", "symbol")
    if "TYPE_NAME" in reading.accepts and tokens:
        kinds = (*kinds[:-1], "type", "symbol")
    return Place(kinds, word, match, param, accepts=reading.accepts)


def _postfix_start(tokens: Sequence[Token]) -> int:
    """Column where the operand of a `->` begins: `a` of `1 + a[2]`, `(T*)x` only in brackets."""
    index = len(tokens)
    while index > 0:
        index -= 1
        while tokens[index].type in _BRACKETS:
            subscript = tokens[index].type == "RSQB"
            index = _opening(tokens, index)
            if index and (subscript or tokens[index - 1].type == "MACRO"):
                index -= 1
            if not subscript:
                break
        if index == 0 or tokens[index - 1].type not in ("DOT", "ARROW"):
            break
        index -= 1
    return tokens[index].start_pos or 0 if tokens else 0


def _opening(tokens: Sequence[Token], index: int) -> int:
    """Index of the bracket that the one at `index` closes."""
    depth = 0
    for place in range(index, -1, -1):
        kind = tokens[place].type
        depth += kind in _BRACKETS
        depth -= any(kind in openings for openings in _BRACKETS.values())
        if depth == 0:
            return place
    return 0


def open_block(tokens: Sequence[Token]) -> int | None:
    """Column behind the brace of the outermost block that is still open."""
    opened: list[Token] = []
    for token in tokens:
        if token.type in ("_OPEN", "LBRACE"):
            opened.append(token)
        elif token.type == "RBRACE" and opened:
            opened.pop()
    return next((token.end_pos for token in opened if token.type == "_OPEN"), None)


def _last_statement(tokens: Sequence[Token]) -> Sequence[Token]:
    """The tokens of the statement that the text ends in."""
    begin = depth = 0
    for index, token in enumerate(tokens):
        kind = token.type
        depth -= kind in ("RBRACE", "RPAR")
        if depth == 0:
            closed = kind == "RBRACE" and tokens[begin].type in _END_WITH_A_BLOCK
            if kind == "_SEPARATOR" or closed:
                begin = index + 1
            elif kind in ("_ELSE", "_ELSIF"):
                begin = index
        depth += kind in ("_OPEN", "LBRACE", "LPAR")
    return tokens[begin:]


def _open_switch(tokens: Sequence[Token]) -> Token | None:
    """The outermost `@@(` whose parenthesis is not closed."""
    opened = [token for token in _unclosed(tokens) if token.type == "SWITCH"]
    return opened[0] if opened else None


def _unclosed(tokens: Sequence[Token]) -> list[Token]:
    opened: list[Token] = []
    for token in tokens:
        if token.type in ("SWITCH", "LPAR"):
            opened.append(token)
        elif token.type == "RPAR" and opened:
            opened.pop()
    return opened


def _open_quote(text: str, start: int) -> int | None:
    """Column of a quotation mark that is not closed."""
    opened, position = None, start
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == '"':
            opened = position if opened is None else None
        position += 1
    return opened


def _alias(text: str) -> Place | None:
    file = _ALIASED_FILE.fullmatch(text)
    if file:
        return Place(("file",), file[1])
    name, _, typed = text.partition(" ")
    return Place(("alias",), typed.lstrip()) if name == "ad" else None


def _word(text: str, language: str) -> str:
    found = _WORDS[language].search(text)
    return found[0] if found else ""


def _behind(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position


def _plain_end(text: str, position: int) -> int | None:
    """The blank behind an argument that is no expression; None: the cursor comes first."""
    found = _PLAIN_ARGUMENT.match(text, position)
    return found.end() if found and found.end() < len(text) else None


def _param_at(given: Sequence[Param], passed: Sequence[str], text: str) -> Param:
    """The parameter that comes next; the last one may come again."""
    fields = _fields(given)
    if fields is not None and passed:
        # `dt nt!_EPROCESS @$proc Pcb`: names of fields stand on either side of the address.
        return given[-1] if _ADDRESS.match(text) else fields
    return given[min(len(passed), len(given) - 1)]


def _takes_the_rest(param: Param, given: Sequence[Param]) -> bool:
    """`? 1 xor 2`: nothing can follow that is no part of the expression."""
    return param.kind == "expression" and param is given[-1] and _fields(given) is None


def _fields(given: Sequence[Param]) -> Param | None:
    return next((param for param in given if param.kind == "field"), None)


def _name(match: Match) -> str:
    """`r?` is no name of its own."""
    return "r?" if match.name == "r" and match.rest.startswith("?") else match.name


def _typed_field(place: Place, passed: Sequence[str]) -> Place:
    """A field belongs to the type in front of it."""
    if "field" not in place.kinds or not passed:
        return place
    return replace(place, base=passed[0])
