"""Keys go in through a pipe, without a terminal."""

from __future__ import annotations

import asyncio
import io
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from prompt_toolkit.application import Application, create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.lexers import SimpleLexer
from prompt_toolkit.output import DummyOutput

from kdsim.debugger.commands import registry
from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.session import Session
from kdsim.debugger.shell.conversation import commands_of
from kdsim.debugger.shell.history import SharedHistory
from kdsim.debugger.shell.prompt import Prompt
from kdsim.debugger.shell.terminal import Terminal
from tests.shell.synthetic import engine_over, kernel_pdb

UP, RIGHT, F1 = "\x1b[A", "\x1b[C", "\x1bOP"
PASTE, PASTED = "\x1b[200~", "\x1b[201~"
CTRL_C, CTRL_D, CTRL_R, CTRL_U, CTRL_W, CTRL_Y = "\x03", "\x04", "\x12", "\x15", "\x17", "\x19"
ALT_DOT = "\x1b."
THEN = "\ue000"
"""The keys behind it wait until the prompt has drawn what the keys before it did."""
IDLE = 0.05


@pytest.fixture(autouse=True)
def _own_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Printed(list[str]):
    """What the session prints. Ctrl+C is pressed at the moment when one of these texts comes."""

    def __init__(self, *unwelcome: str) -> None:
        self._unwelcome = unwelcome

    def append(self, text: str) -> None:
        super().append(text)
        if text in self._unwelcome:
            signal.raise_signal(signal.SIGINT)


def typed(keys: str, tmp_path: Path, printed: Printed | None = None) -> str:
    """What the session prints when these keys are pressed, and then `q`."""
    printed = Printed() if printed is None else printed
    engine = engine_over({"nt": kernel_pdb(tmp_path)}, printed)
    pieces = f"{keys}{THEN}q\r".split(THEN)
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):

        def feed(app: Application[str]) -> None:
            asyncio.get_running_loop().call_later(IDLE, send)

        def send() -> None:
            if pieces:
                pipe.send_text(pieces.pop(0))

        prompt = Prompt(engine, Terminal(io.StringIO()))
        prompt._reader.app.after_render += feed
        prompt.run()
    assert engine.session.ended == "q"
    return "".join(printed)


@pytest.mark.parametrize(
    ("keys", "printed"),
    [
        pytest.param(".echo one\r", "one\n", id="a-line"),
        pytest.param(".echo one\r\r", "one\none\n", id="enter-repeats"),
        pytest.param("\r.echo one\r", "one\n", id="nothing-to-repeat"),
        pytest.param(f".echo one{CTRL_C}.echo two\r", "two\n", id="ctrl-c-drops-the-line"),
        pytest.param(f".echo one{CTRL_U}.echo two\r", "two\n", id="ctrl-u-clears"),
        pytest.param(f".echo one two{CTRL_W}{CTRL_Y}\r", "one two\n", id="cut-and-yank"),
        pytest.param(f".echo one\r{THEN}{UP}\r", "one\none\n", id="up"),
        pytest.param(
            f".echo one\r? 1\r{THEN}.ec{THEN}{UP}\r",
            "one\nEvaluate expression: 1 = 00000000`00000001\none\n",
            id="up-takes-only-lines-that-begin-so",
        ),
        pytest.param(
            f".echo one\r.echo two\r{THEN}{CTRL_R}one\r\r", "one\ntwo\none\n", id="search"
        ),
        pytest.param(f".echo one\r.echo x {THEN}{ALT_DOT}\r", "one\nx one\n", id="last-word"),
        pytest.param(f".echo one\r.ec{THEN}{RIGHT}\r", "one\none\n", id="suggestion-taken"),
        pytest.param(f".ech\t{THEN} one\r", "one\n", id="completed-command"),
        pytest.param(f"!poolu\t{THEN}{CTRL_W}.echo one\r", "one\n", id="completed-and-dropped"),
        pytest.param(".echo 한글\r", "한글\n", id="korean"),
        pytest.param(f".echo 한글\x7f글\r{THEN}{UP}\r", "한글\n한글\n", id="korean-edited"),
        pytest.param(f"{PASTE}.echo one\n.echo two\n{PASTED}\r", "one\ntwo\n", id="paste"),
        pytest.param(
            f"{PASTE}.if (0) {{\n  .echo one\n}}\n.else {{\n  .echo two\n}}\n.echo three{PASTED}\r",
            "two\nthree\n",
            id="paste-of-a-block",
        ),
        pytest.param(f".style{CTRL_U}.style\r", "The output does not go to", id="no-style"),
        pytest.param("poolused\r", "did you mean !poolused", id="near-names"),
    ],
)
def test_keys(keys: str, printed: str, tmp_path: Path) -> None:
    assert printed in typed(keys, tmp_path)


