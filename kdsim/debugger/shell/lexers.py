"""Pygments lexers: what a user types at `kd>`, what the debugger prints, and both together.

They are registered as plugins, so `pygmentize -l kd`, Sphinx and others know them. No text is
lost: the tokens put together are the input. Where `grammar/kd.lark` says what a comment, a string,
a block or a script is, the lexer says the same; the tests compare the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from pygments.lexer import Lexer, RegexLexer, bygroups, include
from pygments.token import (
    Comment,
    Generic,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Text,
    Whitespace,
    _TokenType,
)

_SYMBOL = r"[A-Za-z_$?][\w$?@:~]*![\w$?@:~<>]+"
_STRING = r'"(?:\\.|[^"\\])*"?'
_ALIAS = r"\$\{[^{}\n]*\}"
_REGISTERS = (
    r"\b(?:r(?:ax|bx|cx|dx|si|di|bp|sp|ip)|r(?:8|9|1[0-5])|e(?:ax|bx|cx|dx|si|di|bp|sp|fl)"
    r"|[cdefgs]s|iopl|dr[0-367]|cr[0-48])(?==)"
)
_PROMPT = re.compile(r"(?:\d+: )?l?kd> ?")

Rule = tuple[Any, ...]

_groups: Callable[..., Any] = bygroups


def _statements(stop: str) -> list[Rule]:
    """What may begin a statement; `stop` (part of a character set) ends the block around it."""
    return [
        (r"\s+", Whitespace),
        (r";", Punctuation),
        (rf"\*[^\n{stop}]*", Comment.Single),
        (rf"\$\$(?!>?<|>a<)[^;\n{stop}]*", Comment.Single),
        (rf"(\$\$(?:>a|>)?<)((?:\"[^\"\n]*\"|[^;\n{stop}])*)", _groups(Keyword, String.Other)),
        (rf"(\$>?<)([^\n{stop}]*)", _groups(Keyword, String.Other)),
        (r"\.(?:if|elsif|while)(?!\w)", Keyword, "condition"),
        (r"\.(?:else|catch|block)(?!\w)", Keyword, "condition"),
        (r"\.do(?!\w)", Keyword, "do"),
        (r"\.foreach(?!\w)", Keyword, "foreach"),
        (r"\.for(?!\w)", Keyword, "for"),
        (r"\.(?:break|continue|leave)(?!\w)", Keyword),
        (
            rf"(?-i:(as)([ \t]+)(?!/)(\S*)([^\n{stop}]*))",
            _groups(Keyword, Whitespace, Name.Label, String.Other),
        ),
        (r"(?-i:aS|as|ad|al)(?=[ \t;]|$)", Keyword, "arguments"),
        (
            rf"(r[ \t]*)(\$\.u[0-9])([ \t]*=)([^\n{stop}]*)",
            _groups(Name.Function, Name.Label, Operator, String.Other),
        ),
        (rf"(\.shell(?!\w))([^\n{stop}]*)", _groups(Name.Builtin, String.Other)),
        (r"j(?=[ \t(])", Keyword, "jump"),
        (r"z(?=[ \t]*\()", Keyword, "arguments"),
        (r"![A-Za-z_][\w.]*", Name.Function.Magic, "arguments"),
        (r"\.[A-Za-z_]\w*[+-]?", Name.Builtin, "arguments"),
        (r"~\d*\w*|\?\??|\|\|?|\d*[A-Za-z#]\w*", Name.Function, "arguments"),
        (_ALIAS, String.Interpol, "arguments"),
        (rf"[^\s{stop}]", Text, "arguments"),
    ]


class KdLexer(RegexLexer):
    """The WinDbg/KD command language: lines and script files."""

    name = "Windows kernel debugger commands"
    aliases: ClassVar[list[str]] = ["kd", "windbg"]
    filenames: ClassVar[list[str]] = ["*.kd", "*.wds"]
    url = "https://learn.microsoft.com/windows-hardware/drivers/debuggercmds/"
    flags = re.IGNORECASE | re.MULTILINE

    tokens: ClassVar = {
        "root": [(r"[{}]", Punctuation), *_statements("")],
        "block": [(r"\}", Punctuation, "#pop"), (r"\{", Punctuation, "raw"), *_statements("}")],
        "arguments": [
            (r"[;\n]", Punctuation, "#pop"),
            (r"(?=\})", Text, "#pop"),
            (r"\{", Punctuation, "raw"),
            include("operands"),
        ],
        # The parentheses of a condition are optional: it ends at the brace of its block.
        "condition": [
            (r"\{", Punctuation, ("#pop", "block")),
            (r"[;\n](?!\s*\{)", Punctuation, "#pop"),
            (r"(?=\})", Text, "#pop"),
            include("operands"),
        ],
        "do": [
            (r"\{", Punctuation, "block"),
            (r"[;\n](?!\s*\{)", Punctuation, "#pop"),
            (r"(?=\})", Text, "#pop"),
            include("operands"),
        ],
        "for": [
            (r"\(", Punctuation, "clauses"),
            (r"\{", Punctuation, ("#pop", "block")),
            (r"(?=[})])", Text, "#pop"),
            include("operands"),
        ],
        "clauses": [
            (r"\(", Punctuation, "#push"),
            (r"\)", Punctuation, "#pop"),
            (r"(?=[{}])", Text, "#pop"),
            (r";", Punctuation),
            include("operands"),
        ],
        "foreach": [
            (r"/(?:p[sS]|[sf])(?!\w)", Keyword.Pseudo),
            (r"(\()(\s*)([^\s(){}\"]*)", _groups(Punctuation, Whitespace, Name.Label), "source"),
            (r"\{", Punctuation, ("#pop", "block")),
            (r"(?=\})", Text, "#pop"),
            include("operands"),
        ],
        "source": [
            (r"\{", Punctuation, "block"),
            (r"\)", Punctuation, "#pop"),
            (r"(?=\})", Text, "#pop"),
            include("operands"),
        ],
        "jump": [
            (r"\n", Punctuation, "#pop"),
            (r"(?=\})", Text, "#pop"),
            (r";", Punctuation),
            (r"'[^'\n]*'?", String.Single),
            include("operands"),
        ],
        "raw": [
            (r"\{", Punctuation, "#push"),
            (r"\}", Punctuation, "#pop"),
            (r"[;\n]", Punctuation),
            include("operands"),
        ],
        "operands": [
            (r"\s", Whitespace),
            (_STRING, String.Double),
            (r"'[^'\n]{1,8}'", String.Char),
            (_ALIAS, String.Interpol),
            (r"@@(?:c\+\+|masm)?(?=\()", Keyword.Type),
            (r"@?\$[a-z.]\w*", Name.Variable.Magic),
            (r"@\w+", Name.Variable),
            (_SYMBOL, Name.Class),
            (r"(?<=[ \t])[-/][a-z]{1,2}(?!\w)", Name.Attribute),
            (r"\bL\??-?(?=[0-9a-f`]+\b)", Keyword.Type),
            (r"\b0[xnty][0-9a-f`]+|\b[0-9a-f`]+h?\b", Number.Hex),
            (r"\b(?:poi|by|wo|dwo|qwo|hi|low|not|and|or|xor|mod|sizeof)\b", Operator.Word),
            (r"#[A-Z_]\w*", Name.Function),
            (r"->|[-+*/<>=&|^()\[\],%!~?:.]", Operator),
            (r"[A-Za-z_$][\w$]*", Name),
            (r"[^;{}\n]", Text),
        ],
    }


class KdOutputLexer(RegexLexer):
    """Text the debugger prints."""

    name = "Windows kernel debugger output"
    aliases: ClassVar[list[str]] = ["kd-output"]
    flags = re.MULTILINE

    tokens: ClassVar = {
        "root": [
            (r"^(?:\d+: )?l?kd> ", Generic.Prompt),
            (r"^\s*\^ .*$", Generic.Error),
            (r"^\*\*\* (?:ERROR|WARNING).*$", Generic.Error),
            (r"^\*\*\*.*$|^\*  .*$", Generic.Strong),
            (r"\?{8}(?:`\?{8})?|\?\?+", Generic.Error),
            (r"\b[0-9a-f]{8}`[0-9a-f]{8}\b", Number.Hex),
            (_REGISTERS, Name.Variable),
            (_SYMBOL, Name.Class),
            (r"\b0x[0-9a-fA-F]+\b|\b[0-9a-f]{16}\b", Number.Hex),
            (r"[A-Z][A-Z_]{3,}:", Name.Label),
            (r"\s+", Whitespace),
            (r"[A-Za-z_]\w*", Text),
            (r".", Text),
        ],
    }


class KdSessionLexer(Lexer):
    """A session: lines with a prompt are commands, all others output."""

    name = "Windows kernel debugger session"
    aliases: ClassVar[list[str]] = ["kd-session", "kdt"]
    filenames: ClassVar[list[str]] = ["*.kdt"]

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        """A file may begin with lines of remarks, `# lab seed 1`."""
        commands, output = KdLexer(**self.options), KdOutputLexer(**self.options)
        at, heading = 0, True
        for line in text.splitlines(keepends=True):
            heading = heading and line.startswith("#")
            prompt = _PROMPT.match(line)
            lexer: RegexLexer = output
            start = 0
            if heading:
                yield at, Comment.Single, line
                start = len(line)
            elif prompt:
                yield at, Generic.Prompt, prompt[0]
                start, lexer = prompt.end(), commands
            for place, kind, value in lexer.get_tokens_unprocessed(line[start:]):
                yield at + start + place, kind, value
            at += len(line)
