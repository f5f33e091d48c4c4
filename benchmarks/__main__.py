"""`python -m benchmarks`: every figure the README quotes; exit status 1 when a limit is missed."""

from __future__ import annotations

import importlib.util
import sys

from benchmarks import completion, cpu, pdb, pool, search, start

if __name__ == "__main__":
    results = [start.main(), cpu.main(), pool.main(), search.main(), completion.main()]
    if importlib.util.find_spec("ziglang"):
        results.append(pdb.main([]))
    else:
        print("pdb: needs the guest toolchain to make its file (make guests installs it)")
    sys.exit(max(results))
