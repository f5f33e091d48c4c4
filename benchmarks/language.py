"""The command language: turns of a loop, parsing alone, and a script of 10,000 mixed commands."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kdsim.debugger.language import parse

TURNS = 100_000
TURNS_LIMIT = 50_000
"""Turns a second that a loop makes at least."""

RUNS = 3
SCRIPT_LINES = 10_000

LOOPS = {
    "r in the head": f".for (r $t0 = 0; @$t0 < 0n{TURNS}; r $t0 = @$t0 + 1) {{}}",
    "r in the body": f".for (r $t0 = 0; @$t0 < 0n{TURNS}; ) {{ r $t0 = @$t0 + 1 }}",
    ".while": f"r $t0 = 0; .while (@$t0 < 0n{TURNS}) {{ r $t0 = @$t0 + 1 }}",
}

# Every `{n}` is another number, so that nothing is found in a cache.
LINES = (
    "k {n}; r; u . L{n}",
    'bp nt!X{n} "kb; .echo \\"a;b\\"; g"; bl',
    ".if (@$t0 == {n}) {{ .echo equal }} .elsif (1) {{ k }} .else {{ .block {{ r }} }}",
    '.for (r $t0 = 0; @$t0 < {n}; r $t0 = @$t0 + 1) {{ .printf "%d", @$t0 }}',
    ".foreach /pS 1 (x {{ lm1m }}) {{ .echo x{n} ${{x}} }}",
    "j (@rax == {n}) '.echo a' ; '.echo b'",
    'aS name{n} "a phrase"; .catch {{ dd {n} }}',
    "!process {n} 0; $$ a comment",
)
MASM = (
    "{n}",
    "@$t0 + {n}",
    "poi(nt!Head{n}) + 8 * (@rax & fff)",
    "(by @rsp+{n} == 0x12) and not ($vvalid(@rip, {n}) = 1)",
    "0n{n} mod 7 << 4 | low(@rax) ^ -1",
)
CPP = (
    "{n}",
    "@$t0 + {n}",
    "(unsigned char)nt!Count{n} & 0xff",
    "Process->Pcb.Header.Size + sizeof(int) * {n}",
    "@$t1 > {n} && Table[{n}] ? -1 : #FIELD_OFFSET(_EPROCESS, Pcb)",
)
SCRIPT = (
    "? poi(nt!PsActiveProcessHead) + {n}",
    "?? sizeof(nt!_EPROCESS) + {n}",
    'r $t1 = {n}; .printf "%d %p\\n", @$t1, @rip',
    ".if (@$t1 & 1) {{ .echo odd {n} }} .else {{ .echo even {n} }}",
    "dd nt!PsLoadedModuleList L4",
    "db @rsp + {n} L20",
    "dps @rsp L4",
    "u nt!KeBugCheckEx L3",
    "k 3",
    "r",
    "ln nt!KeBugCheckEx + {n}",
    "dt nt!_LIST_ENTRY nt!PsActiveProcessHead",
    "dt nt!_KTHREAD @$thread WaitIrql",
    "x nt!KeBug*",
    "lm m nt",
    "!process -1 0",
    '.foreach /s (w "a b c") {{ .echo w{n} ${{w}} }}',
    "aS v{n} {n}; .block {{ .echo ${{v{n}}} }}; ad v{n}",
    "ed @rsp - 100 {n}",
    ".formats {n}",
)


def best(work: Callable[[], object]) -> float:
    """Processor seconds of the fastest of some runs: the program's own, not its neighbours'."""
    figures = []
    for _ in range(RUNS):
        begin = time.process_time()
        work()
        figures.append(time.process_time() - begin)
    return min(figures)


def loops() -> bool:
    """Turns a second, all in this process: a session with nobody at the other end."""
    from kdsim.debugger.commands.engine import equip
    from kdsim.debugger.output import Output
    from kdsim.debugger.session import Session
    from tests.properties.frozen import FrozenBackend, FrozenMachine

    session = Session(FrozenBackend(FrozenMachine()), Output(lambda _text: None))
    equip(session)
    session.attach()
    slowest = float("inf")
    for name, line in LOOPS.items():
        rate = TURNS / best(lambda line=line: session.execute(line))  # type: ignore[misc]
        print(f"loop, {name}: {rate:,.0f} turns/s (limit {TURNS_LIMIT:,})")
        slowest = min(slowest, rate)
    assert not session.errors
    return slowest >= TURNS_LIMIT


def parsing(what: str, parser: Callable[[str], object], forms: Sequence[str]) -> None:
    """Texts a second, each met for the first time."""
    count = 400
    texts = [form.format(n=n) for n in range(10, 10 + count) for form in forms]
    parser(texts[0])  # loads the tables
    begin = time.process_time()
    for text in texts[1:]:
        parser(text)
    seconds = time.process_time() - begin
    characters = statistics.mean(map(len, texts))
    print(f"parsing: {len(texts) / seconds:,.0f} {what}/s of {characters:.0f} characters")


def script() -> None:
    """A script of mixed commands against the lab, over KDNET: wall time without the start."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mixed.kd"
        seconds = []
        for lines in (0, SCRIPT_LINES):
            text = [SCRIPT[n % len(SCRIPT)].format(n=n) for n in range(lines)]
            path.write_text("\n".join([*text, "q", ""]), encoding="utf-8")
            command = [sys.executable, "-m", "kdsim", "kd", "-cf", str(path)]
            begin = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds.append(time.perf_counter() - begin)
    start, whole = seconds
    rate = SCRIPT_LINES / (whole - start)
    print(f"script: {SCRIPT_LINES:,} mixed lines in {whole:.1f} s, {rate:,.0f} lines/s")


def main() -> int:
    fast_enough = loops()
    parsing("lines", parse.parsed_line, LINES)
    parsing("MASM expressions", parse.masm, MASM)
    parsing("C++ expressions", lambda text: parse.cpp(text, is_type="_EPROCESS".__eq__), CPP)
    script()
    return 0 if fast_enough else 1


if __name__ == "__main__":
    sys.exit(main())
