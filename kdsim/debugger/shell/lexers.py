"""Pygments lexers: what the user types at `kd>`, and what the debugger prints."""

from __future__ import annotations

import re
from typing import ClassVar

from pygments.lexer import RegexLexer
from pygments.token import (
    Comment,
    Generic,
    Keyword,
    Name,
    Number,
    Operator,
    String,
    Text,
    Whitespace,
)

_SYMBOL = r"[A-Za-z_$?][\w$?@:~]*![\w$?@:~<>]+"
_CONTROL = r"\.(?:if|elsif|else|for|while|do|foreach|break|continue|catch|leave|block)\b"
_REGISTERS = (
    r"\b(?:r(?:ax|bx|cx|dx|si|di|bp|sp|ip)|r(?:8|9|1[0-5])|e(?:ax|bx|cx|dx|si|di|bp|sp|fl)"
    r"|[cdefgs]s|iopl|dr[0-367]|cr[0234 8])(?==)"
)


class KdLexer(RegexLexer):
    """One line of the WinDbg/KD command language."""

    name = "Windows kernel debugger commands"
    aliases: ClassVar[list[str]] = ["kd", "windbg"]
    filenames: ClassVar[list[str]] = ["*.kd", "*.wds"]
    flags = re.IGNORECASE | re.MULTILINE

    tokens: ClassVar = {
        "root": [
            (r"\s+", Whitespace),
            (r"\*[^\n]*", Comment.Single),
            (r"\$\$(?![><])[^;\n]*", Comment.Single),
            (r"[;{}]", Operator),
            (_CONTROL, Keyword),
            (r"\$\$?>?a?<[^;\n]*", String.Other),
            (r"![A-Za-z_][\w.]*", Name.Function.Magic, "arguments"),
            (r"\.[A-Za-z_]\w*[+-]?", Name.Builtin, "arguments"),
            (r"~\d*\w*|\?\??|\|\|?", Name.Function, "arguments"),
            (r"\d*[A-Za-z#]\w*", Name.Function, "arguments"),
            (r".", Text),
        ],
        "arguments": [
            (r"[;{}\n]", Operator, "#pop"),
            (r"[ \t]+", Whitespace),
            (r'"(?:\\.|[^"\\])*"?', String.Double),
            (r"'[^']*'?", String.Single),
            (r"@?\$[a-z]\w*", Name.Variable.Magic),
            (r"@\w+", Name.Variable),
            (_SYMBOL, Name.Class),
            (r"L\??-?(?=[0-9a-f`]+\b)", Keyword.Type),
            (r"0[xnty][0-9a-f`]+|\b[0-9a-f`]+h?\b", Number.Hex),
            (r"\b(?:poi|by|wo|dwo|qwo|hi|low|not|and|or|xor|mod)\b", Operator.Word),
            (r"[-+*/<>=&|^()\[\],%]", Operator),
            (r"[A-Za-z_?$][\w$?]*", Name),
            (r".", Text),
        ],
    }


class KdOutputLexer(RegexLexer):
    """Text the debugger prints."""

    name = "Windows kernel debugger output"
    aliases: ClassVar[list[str]] = ["kd-output"]
    flags = re.MULTILINE

    tokens: ClassVar = {
        "root": [
            (r"^\d*:? ?l?kd> ", Generic.Prompt),
            (r"^\s*\^ .*$", Generic.Error),
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
