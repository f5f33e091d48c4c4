"""Lines: text to statements, text to error."""

from __future__ import annotations

import pytest

from kdsim.debugger.language import parse
from kdsim.debugger.language.syntax_lines import (
    AliasCommand,
    Block,
    Command,
    For,
    ForEach,
    If,
    Jump,
    Leave,
    Repeat,
    Script,
    Text,
    While,
)
from kdsim.errors import CommandSyntaxError


def commands(*texts):
    return tuple(Command(text) for text in texts)


ONE = Text("(1)")
LINES = [
    # separators
    ("", ()), ("   ", ()), (";", ()), (" ; ; ", ()), ("k", commands("k")),
    ("  k  ", commands("k")), ("k;r", commands("k", "r")), ("k ; r ;", commands("k", "r")),
    (";;k", commands("k")), ("k\nr", commands("k", "r")), ("2k 5", commands("2k 5")),
    ("~1s; k", commands("~1s", "k")), ("!process 0 0;lm", commands("!process 0 0", "lm")),
    ("||[1]r", commands("||[1]r")), ("?1+2;??sizeof(int)", commands("?1+2", "??sizeof(int)")),
    # quotes
    ('bp x "k; g"; g', commands('bp x "k; g"', "g")),
    ('bp x "k; .echo \\"a;b\\"; g"; g', commands('bp x "k; .echo \\"a;b\\"; g"', "g")),
    ('da x "open; k', commands('da x "open; k')),
    ("ed nt!poolhittag ' cbA'; g", commands("ed nt!poolhittag ' cbA'", "g")),
    ("eb x ';' ; g", commands("eb x ';'", "g")), (".echo don't; g", commands(".echo don't", "g")),
    (".echo '; .echo x", commands(".echo '", ".echo x")),
    ('.echo "}"', commands('.echo "}"')), ("u `a.c:1`; k", commands("u `a.c:1`", "k")),
    # braces inside commands
    ("dx new { a = 1; b } c; k", commands("dx new { a = 1; b } c", "k")),
    (".echo ${x}; k", commands(".echo ${x}", "k")), ("${cmd}", commands("${cmd}")),
    ("r $t0=1", commands("r $t0=1")),
    # comments
    ("* k ; r", ()), ("k; * r; u", commands("k")), ("$$ k; r", commands("r")), ("$$", ()),
    ("k $$ r", commands("k $$ r")), ("* a\nk", commands("k")), ("$$>x; k", commands("k")),
    # commands that swallow the line
    ("as x a;b", (AliasCommand("as x a;b"),)), ("aS x a;b", (AliasCommand("aS x a"), Command("b"))),
    ("as /x y 5;k", (AliasCommand("as /x y 5"), Command("k"))),
    ('aS x "a;b";k', (AliasCommand('aS x "a;b"'), Command("k"))),
    ("ad *;k", (AliasCommand("ad *"), Command("k"))), ("al", (AliasCommand("al"),)),
    ("al;k", (AliasCommand("al"), Command("k"))), ("r $.u3=a;b", (AliasCommand("r $.u3=a;b"),)),
    ("asx y", commands("asx y")), ("alpha", commands("alpha")),
    (".shell a;b", commands(".shell a;b")),
    (".shelly a;b", commands(".shelly a", "b")),
    # lists of folders
    (r".sympath srv*c:\x*https://h/s;c:\y", commands(r".sympath srv*c:\x*https://h/s;c:\y")),
    (r".sympath+ c:\a; d:\b; .reload", commands(r".sympath+ c:\a; d:\b", ".reload")),
    (".exepath /a;/b;k", commands(".exepath /a;/b", "k")),
    (".sympath srv*;!process 0 0;* c:\\x", commands(".sympath srv*", "!process 0 0")),
    ('.srcpath "a;b";k', commands('.srcpath "a;b"', "k")),
    (".sympath;x nt!*", commands(".sympath", "x nt!*")),
    (r".sympathy c:\a;c:\b", commands(r".sympathy c:\a", r"c:\b")),
    ("$<a;b", (Script("$<", "a;b"),)), ("$><a;b", (Script("$><", "a;b"),)),
    ("$$<a;b", (Script("$$<", "a"), Command("b"))),
    ("$$><a;b", (Script("$$><", "a"), Command("b"))),
    ('$$>a<"a b" 1;k', (Script("$$>a<", '"a b" 1'), Command("k"))),
    ("$$>< a.txt", (Script("$$><", "a.txt"),)),
    # control flow
    (".if (1) {k}", (If(((ONE, Text("k")),)),)),
    (".if(1){k}", (If(((ONE, Text("k")),)),)),
    (".if 1 {k}", (If(((Text("1"), Text("k")),)),)),
    (".if (1) {k} .else {r}", (If(((ONE, Text("k")),), Text("r")),)),
    (".if (1) {k} .elsif (2) {r} .elsif 3 {u}",
     (If(((ONE, Text("k")), (Text("(2)"), Text("r")), (Text("3"), Text("u")))),)),
    (".if (1);{;k;};.else;{;r;};u", (If(((ONE, Text(";k;")),), Text(";r;")), Command("u"))),
    (".if (1)\n{\nk\n}\n.else\n{\nr\n}", (If(((ONE, Text("\nk\n")),), Text("\nr\n")),)),
    (".if (1) {k} r", (If(((ONE, Text("k")),)), Command("r"))),
    (".if (1) {.if (2) {k}}", (If(((ONE, Text(".if (2) {k}")),)),)),
    ('.if ($spat("{","{")) {.echo "}"}', (If(((Text('($spat("{","{"))'), Text('.echo "}"')),)),)),
    (".iffy (1)", commands(".iffy (1)")),
    (".while (1) {k}", (While(ONE, Text("k")),)),
    (".do {k} (1)", (While(ONE, Text("k"), body_first=True),)),
    (".do {k} (1); r", (While(ONE, Text("k"), body_first=True), Command("r"))),
    (".for (a;b;c) {k}", (For(Text("a"), Text("b"), (Text("c"),), Text("k")),)),
    (".for (a;b;c;d) {k}", (For(Text("a"), Text("b"), (Text("c"), Text("d")), Text("k")),)),
    (".for (;;) {}", (For(Text(""), Text(""), (Text(""),), Text("")),)),
    (".for (r $t0=0;@$t0<(3);r $t0=@$t0+1) {k}",
     (For(Text("r $t0=0"), Text("@$t0<(3)"), (Text("r $t0=@$t0+1"),), Text("k")),)),
    (".foreach (x {lm}) {k x}", (ForEach("x", "commands", Text("lm"), Text("k x")),)),
    (".foreach /pS 2 /ps 0n4 (x {lm;k}) {k}",
     (ForEach("x", "commands", Text("lm;k"), Text("k"), "2", "0n4"),)),
    ('.foreach /s (x "a b") {k}', (ForEach("x", "string", Text("a b"), Text("k")),)),
    ('.foreach /f (x "a.txt") {k}', (ForEach("x", "file", Text("a.txt"), Text("k")),)),
    (".foreach (x{lm}){k}", (ForEach("x", "commands", Text("lm"), Text("k")),)),
    (".block {k;r}", (Block(Text("k;r")),)), (".block {k} r", (Block(Text("k")), Command("r"))),
    (".catch {k} r", (Block(Text("k"), catches=True), Command("r"))),
    (".break", (Leave("break"),)), ("k;.continue", (Command("k"), Leave("continue"))),
    (".LEAVE;k", (Leave("leave"), Command("k"))), (".If (1) {k}", (If(((ONE, Text("k")),)),)),
    (".leave;k", (Leave("leave"), Command("k"))),
    ("j (1) 'k;r' ; 'u' ; x", (Jump(Text("(1) 'k;r'"), Text("'u'")),)),
    ("j x k", (Jump(Text("x k")),)), ("j(1) k;r", (Jump(Text("(1) k"), Text("r")),)),
    ("j (1) '' ; 'gc'", (Jump(Text("(1) ''"), Text("'gc'")),)), ("jx", commands("jx")),
    ("k;z(1);r", (Command("k"), Repeat(ONE), Command("r"))), ("zap (1)", commands("zap (1)")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "statements"), LINES)
