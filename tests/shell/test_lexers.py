"""The pygments plugins: nothing is lost, and the grammar's idea of a line is theirs too."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.styles import get_style_by_name
from pygments.token import Comment, Generic, Keyword, Name, String, Token, _TokenType

from kdsim.debugger.language import parse
from kdsim.debugger.shell.lexers import KdLexer, KdOutputLexer, KdSessionLexer
from kdsim.debugger.shell.styles import STYLES

SESSION = """# lab seed 1
0: kd> dd nt!PoolHitTag L1; * look
fffff800`5e4c2010  20636241
lkd> .echo 한글
한글
"""


def tokens(text: str, lexer: type[Lexer] = KdLexer) -> list[tuple[_TokenType, str]]:
    return list(lexer(stripnl=False, ensurenl=False).get_tokens(text))


def pieces(text: str, kind: _TokenType) -> list[str]:
    return [value for found, value in tokens(text) if found in kind]


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        pytest.param("* a; b", Comment, ["* a; b"], id="star-swallows-the-line"),
        pytest.param("k; * a; b", Comment, ["* a; b"], id="star-behind-a-semicolon"),
        pytest.param("? 2 * 3", Comment, [], id="star-that-multiplies"),
        pytest.param("$$ a; k", Comment, ["$$ a"], id="dollars-end-at-a-semicolon"),
        pytest.param(".block { * a } ; k", Comment, ["* a "], id="comment-ends-with-its-block"),
        pytest.param('bp x "k; * a"', Comment, [], id="star-in-a-string"),
        pytest.param('bp x "k; g"; r', String, ['"k; g"'], id="string"),
        pytest.param(r'.printf "a\"b"; r', String, [r'"a\"b"'], id="escaped-quote"),
        pytest.param('.echo "a', String, ['"a'], id="string-without-an-end"),
        pytest.param("ed x ';cbA'", String, ["';cbA'"], id="character-constant"),
        pytest.param(".echo don't; g", String, [], id="apostrophe"),
        pytest.param("j 1 'k;r'; 'g'", String, ["'k;r'", "'g'"], id="jump"),
        pytest.param("$$>a<f a; k", String, ["f a"], id="script-with-arguments"),
        pytest.param("$><a;b", String, ["a;b"], id="script-that-swallows"),
        pytest.param("as x a;b", String, [" a;b"], id="alias-swallows"),
        pytest.param("aS x a;b", String, [], id="alias-phrase-does-not"),
        pytest.param("dx n { a; * b }; * c", Comment, ["* c"], id="braces-of-a-command"),
        pytest.param(".if (1) { k } .else { r }", Keyword, [".if", ".else"], id="control"),
        pytest.param(".iffy", Keyword, [], id="not-a-control-word"),
        pytest.param(".do { k } (1); z(1)", Keyword, [".do", "z"], id="do-and-repeat"),
        pytest.param("!process 0 7", Name.Function, ["!process"], id="extension"),
        pytest.param("r @rax, @$t1", Name.Variable, ["@rax", "@$t1"], id="registers"),
        pytest.param("dd nt!X", Name.Class, ["nt!X"], id="symbol"),
        pytest.param("k ${a}", String.Interpol, ["${a}"], id="alias-in-use"),
    ],
)
def test_pieces(text: str, kind: _TokenType, found: list[str]) -> None:
    assert pieces(text, kind) == found


FRAGMENTS = st.sampled_from(
    [
        *("k", "dd nt!X L4", "* remark; more", "$$ remark", '.echo "a;b"', "ed x ';{'", "r rax=1"),
        *(".if (1) { k; * in }", ".else { r }", ".block { .echo {a; b} }", "$$>a<file x", "$<f;g"),
        *("as x y;z", "aS x y", "ad x", "r $.u1=a;b", "j 1 'k;r'", "z(1)", ".for (r $t0=0;1;k) {}"),
        *(
            ".do { k } (1)",
            ".foreach (x { lm }) { .echo x }",
            ".break",
            "don't",
            "dx new { a = 1 }",
        ),
    ]
)
MARKS = {"COMMENT": Comment, "SCRIPT": String, "SCRIPT_LINE": String, "ALIAS_LINE": String}
KEYWORDS = {"_IF", "_ELSIF", "_ELSE", "_FOR", "_WHILE", "_DO", "_FOREACH", "_CATCH", "_BLOCK", "_J"}


@given(st.lists(st.tuples(FRAGMENTS, st.sampled_from(["; ", "\n", " ;", ";"])), max_size=6))
def test_agrees_with_the_grammar(fragments: list[tuple[str, str]]) -> None:
    """What is a comment, a script, an alias or a control word at the line's top level."""
    text = "".join(fragment + separator for fragment, separator in fragments)
    reading = parse.read(text)
    kinds: list[_TokenType] = []
    for kind, value in tokens(text):
        kinds += [kind] * len(value)
    for token in reading.tokens:
        start, last = token.start_pos or 0, (token.end_pos or 0) - 1
        if token.type in MARKS:
            assert kinds[last] in MARKS[token.type], (text, token)
        elif token.type in KEYWORDS:
            assert kinds[last] in Keyword, (text, token)
        elif token.type == "TEXT":
            assert kinds[start] not in Comment, (text, token)


@pytest.mark.parametrize("lexer", [KdLexer, KdOutputLexer, KdSessionLexer])
@given(text=st.text(alphabet=st.sampled_from("k.!$<>*;{}()\"'\\ \n\r\taL0`@-한é\x00"), max_size=60))
def test_no_text_is_lost(lexer: type[Lexer], text: str) -> None:
    """Pygments itself turns every kind of line end into one."""
    given_ = text.replace("\r\n", "\n").replace("\r", "\n")
    found = tokens(text, lexer)
    assert "".join(value for _, value in found) == given_
    assert all(kind is not Token.Error for kind, _ in found)


def test_session() -> None:
    found = tokens(SESSION, KdSessionLexer)
    assert "".join(value for _, value in found) == SESSION
    prompts = [value for kind, value in found if kind is Generic.Prompt]
    assert prompts == ["0: kd> ", "lkd> "]
    assert (Comment.Single, "# lab seed 1\n") in found
    assert (Comment.Single, "* look") in found
    assert (Name.Builtin, ".echo") in found


@pytest.mark.parametrize("name", ["kd", "windbg", "kd-output", "kd-session", "kdt"])
def test_plugins(name: str) -> None:
    assert get_lexer_by_name(name).name.startswith("Windows kernel debugger")


def test_file_names() -> None:
    assert get_lexer_for_filename("hunt.kd").aliases[0] == "kd"
    assert get_lexer_for_filename("hunt.kdt").aliases[0] == "kd-session"


def test_pygmentize() -> None:
    command = [sys.executable, "-m", "pygments", "-l", "kd", "-f", "html", "-O", "style=kd-light"]
    done = subprocess.run(command, input="!process 0 0", capture_output=True, text=True, check=True)
    assert '<span class="fm">!process</span>' in done.stdout


def test_styles_are_plugins() -> None:
    for name, style in STYLES.items():
        assert style is None or get_style_by_name(f"kd-{name}") is style


def luminance(colour: str) -> float:
    """Relative luminance as in WCAG 2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", [name for name, style in STYLES.items() if style])
def test_styles_are_legible(name: str) -> None:
    """Every colour has the contrast WCAG asks of text."""
    style = STYLES[name]
    assert style is not None
    ground = luminance(style.background_color.removeprefix("#"))
    for kind, look in style:
        if look["color"]:
            lighter, darker = sorted((luminance(look["color"]), ground), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, kind
