"""`python -m benchmarks`: every figure the README quotes; exit status 1 when a limit is missed."""

from __future__ import annotations

import importlib.util
import sys

from benchmarks import completion, cpu, language, pdb, pool, pool_commands, search, start, wire

if __name__ == "__main__":
    programs = (start, cpu, pool, language, search, pool_commands, completion, wire)
    results = [program.main() for program in programs]
    if importlib.util.find_spec("ziglang"):
        results.append(pdb.main([]))
    else:
        print("pdb: needs the guest toolchain to make its file (make guests installs it)")
    sys.exit(max(results))
