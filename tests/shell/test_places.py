"""What kind of thing fits where, and what is typed of it so far."""

from __future__ import annotations

import pytest

from kdsim.debugger.language.tables import parser
from kdsim.debugger.shell.places import CONTROL, Places

OPERAND = "operator"


def is_type(name: str) -> bool:
    return name.rpartition("!")[2].startswith("_")


PLACES = Places(is_type)


@pytest.mark.parametrize(
    ("text", "kind", "word"),
    [
        pytest.param("", "command", "", id="empty-line"),
        pytest.param("k", "command", "k", id="command-name"),
        pytest.param("!po", "command", "!po", id="extension"),
        pytest.param("k; .ec", "command", ".ec", id="behind-a-semicolon"),
        pytest.param("dd nt!x; ", "command", "", id="behind-a-semicolon-and-a-blank"),
        pytest.param(".if (1) { r", "command", "r", id="in-a-block"),
        pytest.param(".block { .if (1) { k }; r", "command", "r", id="behind-an-inner-block"),
        pytest.param(".block { k } r", "command", "r", id="behind-a-block"),
        pytest.param(".if (1) { k } .el", "command", ".el", id="else"),
        pytest.param(".foreach (x { lm", "command", "lm", id="foreach-source"),
        pytest.param(".foreach (x { lm }) { .ec", "command", ".ec", id="foreach-body"),
        pytest.param(".for (r", "command", "r", id="for-start"),
        pytest.param(".for (r $t0=0; 1; r", "command", "r", id="for-step"),
        pytest.param("j 1 'k; r", "command", "r", id="jump-quoted"),
        pytest.param('bp nt!x "k; r', "command", "r", id="breakpoint-string"),
        pytest.param('bp nt!x 3 "k; r', "command", "r", id="breakpoint-string-behind-passes"),
        pytest.param("dd nt!Ps", OPERAND, "nt!Ps", id="range"),
        pytest.param("dd nt!x po", OPERAND, "po", id="second-address"),
        pytest.param("dd nt!x L@r", OPERAND, "@r", id="length"),
        pytest.param("s -d nt!x L10 po", OPERAND, "po", id="behind-a-length"),
        pytest.param("dd poi(nt!Ps", OPERAND, "nt!Ps", id="in-parentheses"),
        pytest.param("? nt!a + n", OPERAND, "n", id="behind-an-operator"),
        pytest.param("?nt!Ps", OPERAND, "nt!Ps", id="glued-to-the-command"),
        pytest.param("x nt!Ps*He", OPERAND, "nt!Ps*He", id="wildcard"),
        pytest.param(".if (nt!Ps", OPERAND, "nt!Ps", id="condition"),
        pytest.param(".if(@r", OPERAND, "@r", id="condition-glued"),
        pytest.param(".for (r $t0=0; @$t", OPERAND, "@$t", id="for-condition"),
        pytest.param(".do { k } (nt!", OPERAND, "nt!", id="do-condition"),
        pytest.param("k; z(@r", OPERAND, "@r", id="repeat-condition"),
        pytest.param("j nt!P", OPERAND, "nt!P", id="jump-condition"),
        pytest.param('.printf "%d", nt!P', OPERAND, "nt!P", id="printf-value"),
        pytest.param("r rax = nt!P", OPERAND, "nt!P", id="register-value"),
        pytest.param("r ra", "register", "ra", id="register"),
        pytest.param("r @ra", "register", "@ra", id="register-with-its-mark"),
        pytest.param("dt nt!_EP", "type", "nt!_EP", id="type"),
        pytest.param("!object \\Dev nt!Ps", "flags", "nt!Ps", id="behind-what-is-no-expression"),
        pytest.param("bp /p ", "process", "", id="process-of-a-breakpoint"),
        pytest.param("bp /p 0 nt!Ps", OPERAND, "nt!Ps", id="behind-the-value-of-an-option"),
        pytest.param("!stacks 2 x; bp /t ", "thread", "", id="thread-of-a-breakpoint"),
        pytest.param("!for_each_module .ec", "command", ".ec", id="commands-without-quotes"),
        pytest.param("dt -r nt!_EP", "type", "nt!_EP", id="type-behind-an-option"),
        pytest.param("?? (nt!_EP", "type", "nt!_EP", id="cast"),
        pytest.param("?? sizeof(nt!_EP", "type", "nt!_EP", id="sizeof"),
        pytest.param("lm m ti", "module", "ti", id="module"),
        pytest.param(".reload /f n", "module", "n", id="module-behind-an-option"),
        pytest.param("bc ", "breakpoint", "", id="breakpoint"),
        pytest.param("!process ", "process", "", id="process"),
        pytest.param(".thread ", "thread", "", id="thread"),
        pytest.param("!pcr ", "processor", "", id="processor"),
        pytest.param("!process 0 ", "flags", "", id="flags"),
        pytest.param("!poolfind Abc ", "flags", "", id="flags-behind-a-tag"),
        pytest.param(".reload /", "option", "/", id="option"),
        pytest.param("dt -", "option", "-", id="option-with-a-dash"),
        pytest.param("!thread -", "option", "-", id="option-of-an-extension"),
        pytest.param("dd /", "option", "/", id="option-of-a-display-command"),
        pytest.param("!dh -f ti", "module", "ti", id="module-behind-a-plain-option"),
        pytest.param("lmvm ti", "module", "ti", id="module-behind-glued-letters"),
        pytest.param("ba ", "flags", "", id="words-of-an-argument"),
        pytest.param("!lookaside 0 ", "flags", "", id="words-behind-an-address"),
        pytest.param('!list -x "k; r', "command", "r", id="commands-of-an-option"),
        pytest.param('.pcmd -s "k; r', "command", "r", id="commands-of-another-option"),
        pytest.param("$$><sc", "file", "sc", id="script-file"),
        pytest.param("$$>a< /tmp/s", "file", "/tmp/s", id="script-file-behind-a-blank"),
        pytest.param(".block { $$><sc", "file", "sc", id="script-file-in-a-block"),
        pytest.param(".logopen 기", "file", "기", id="file-in-korean"),
        pytest.param("as /f x y", "file", "y", id="file-of-an-alias"),
        pytest.param("ad na", "alias", "na", id="alias"),
        pytest.param(".hh !po", "command", "!po", id="help"),
    ],
)
def test_kind(text: str, kind: str, word: str) -> None:
    place = PLACES.at(text)
    assert place is not None
    assert (kind in place.kinds, place.word) == (True, word)


