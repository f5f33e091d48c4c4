"""Real `kdsim` processes for tests: started, listened to, interrupted, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY = "1.2.3.4"
PATIENCE = 200.0
"""Seconds after which a process that says nothing has failed; nothing waits that long."""


class Process:
    """One `kdsim` process with its standard input and output as pipes."""

    def __init__(self, *arguments: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kdsim", *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._said = {"out": "", "err": ""}
        self._news = threading.Condition()
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._listen, args=(name, stream), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _listen(self, name: str, stream: object) -> None:
        fd = stream.fileno()  # type: ignore[attr-defined]
        while data := os.read(fd, 65536):
            with self._news:
                self._said[name] += data.decode("utf-8", "replace")
                self._news.notify_all()

    @property
    def output(self) -> str:
        return self._said["out"]

    @property
    def errors(self) -> str:
        return self._said["err"]

    def type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def until(self, text: str, *, after: int = 0, stream: str = "out") -> int:
        """Wait for the text; where it ends in what the process said."""
        end = time.monotonic() + PATIENCE
        with self._news:
            while (place := self._said[stream].find(text, after)) < 0:
                left = end - time.monotonic()
                if left <= 0 or not any(r.is_alive() for r in self._readers):
                    raise AssertionError(f"no {text!r} in\n{self._said['out']}{self._said['err']}")
                self._news.wait(min(left, 0.5))
        return place + len(text)

    def interrupt(self) -> None:
        os.kill(self.pid, signal.SIGINT)

    def terminate(self) -> None:
        self._process.terminate()

    def end(self) -> int:
        """Close its input, wait for its end; the exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def clean_up(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None and not stream.closed:
                stream.close()


class Computer:
    """Where the processes of one test run: a folder of its own for sockets and histories."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("NO_COLOR", "KDSIM_KEY", "TERM")
        }
        self.environment |= {
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "TZ": "UTC",
            "PYTHONFAULTHANDLER": "1",
        }
        self._processes: list[Process] = []

    def kdsim(self, *arguments: str) -> Process:
        process = Process(*arguments, environment=self.environment)
        self._processes.append(process)
        return process

    def kd(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run `kdsim kd` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "kdsim", "kd", *arguments],
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )

    @contextmanager
    def target(self, *arguments: str, lab: str = "lab") -> Iterator[Process]:
        """A target in the foreground, ended with SIGTERM, which it has to take well."""
        process = self.kdsim("target", lab, *arguments)
        process.until("attach: ")
        yield process
        process.terminate()
        assert process.end() == 0, process.errors

    def clean_up(self) -> None:
        for process in self._processes:
            process.clean_up()


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in found.split()]


def wait_until_gone(pid: int) -> None:
    """Until a process that is not our child has ended."""
    with os.fdopen(os.pidfd_open(pid)) as handle:
        import select

        assert select.select([handle], [], [], PATIENCE)[0], f"process {pid} is still there"
