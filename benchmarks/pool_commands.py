"""`!poolused` and `!poolfind` over KDNET with 200,000 live allocations: the driver hoard."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kdsim.debugger.backends.live import LiveBackend
from kdsim.debugger.commands.engine import equip
from kdsim.debugger.output import Output
from kdsim.debugger.session import Session

BLOCKS = 200_000
KEY = "1.2.3.4"
LIMITS = {
    "!poolused": 0.5,
    "!poolused 2 Hrd?": 0.5,
    "!poolfind Hrd3": 10.0,
    "!poolfind Hrd3 1": 10.0,
    "!poolfind Abc ": 2.0,
    "!pool @$t1": 0.5,
}
"""Seconds of each command, the first time it is given: nothing is cached."""
LAB = """
name = "hoard"
[[task]]
at = 0.05
start = "hoard.sys"
"""


def _session(backend: LiveBackend, lines: list[str]) -> Session:
    session = Session(backend, Output(lines.append))
    equip(session)
    return session


def _measure(session: Session, lines: list[str], command: str) -> float:
    session.flush_memory()
    lines.clear()
    start = time.perf_counter()
    session.execute(command)
    return time.perf_counter() - start


def main() -> int:
    lines: list[str] = []
    backend = LiveBackend.from_text(f"net:port=0,key={KEY}")
    session = _session(backend, lines)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        lab = Path(folder) / "hoard.toml"
        lab.write_text(LAB, encoding="utf-8")
        command = [sys.executable, "-m", "kdsim", "target", str(lab), "--seed", "1"]
        command += ["--host", "127.0.0.1", "--port", str(backend.port), "--key", KEY]
        environment = dict(os.environ, XDG_RUNTIME_DIR=folder)
        target = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            session.attach(timeout=120)
            session.execute("r $t1 = poi(hoard!HoardBlocks)")
            for command_line, limit in LIMITS.items():
                seconds = _measure(session, lines, command_line)
                rows = "".join(lines).count("\n")
                print(f"{command_line:18} {seconds:6.2f} s (limit {limit}), {rows} lines")
                missed += seconds > limit
            _say_blocks(session, lines)
        finally:
            session.close()
            target.terminate()
            target.wait()
    return int(missed > 0)


def _say_blocks(session: Session, lines: list[str]) -> None:
    lines.clear()
    session.execute("!poolused 0 Hrd*")
    counts = [line.split() for line in "".join(lines).splitlines() if line.startswith(" Hrd")]
    live = sum(int(words[1]) + int(words[3]) for words in counts)
    print(f"live allocations with the driver's tags: {live:,}")
    if live != BLOCKS:
        raise SystemExit("the driver did not get its blocks")


if __name__ == "__main__":
    sys.exit(main())
