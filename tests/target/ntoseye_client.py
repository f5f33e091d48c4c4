"""ntoseye and `kdsim target`, each in a process of its own: ways to attach, and what it prints."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from kdsim.resources import resource_path
from tests.ports import free_udp_port

KEY = "1.2.3.4"
WAYS = ("kdcom", "kdnet")
TROUBLE = re.compile("stale|retransmit|resetting|timed out|checksum mismatch", re.IGNORECASE)
TRACE = re.compile(r"\[ *\d+\.\d+\]|kd: |kdnet: |reload: |    [0-9a-f]{2}( [0-9a-f]{2})+$")


class Way(NamedTuple):
    """How a target listens, and where ntoseye finds it."""

    target: tuple[str, ...]
    backend: str
    connect: str


def way(name: str, folder: Path) -> Way:
    if name == "kdcom":
        path = str(folder / "kd")
        return Way(("--com", f"unix:{path}"), "kd", path)
    port = free_udp_port()
    return Way(("--port", str(port)), "kdnet", f"127.0.0.1:{port}")


def home(folder: Path) -> None:
    """Make a folder ntoseye's home, with our symbols in its store."""
    folder.chmod(0o700)
    shutil.copytree(resource_path("targets", "images"), folder / ".ntoseye" / "symbols")


def run(folder: Path, *command: str) -> str:
    """Output and trace of a program with ntoseye in it; it must find nothing wrong."""
    done = subprocess.run(
        command,
        env=dict(os.environ, HOME=str(folder), NTOSEYE_KD_TRACE="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def untraced(text: str) -> list[str]:
    return [line for line in text.splitlines() if not TRACE.match(line)]
