"""The machine plain `kdsim` debugs: a target process of our own, dead when we are."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from types import TracebackType

BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
SCRIPT_SEED = 1


def random_key() -> str:
    """A KDNET key: four random 64-bit values in base 36."""
    return ".".join(_base36(secrets.randbits(64)) for _ in range(4))


def _base36(value: int) -> str:
    digits = ""
    while True:
        value, digit = divmod(value, 36)
        digits = BASE36[digit] + digits
        if not value:
            return digits


class PrivateTarget:
    """`kdsim target lab` in its own process, talking KDNET to `port` on loopback.

    The child holds the read end of a pipe; when this process ends, however it ends, the pipe
    closes and the child leaves. The key travels in the environment, not in the process list.
    """

    def __init__(self, port: int, key: str, *, seed: int | None) -> None:
        """With a seed the machine counts time by instructions, without one by the wall clock."""
        reader, self._writer = os.pipe()
        command = [sys.executable, "-m", "kdsim", "target", "lab", "--wait"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--parent-pipe", str(reader)]
        if seed is not None:
            command += ["--seed", str(seed)]
        # A session of its own keeps the terminal's Ctrl+C for the debugger.
        self._process = subprocess.Popen(
            command,
            env=dict(os.environ, KDSIM_KEY=key),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(reader,),
            start_new_session=True,
        )
        os.close(reader)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        os.close(self._writer)
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> PrivateTarget:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
