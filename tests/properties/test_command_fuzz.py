"""Any line gives text or an error of kdsim: never another exception, never a hang."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdsim.debugger.commands.catalogue import REGISTRY
from kdsim.debugger.commands.engine import equip
from kdsim.debugger.output import Output
from kdsim.debugger.session import Session
from tests.properties.frozen import FrozenBackend, FrozenMachine

PATIENCE = 10.0
"""Seconds of processor time a line may take, whatever else the host is doing."""


class Hang(BaseException):
    """Nothing of the program catches this."""


@contextmanager
def in_time(line: str) -> Iterator[None]:
    def late(_number: int, _frame: FrameType | None) -> None:
        raise Hang(line)

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


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

    def type(self, line: str) -> None:
        if self._session.ended or self._session.lost:
            self._session.close()
            self._session = self._attached()
        with in_time(line):
            self._session.execute(line)
        assert all(isinstance(text, str) for text in self.printed)


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