def test_f1_explains_the_command_at_the_cursor(tmp_path: Path) -> None:
    text = typed(f"k; bp nt!x {F1}{CTRL_U}", tmp_path)
    assert "bp " in text
    assert "breakpoint" in text


def test_f1_explains_control_flow(tmp_path: Path) -> None:
    assert ".for (command ; condition" in typed(f".for (r $t0 = 0; {F1}{CTRL_U}", tmp_path)


def test_ctrl_d_is_q(tmp_path: Path) -> None:
    assert typed(CTRL_D, tmp_path) == ""


def test_history_is_shared(tmp_path: Path) -> None:
    typed(".echo from before\r", tmp_path)
    assert typed(f"{UP}{THEN}{UP}\r", tmp_path) == "from before\n"


def test_ctrl_c_once_more_while_a_command_ends(tmp_path: Path) -> None:
    """What ends is not disturbed; the next command can be ended again."""
    keys = ".while (1) { .echo one }\r.echo two\r.while (1) { .echo one }\r"
    printed = typed(keys, tmp_path, Printed("one\n", "^C\n"))
    assert printed == "one\n^C\ntwo\none\n^C\n"


def test_ctrl_c_drops_the_rest_of_a_paste(tmp_path: Path) -> None:
    keys = f"{PASTE}.while (1) {{ .echo one }}\n.echo never{PASTED}\r.echo two\r"
    assert typed(keys, tmp_path, Printed("one\n")) == "one\n^C\ntwo\n"


def test_ctrl_c_where_nothing_can_be_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a command and the prompt, or while the prompt is drawn, it is not for anybody."""

    def look_again(self: SharedHistory) -> None:
        signal.raise_signal(signal.SIGINT)

    def lexer(self: Prompt) -> SimpleLexer:
        signal.raise_signal(signal.SIGINT)
        return SimpleLexer()

    monkeypatch.setattr(SharedHistory, "look_again", look_again)
    monkeypatch.setattr(Prompt, "_lexer_in_use", lexer)
    assert typed(".echo one\r.echo two\r", tmp_path) == "one\ntwo\n"


def test_ctrl_c_in_a_finalizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python drops what is raised there; the command ends a little later."""

    class Waste:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def echo(session: Session, *_: object) -> None:
        session.out.line("one")
        Waste()

    monkeypatch.setattr("kdsim.debugger.shell.interrupts.forget_typed", lambda: None)
    declared = replace(REGISTRY.get(".echo"), function=echo)
    monkeypatch.setitem(registry._declared, ".echo", declared)
    assert typed(".while (1) { .echo }\r", tmp_path) == "one\n^C\n"


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        pytest.param("k\nr", ["k", "r"], id="two"),
        pytest.param(".if (1) {\nk\n}\nr", [".if (1) {\nk\n}", "r"], id="block"),
        pytest.param(".if (1)\n{\nk }", [".if (1)\n{\nk }"], id="brace-below"),
        pytest.param(
            ".if (1) {\n}\n.elsif (1) {\n}", [".if (1) {\n}\n.elsif (1) {\n}"], id="elsif"
        ),
        pytest.param("* {\nk", ["* {", "k"], id="brace-in-a-comment"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_pasted_text_as_commands(text: str, commands: list[str]) -> None:
    assert commands_of(text) == commands
