"""Any line gives text or an error of kdsim: never another exception, never a hang."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.engine import equip
from kdsim.debugger.output import Output
from kdsim.debugger.session import Session
from tests.properties.frozen import FrozenBackend, FrozenMachine
from tests.properties.patience import FUZZ_SECONDS, FUZZ_SEED, in_time
from tests.properties.sentences import Sentences


@pytest.fixture(scope="module")
def machine() -> FrozenMachine:
    return FrozenMachine()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log files and the like go where nobody minds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDSIM_CACHE", str(tmp_path))


class Typist:
    """Types lines, and begins a new session where one has ended."""

    def __init__(self, machine: FrozenMachine) -> None:
        self._machine = machine
        self._session = self._attached()

    def __enter__(self) -> Typist:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def _attached(self) -> Session:
        self.printed: list[str] = []
        session = Session(FrozenBackend(self._machine), Output(self.printed.append))
        equip(session)
        session.attach()
        return session

    def get_impatient(self, turns: int) -> None:
        """Press Ctrl+C when the debugger has asked that often whether somebody did."""
        session = self._session

        def asked() -> None:
            nonlocal turns
            turns -= 1
            if turns < 0:
                raise KeyboardInterrupt

        session.check_interrupt = asked  # type: ignore[method-assign]

    def lose_patience_while_reading(self, answered: int) -> None:
        """Press Ctrl+C while the target is asked for memory, after so many answers."""
        backend, read = self._session.backend, self._session.backend.read_virtual

        def asked(va: int, size: int) -> bytes:
            nonlocal answered
            answered -= 1
            if answered < 0:
                backend.read_virtual = read  # type: ignore[method-assign]
                raise KeyboardInterrupt
            return read(va, size)

        backend.read_virtual = asked  # type: ignore[method-assign]

    def press_ctrl_c(self) -> None:
        self._session.interrupt()

    def type(self, line: str) -> None:
        if self._session.ended or self._session.lost:
            self._session.close()
            self._session = self._attached()
        with in_time(line):
            self._session.execute(line)
        assert all(isinstance(text, str) for text in self.printed)

    def answer(self, line: str) -> str:
        self.printed.clear()
        self.type(line)
        return "".join(self.printed)


NUMBERS = ["0", "1", "5", "10", "7ff0`00000000", "fffff800`5e400000", "0n99999999999999999999",
           "-1", "0x", "ffffffff`ffffffff", "ffff8000`00000000", "L10", "L?20", "L-4", "L0",
           "L10000000", "0y11", "1.5", "$t1", "'abcd'"]  # fmt: skip
PLACES = ["nt", "nt!PsInitialSystemProcess", "nt!PsLoadedModuleList", "poi(nt!PsActiveProcessHead)",
          "@rsp", "@rip", ".", "@$thread", "@$proc", "@$ra", "nt!KiBugCheckData", "tidy",
          "nt!_EPROCESS", "_LIST_ENTRY", "nt!KeBugCheckEx", "@!\"nt!x\"", "nt!Ke*", "nosuch!x",
          "`thread.c:10`", "@@c++(sizeof(int))", "@@(5)", "rax", "ecx", "@$bp0"]  # fmt: skip
MARKS = ["-f", "/p ", "-r", "/c", "/1", "-[1]b", "-a", "=", ",", ";", "(", ")", "{", "}", "\"", "'",
         "\"text\"", "\"r;k\"", "\"unclosed", "*", "?", "[0]", "::", "`", "@", "@@", "~", "|", "!",
         "->Pcb", "+", "- 1", "<<", "==", "and", "not", "poi", "$$", "a1", "%", "é", "\t", "\x00",
         "nt!_EPROCESS @$proc", "Abc?", "' cbA'", "eax=5", "rip", "xmm0:4f", "$t0=@$t0+1",
         "0x123", "-l", "Flink", "UniqueProcessId", "\\Driver", "\\Device\\x", "*.sys"]  # fmt: skip
# What takes as long as the user asks for, or does whatever he asks for.
UNBOUNDED = {".sleep", ".shell"}
NAMES = sorted(set(REGISTRY.names()) - UNBOUNDED)
words = st.sampled_from(NUMBERS + PLACES + MARKS)
command = st.builds(
    lambda name, glue, rest: name + glue + " ".join(rest),
    st.sampled_from(NAMES),
    st.sampled_from([" ", " ", " ", "", "3", "v"]),
    st.lists(words, max_size=4),
)
wrapped = st.one_of(
    command,
    st.builds(".if ({}) {{{}}} .else {{ {} }}".format, words, command, command),
    st.builds("j {} '{}' ; '{}'".format, words, command, command),
    st.builds(".catch {{ {} }}; {}".format, command, command),
    st.builds(".foreach (t {{ {} }}) {{ .echo t }}".format, command),
    st.builds("as x {}".format, command),
    st.builds("x; ${{x}}; {}".format, command),
    st.builds('bp {} "{}"; g'.format, words, command),
    st.builds("1{}".format, command),
)
nonsense = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40)
lines = st.lists(st.one_of(wrapped, wrapped, nonsense), min_size=1, max_size=4)

_relaxed = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_relaxed
@given(typed=lines)
def test_any_line_gives_text_or_an_error(machine: FrozenMachine, typed: list[str]) -> None:
    with Typist(machine) as typist:
        for line in typed:
            typist.type(line)


@pytest.mark.parametrize("tail", ["", " ) ( \" @@ nt!x '{", " -1", " -zz", " nt!_EPROCESS 0 L5"])
def test_every_command(machine: FrozenMachine, tail: str) -> None:
    with Typist(machine) as typist:
        for name in NAMES:
            typist.type(f"{name}{tail}")


@pytest.mark.parametrize(
    "line",
    [
        ".for (;;) {}",
        ".while (1) { r $t0 = @$t0 + 1 }",
        ".do { .block {} } (1)",
        ".catch { .for (;;) { .catch { .if (1) {} } } }",
        ".foreach (t { .while (1) { .echo x } }) {}",
        "z(1)",
        "as /c out .for (;;) {}",
    ],
)
def test_ctrl_c_ends_an_endless_loop(machine: FrozenMachine, line: str) -> None:
    with Typist(machine) as typist:
        threading.Timer(0.1, typist.press_ctrl_c).start()
        typist.type(f"{line}; .echo never")
        assert typist.printed[-1] == "^C\n"
        typist.type(".echo still here")
        assert typist.printed[-1] == "still here\n"


@pytest.mark.parametrize("line", [".reload", ".reload /f", "x tidy!*"])
def test_ctrl_c_costs_no_module(machine: FrozenMachine, line: str) -> None:
    """Whenever it comes while the list of modules is read, all of them are there afterwards."""
    with Typist(machine) as typist:
        whole = typist.answer("? nt!KeBugCheckEx - nt; lm1m")
    for answered in itertools.count():
        with Typist(machine) as typist:
            typist.lose_patience_while_reading(answered)
            if not typist.answer(line).endswith("^C\n"):
                break
            assert typist.answer("? nt!KeBugCheckEx - nt; lm1m") == whole
    assert answered > 1


@pytest.mark.fuzz
@pytest.mark.timeout(FUZZ_SECONDS + 60)
def test_random_sentences(machine: FrozenMachine) -> None:
    """The grammar's sentences with real names, memory and commands behind them."""
    seed, end = FUZZ_SEED, time.monotonic() + FUZZ_SECONDS
    while time.monotonic() < end:
        sentences = Sentences(seed)
        text = sentences.line(sentences.random.randint(0, 6))
        with Typist(machine) as typist:
            for sentence in (text, sentences.spoilt(text)):
                typist.get_impatient(200)
                try:
                    typist.type(sentence)
                except BaseException as error:
                    pytest.fail(f"seed {seed}: {sentence!r}: {type(error).__name__}: {error}")
        seed += 1
