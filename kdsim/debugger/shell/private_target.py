"""The machine plain `kdsim` debugs: a target process of our own, dead when we are.

Light to import: the machine boots while the rest of the debugger is loaded.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import tempfile

from kdsim.errors import TargetEnded
from kdsim.wire.sealing import random_key

LOOPBACK = "127.0.0.1"
FAREWELL = 2.0
"""Seconds it has to leave by itself."""


class PrivateTarget:
    """`kdsim target lab` in its own process, talking KDNET to us on loopback.

    The child holds the read end of a pipe; when this process ends, however it ends, the pipe
    closes and the child leaves. The key travels in the environment, not in the process list. What
    the machine says on its console is kept; its last line explains a death.

    Attributes:
        socket, port: where it will find its debugger.
        key: what it seals its datagrams with.
        life: becomes readable when the process ends.
    """

    def __init__(self, seed: int | None) -> None:
        """With a seed the machine counts time by instructions, without one by the wall clock."""
        self.key = random_key()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((LOOPBACK, 0))
        self.port = self.socket.getsockname()[1]
        reader, self._writer = os.pipe()
        self.life, life_writer = os.pipe()
        self._console = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        command = [sys.executable, "-m", "kdsim", "target", "lab", "--wait"]
        command += ["--host", LOOPBACK, "--port", str(self.port), "--parent-pipe", str(reader)]
        if seed is not None:
            command += ["--seed", str(seed)]
        # A session of its own keeps the terminal's Ctrl+C for the debugger.
        self._process = subprocess.Popen(
            command,
            env=dict(os.environ, KDSIM_KEY=self.key),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._console,
            pass_fds=(reader, life_writer),
            start_new_session=True,
        )
        os.close(reader)
        os.close(life_writer)

    def check(self) -> None:
        """TargetEnded, with the machine's last words, when the process has ended."""
        status = self._process.poll()
        if status is None:
            return
        self._console.seek(0)
        said = self._console.read().decode(errors="replace").strip().splitlines()
        reason = said[-1].removeprefix("kdsim: ") if status > 0 and said else _ending(status)
        raise TargetEnded(f"the lab machine has ended: {reason}")

    def close(self) -> None:
        os.close(self._writer)
        # `Popen.wait` with a timeout looks only every 50 ms; the pipe tells at once.
        if not select.select([self.life], [], [], FAREWELL)[0]:
            self._process.kill()
        self._process.wait()
        self._console.close()
        os.close(self.life)


def _ending(status: int) -> str:
    if status < 0:
        return f"killed by signal {-status}"
    return f"exit status {status}" if status else "it was switched off"
