"""How long it takes to open a large PDB and ask it for one name, and for all names of a wildcard.

    python benchmarks/pdb.py [FILE.pdb NAME [WILDCARD]]

Without arguments a PDB of about 10 MB is made from generated C by the pinned guest toolchain.
Each figure is the best of three runs, each in a fresh process, so that nothing is warm but the
file itself; start-up of the interpreter is not counted, importing the reader is.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = 3
OPEN_LIMIT = 0.3
WILDCARD_LIMIT = 2.0
STRUCTS, FIELDS, FUNCTIONS = 6000, 40, 9000

PROBE = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from kdsim.symbols.pdb import Pdb
pdb = Pdb.open(Path(sys.argv[1]))
found = pdb.symbols(sys.argv[2])
print(time.perf_counter() - start, len(found))
start = time.perf_counter()
print(sum(1 for symbol in pdb.match(sys.argv[3])), end=" ")
print(time.perf_counter() - start)
start = time.perf_counter()
print(pdb.nearest(found[0].rva + 1).name == found[0].name, time.perf_counter() - start)
start = time.perf_counter()
print(sum(1 for name in pdb.type_names(sys.argv[3])), time.perf_counter() - start)
"""


def source() -> str:
    """C with many structures and functions, half of them static."""
    lines: list[str] = ["int _fltused;"]
    for number in range(STRUCTS):
        fields = (f" unsigned long long FieldNumber{number}_{i};" for i in range(FIELDS - 2))
        links = f" struct _STRUCT{max(number - 1, 0)} *Previous; unsigned Bits : 3;"
        lines.append(f"struct _STRUCT{number} {{{''.join(fields)}{links} }};")
    for number in range(FUNCTIONS):
        storage = "static __attribute__((used)) " if number % 2 else ""
        record = f"struct _STRUCT{number % STRUCTS}"
        lines.append(
            f"{storage}int PsFunction{number}({record} *entry, int count)"
            f" {{ int sum = count; sum += entry->Bits; return sum * {number}; }}"
        )
    lines.append("int entry(void) { return PsFunction0(0, 1); }")
    return "\n".join(lines)


def build(folder: Path) -> Path:
    """Compile and link the source; the path of its PDB."""
    (folder / "big.c").write_text(source())
    zig = [sys.executable, "-m", "ziglang"]
    compile_flags = "-target x86_64-windows-msvc -ffreestanding -nostdlib -O1 -fno-sanitize=all"
    debug_flags = "-g -gcodeview -fasynchronous-unwind-tables -fno-eliminate-unused-debug-types"
    flags = [*compile_flags.split(), *debug_flags.split()]
    subprocess.run([*zig, "cc", *flags, "-c", "big.c", "-o", "big.obj"], cwd=folder, check=True)
    link = "/debug /dll /entry:entry /nodefaultlib /opt:noref big.obj /out:big.dll /pdb:big.pdb"
    subprocess.run([*zig, "lld-link", *link.split()], cwd=folder, check=True)
    return folder / "big.pdb"


def measure(pdb: Path, name: str, wildcard: str) -> bool:
    """Print the figures; whether they keep the limits."""
    runs = []
    for _ in range(RUNS):
        command = [sys.executable, "-c", PROBE, str(pdb), name, wildcard]
        runs.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rows = [run.splitlines() for run in runs]
    opened = min(float(row[0].split()[0]) for row in rows)
    matched = min(float(row[1].split()[1]) for row in rows)
    nearest = min(float(row[2].split()[1]) for row in rows)
    typed = min(float(row[3].split()[1]) for row in rows)
    size = pdb.stat().st_size / 1e6
    print(f"{pdb.name}: {size:.1f} MB")
    print(f"open + {name}: {opened:.3f} s (limit {OPEN_LIMIT} s)")
    hits = rows[0][1].split()[0]
    print(f"names {wildcard}: {hits} in {matched:.3f} s (limit {WILDCARD_LIMIT} s)")
    print(f"address to name: {nearest:.4f} s")
    print(f"type names {wildcard}: {rows[0][3].split()[0]} in {typed:.3f} s")
    return opened <= OPEN_LIMIT and matched <= WILDCARD_LIMIT


def main(arguments: list[str]) -> int:
    """Entry point; 1 when a limit is broken."""
    if arguments:
        wildcard = arguments[2] if len(arguments) > 2 else "*"
        return 0 if measure(Path(arguments[0]), arguments[1], wildcard) else 1
    with tempfile.TemporaryDirectory() as folder:
        kept = measure(build(Path(folder)), "PsFunction7777", "*s*")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
