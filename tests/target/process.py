"""`kdsim target` in a process of its own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 60.0


class TargetProcess:
    """Started with the given arguments; its runtime directory is the test's."""

    def __init__(self, folder: Path, *arguments: str, key: str = "", pass_fds=()) -> None:
        environment = dict(os.environ, XDG_RUNTIME_DIR=str(folder))
        environment.pop("KDSIM_KEY", None)
        if key:
            environment["KDSIM_KEY"] = key
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kdsim", "target", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            pass_fds=pass_fds,
        )

    def banner(self) -> str:
        """Its first line; empty when it ended without one."""
        assert select.select([self.process.stdout], [], [], PATIENCE)[0], "no banner"
        return self.process.stdout.readline().decode()

    def complaint(self) -> str:
        """Its next line on standard error."""
        assert select.select([self.process.stderr], [], [], PATIENCE)[0], "nothing on stderr"
        return self.process.stderr.readline().decode()

    def wait(self) -> tuple[int, str]:
        """Exit status and what else it wrote to standard error."""
        status = self.process.wait(PATIENCE)
        return status, self.process.stderr.read().decode()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.wait()

    def processor_time(self) -> float:
        """Seconds of CPU it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def load(self, seconds: float) -> float:
        """CPU used per second, measured over the next `seconds`."""
        before, start = self.processor_time(), time.monotonic()
        time.sleep(seconds)
        return (self.processor_time() - before) / (time.monotonic() - start)

    def __enter__(self) -> TargetProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