def test_line(text, statements):
    assert parse.line(text).statements == statements


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("}", 0), (".echo }", 6), (".if (1)", 7), (".if (1) k", 9), (".if {k}", 4),
        (".if (1) {k", 10), (".else {k}", None), (".for (a) ", 7), (".for a;b;c {k}", 5),
        (".foreach x {k} {r}", 9), (".foreach (x) {k}", 11), (".do {k}", 7), (".while {k}", 7),
        ("{k}", 0), (".block k", 7), (".catch", 6), (".if (1) {k} .else r", 18),
    ],
)  # fmt: skip
def test_error_column(text, column):
    if column is None:
        # `.else` alone is no control token; the registry will not know such a command.
        assert isinstance(parse.line(text).statements[0], Command)
        return
    with pytest.raises(CommandSyntaxError) as caught:
        parse.line(text)
    assert (caught.value.column, caught.value.text) == (column, text)


def test_columns_of_commands():
    first, second = parse.line("  k ; .echo x").statements
    assert (first.column, second.column) == (2, 6)


@pytest.mark.parametrize("text", [text for text, _ in LINES])
def test_written_out_and_parsed_again(text):
    program = parse.line(text)
    swallowed = (
        isinstance(program.statements[-1], AliasCommand | Script) if program.statements else 0
    )
    if not swallowed:
        assert parse.line(str(program)) == program


@pytest.mark.parametrize(
    ("text", "some"),
    [
        ("", {"TEXT", "_IF", "ALIAS"}),
        (".if (1) {k} ", {"_ELSE", "_ELSIF", "$END"}),
        (".if ", {"TEXT"}),
        (".block ", {"_OPEN"}),
        (".foreach ", {"LPAR", "SKIP", "KIND"}),
    ],
)
def test_accepts(text, some):
    assert some <= parse.accepts(text, "kd")
