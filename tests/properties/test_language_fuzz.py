"""The language alone, given random sentences: a value, output or an error, and always an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kdsim.debugger.language import parse
from kdsim.debugger.language.evaluate import Evaluator
from kdsim.debugger.language.interpreter import MAX_LENGTH, Interpreter
from kdsim.debugger.language.typed_text import typed_text
from kdsim.errors import KdsimError, SimBug
from tests.debugger.language.language_fakes import TYPES, FakeContext, FakeHost
from tests.properties.patience import FUZZ_SECONDS, FUZZ_SEED, in_time
from tests.properties.sentences import Sentences

TURNS = 50
"""Turns a sentence's loops get, all together, before the user presses Ctrl+C."""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Impatient(FakeHost):
    """Its user presses Ctrl+C after some turns."""

    turns = 0

    def check_interrupt(self) -> None:
        self.turns += 1
        if self.turns > TURNS:
            raise KeyboardInterrupt

    def dispatch(self, text: str) -> None:
        if text.startswith("??"):
            value = Evaluator(self.context).cpp(text[2:])
            self.write(typed_text(self.context, value))
        super().dispatch(text)


def masm(text: str) -> None:
    for radix in (8, 10, 16):
        context = FakeContext()
        context.radix = radix
        value = Evaluator(context).masm(text)
        assert 0 <= value < 1 << 64


def cpp(text: str) -> None:
    context = FakeContext()
    assert typed_text(context, Evaluator(context).cpp(text))


def line(text: str) -> None:
    interpreter = Interpreter(Impatient(FakeContext()))
    try:
        interpreter.run(text)
    except KeyboardInterrupt:
        pass
    finally:
        assert interpreter._depth == 0


def again(parser: Callable[[str], object]) -> Callable[[str], None]:
    """Written out and parsed again it is the same tree."""

    def same(text: str) -> None:
        tree = parser(text)
        assert parser(str(tree)) == tree

    return same


CHECKS: dict[str, list[Callable[[str], None]]] = {
    "masm": [masm, again(lambda text: parse.masm(text).tree)],
    "cpp": [cpp, again(lambda text: parse.cpp(text, is_type=TYPES.__contains__).tree)],
    "line": [line, again(parse.line)],
}


def check(text: str, functions: Sequence[Callable[[str], None]]) -> None:
    for function in functions:
        with in_time(text):
            refused = error_of(function, text)
        assert refused is None or str(refused)


def error_of(function: Callable[[str], None], text: str) -> KdsimError | None:
    """What the user is told, if anything; all else is ours and passes."""
    try:
        function(text)
    except SimBug:
        raise
    except KdsimError as error:
        return error
    return None


@pytest.mark.fuzz
@pytest.mark.timeout(FUZZ_SECONDS + 60)
@pytest.mark.parametrize("kind", CHECKS)
def test_random_sentences(kind: str) -> None:
    seed, end = FUZZ_SEED, time.monotonic() + FUZZ_SECONDS
    while time.monotonic() < end:
        sentences = Sentences(seed)
        text = getattr(sentences, kind)(sentences.random.randint(0, 6))
        for sentence in (text, sentences.spoilt(text)):
            try:
                check(sentence, CHECKS[kind])
            except BaseException as error:
                pytest.fail(f"seed {seed}: {sentence!r}: {type(error).__name__}: {error}")
        seed += 1


N = MAX_LENGTH
EXTREMES = [
    pytest.param("(" * N, id="parentheses without end"),
    pytest.param("(" * (N // 2) + "1" + ")" * (N // 2), id="parentheses"),
    pytest.param("-" * (N - 1) + "1", id="minus signs"),
    pytest.param("not " * (N // 4 - 1) + "1", id="words of operators"),
    pytest.param("1+" * (N // 2 - 1) + "1", id="a long sum"),
    pytest.param("poi(" * 900 + "1" + ")" * 900, id="poi inside poi"),
    pytest.param("@@(" * 900 + "1" + ")" * 900, id="switches of language"),
    pytest.param("*" * (N - 5) + "Node", id="stars"),
    pytest.param("Node" + ".Next" * 800, id="members"),
    pytest.param("1?" * 900 + "1" + ":1" * 900, id="conditionals"),
    pytest.param("(int)" * 800 + "1", id="casts"),
    pytest.param("1," * 2000 + "1", id="commas"),
    pytest.param("a=" * 2000 + "1", id="assignments"),
    pytest.param("Table" + "[0" * 1500 + "]" * 1500, id="indexes"),
    pytest.param("int" + "*" * 4000, id="a type with stars"),
    pytest.param("(int" + "*" * 4000 + ")1", id="a cast to a type with stars"),
    pytest.param("9" * N, id="digits"),
    pytest.param("0x" + "f" * (N - 2), id="hexadecimal digits"),
    pytest.param("1e" + "9" * (N - 2), id="an exponent"),
    pytest.param("1" + "0" * 400 + ".0", id="a number no float holds"),
    pytest.param("1 << ffffffffffffffff", id="a shift by everything"),
    pytest.param("1.0 / 0", id="a division by zero"),
    pytest.param("1e308 * 10 + -1e308 * 10", id="not a number"),
    pytest.param("(int)(1e308 * 10)", id="an infinite integer"),
    pytest.param("(int)(1e308 * 10 - 1e308 * 10)", id="an integer that is not a number"),
    pytest.param("$vvalid(0, ffffffffffffffff)", id="all memory"),
    pytest.param("$spat(\"" + "a" * 1000 + "\", \"" + "a*" * 500 + "b\")", id="a slow pattern"),
    pytest.param("\0" * N, id="NULs"),
    pytest.param("\ud800" * 100, id="surrogates"),
    pytest.param("'\ud800'", id="a surrogate as a character"),
    pytest.param("\"" * N, id="quotes"),
    pytest.param("`" * N, id="grave accents"),
    pytest.param("{" * N, id="braces without end"),
    pytest.param(".block {" * 500 + "}" * 500, id="blocks"),
    pytest.param(".if 1 {" * 400 + "}" * 400, id="conditions"),
    pytest.param(".for (" * 600, id="heads of loops"),
    pytest.param(";" * N, id="semicolons"),
    pytest.param("${" * (N // 2), id="aliases without end"),
    pytest.param("$u1" * (N // 3), id="fixed aliases"),
    pytest.param("j 1 '" * 700, id="j inside j"),
    pytest.param(".for (;;) {}", id="an endless .for"),
    pytest.param(".while (1) {}", id="an endless .while"),
    pytest.param(".do {} (1)", id="an endless .do"),
    pytest.param("z(1)", id="an endless z"),
    pytest.param(".catch { .for (;;) {} } .echo on", id="an endless loop inside .catch"),
    pytest.param("x" * (N + 1), id="one character too many"),
    pytest.param("0n" + "9" * 5000, id="more digits than Python reads"),
]  # fmt: skip


@pytest.mark.parametrize("kind", CHECKS)
@pytest.mark.parametrize("text", EXTREMES)
def test_extremes(kind: str, text: str) -> None:
    check(text, CHECKS[kind][:1])
