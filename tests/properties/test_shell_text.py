"""What the shell does to text: nothing but colour it, whatever it holds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from pygments import highlight
from pygments.formatters import Terminal256Formatter

from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.shell.completion import KdCompleter
from kdsim.debugger.shell.lexers import KdLexer, KdOutputLexer
from kdsim.debugger.shell.styles import STYLES
from kdsim.debugger.shell.terminal import legible
from tests.shell.synthetic import engine_over

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
OUTPUT = ("fffff800`5e406f70", "nt!KeBugCheckEx+0x12", "????????`????????", "rax=0000000000000001")
LINE_STARTS = (
    "0: kd> ",
    "        ^ Syntax error",
    "*** Fatal",
    "STACK_TEXT:  ",
    "\n",
    "\n\n",
    "\t",
)
INPUT = ("L10", "0x1234", "'ab", '"text', "poi(", "@$t0", "!poolused", ".if (1) {", "$$ note", ";")
PIECES = st.sampled_from([*OUTPUT, *LINE_STARTS, *INPUT, " "])
LINES = st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=8).map("".join)


@pytest.mark.parametrize("lexer", [KdLexer, KdOutputLexer])
@given(LINES)
def test_lexers_lose_and_add_nothing(lexer: type, text: str) -> None:
    tokens = lexer(stripnl=False, ensurenl=False).get_tokens(text.replace("\r", ""))
    assert "".join(value for _, value in tokens) == text.replace("\r", "")


@given(LINES)
def test_colour_is_all_that_is_added(text: str) -> None:
    text = legible(text).replace("\r", "")
    formatter = Terminal256Formatter(style=STYLES["dark"])
    coloured = highlight(text, KdOutputLexer(stripnl=False, ensurenl=False), formatter)
    assert ESCAPES.sub("", coloured) == text


@given(st.text())
def test_no_control_characters_reach_the_terminal(text: str) -> None:
    shown = legible(text)
    assert len(shown) == len(text)
    assert not any((ord(c) < 0x20 and c not in "\t\n\r") or 0x7F <= ord(c) < 0xA0 for c in shown)


@pytest.fixture(scope="module")
def completer() -> KdCompleter:
    """Of a session before the target has answered."""
    return KdCompleter(engine_over({}))


@settings(deadline=None)  # The first one imports all command files.
@given(LINES)
def test_completion_only_ever_continues_the_word(completer: KdCompleter, text: str) -> None:
    for offer in completer.get_completions(Document(text), CompleteEvent()):
        replaced = text[len(text) + offer.start_position :] if offer.start_position else ""
        assert offer.text.lower().startswith(replaced.lower())


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_command_is_offered(completer: KdCompleter, name: str) -> None:
    offers = completer.get_completions(Document(name), CompleteEvent())
    assert name in {offer.text for offer in offers}
