"""The machine plain `kdsim` debugs: a target process of our own, dead when we are."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile

from kdsim.debugger.backends.live import LiveBackend
from kdsim.errors import TargetEnded
from kdsim.wire.transport import NetTransport, open_host

BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
FAREWELL = 2.0
"""Seconds it has to leave by itself."""


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
    closes and the child leaves. The key travels in the environment, not in the process list. What
    the machine says on its console is kept; its last line explains a death.

    Attributes:
        life: becomes readable when the process ends.
    """

    def __init__(self, port: int, key: str, *, seed: int | None) -> None:
        """With a seed the machine counts time by instructions, without one by the wall clock."""
        reader, self._writer = os.pipe()
        self.life, life_writer = os.pipe()
        self._console = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
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
        try:
            self._process.wait(timeout=FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._console.close()
        os.close(self.life)


def _ending(status: int) -> str:
    if status < 0:
        return f"killed by signal {-status}"
    return f"exit status {status}" if status else "it was switched off"


class PrivateBackend(LiveBackend):
    """A live backend that knows the process at the other end, and notices when it ends."""

    def __init__(self, seed: int | None) -> None:
        key = random_key()
        connection = open_host(NetTransport(0, key))
        super().__init__(connection)
        self._target = PrivateTarget(self.port, key, seed=seed)
        connection.guard(self._target.life, self._target.check)

    def close(self) -> None:
        super().close()
        self._target.close()