@pytest.mark.parametrize(
    ("text", "base", "word"),
    [
        pytest.param("?? @$proc->Im", "@$proc", "Im", id="pseudo-register"),
        pytest.param("?? ((nt!_KTHREAD*)x)->", "((nt!_KTHREAD*)x)", "", id="cast"),
        pytest.param("?? 1 + a[2].b->c", "a[2].b", "c", id="path"),
        pytest.param("?? a.b[(1)]->d", "a.b[(1)]", "d", id="brackets"),
        pytest.param("? @@(((_T*)x)->He", "((_T*)x)", "He", id="other-language"),
        pytest.param("dd poi(@@c++(@$proc->P", "@$proc", "P", id="other-language-inside"),
        pytest.param(".if (@@(a.b", "a", "b", id="other-language-in-a-condition"),
        pytest.param("r? $t0 = @$proc->", "@$proc", "", id="typed-register"),
        pytest.param(
            "?? #CONTAINING_RECORD(1,_E,x)->y", "#CONTAINING_RECORD(1,_E,x)", "y", id="macro"
        ),
    ],
)
def test_member(text: str, base: str, word: str) -> None:
    place = PLACES.at(text)
    assert place is not None
    assert (place.kinds, place.base, place.word) == (("member",), base, word)


def test_field_knows_its_type() -> None:
    place = PLACES.at("dt nt!_EPROCESS Pcb.He")
    assert place is not None
    assert (place.kinds, place.base, place.word) == (("field",), "nt!_EPROCESS", "Pcb.He")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("* remark", id="comment"),
        pytest.param("$$ remark", id="short-comment"),
        pytest.param("nosuch com", id="unknown-command"),
        pytest.param("k } r", id="no-line"),
    ],
)
def test_nothing_fits(text: str) -> None:
    assert PLACES.at(text) is None


@pytest.mark.parametrize("text", [".echo te", "!object \\Dev", "dd nt!x L", "n 1", "vertarget "])
def test_only_the_command_is_known(text: str) -> None:
    """Nothing can be offered, but the bottom line tells what the command takes."""
    place = PLACES.at(text)
    assert place is not None
    assert (place.kinds, place.match is not None) == ((), True)


def test_control_words_are_terminals_of_the_grammar() -> None:
    """Each spelling is read as the terminal it stands for."""
    lexer = parser("kd")
    for terminal, spellings in CONTROL.items():
        for spelling in spellings:
            assert next(iter(lexer.lex(f"{spelling} x"))).type in (terminal, f"{terminal}_LINE")
