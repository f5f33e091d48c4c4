"""How long a TAB takes with 100,000 symbols.

    python -m benchmarks.completion

A kernel with 100,000 symbols and 10,000 types is made up; every text of the list below is completed
again and again. The first completion of all, which reads the names of the PDB, is measured apart.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from kdsim.debugger.shell.completion import KdCompleter
from tests.shell.synthetic import engine_over, kernel_pdb

SYMBOLS, STRUCTURES, ROUNDS = 100_000, 10_000, 30
LIMIT = 0.050
"""Seconds at the 95th percentile."""
PREFIXES = ("Ps", "Ke", "Mi", "Ob", "Io", "Ex", "Rtl", "Cc", "Nt", "Zw")

TEXTS = (
    "",
    "!po",
    "u nt!",
    "u nt!K",
    "u nt!KeQ",
    "u PsLookup",
    "bp nt!Mi",
    'bp nt!KeBugCheckEx "dd nt!PsA',
    ".if (poi(nt!Ps",
    ".for (r $t0=0; @$t0 < 3; r $t0=@$t0+1) { dd nt!Ob",
    "x nt!*Process*",
    "x nt!*e*q*z",
    "x nt!*e*e*e*e*nosuch",
    "x *Lookup",
    "dt nt!_S",
    "dt nt!_STRUCTURE99",
    "dt nt!*URE*7",
    "dt nt!_EPROCESS Pcb.",
    "?? @$proc->Pcb.Header.",
    "? @@(((nt!_EPROCESS*)x)->Act",
    "? @$",
)


def names() -> list[str]:
    """Names as long as a kernel's, and as unevenly spread."""
    chance = random.Random(1)
    words = ("Lookup", "Process", "Thread", "Query", "Insert", "Table", "Lock", "Page", "Free")
    return [
        chance.choice(PREFIXES) + "".join(chance.choices(words, k=3)) + str(number)
        for number in range(SYMBOLS)
    ]


def main() -> int:
    """Entry point; 1 when the limit is broken."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        engine = engine_over({"nt": kernel_pdb(Path(folder), names(), STRUCTURES)})
        completer = KdCompleter(engine)
        print(f"(made in {time.perf_counter() - started:.1f} s)")
        times: dict[str, list[float]] = {}
        for round_ in range(ROUNDS + 1):
            for text in TEXTS:
                started = time.perf_counter()
                count = sum(1 for _ in completer.get_completions(Document(text), CompleteEvent()))
                taken = time.perf_counter() - started
                if round_ == 0:
                    print(f"first {text!r}: {count} words in {taken * 1000:.0f} ms")
                else:
                    times.setdefault(text, []).append(taken)
    every = sorted(taken for row in times.values() for taken in row)
    worst = max(times, key=lambda text: statistics.median(times[text]))
    percentile = every[int(len(every) * 0.95)]
    print(
        f"completion, {SYMBOLS} symbols: median {statistics.median(every) * 1000:.1f} ms, ", end=""
    )
    print(f"95th percentile {percentile * 1000:.1f} ms (limit {LIMIT * 1000:.0f} ms)")
    print(f"slowest: {worst!r}, {statistics.median(times[worst]) * 1000:.1f} ms")
    return int(percentile > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
