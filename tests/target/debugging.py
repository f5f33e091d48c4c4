"""A machine of this process under the real debugger of another one, over KDCOM."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from kdsim.target.system import System
from kdsim.wire.target_connection import TargetConnection
from kdsim.wire.transport import open_target_com, parse_com_listener

TIME_OF_DAY = re.compile("Connected to Windows|  debugger time:")


class _Ended(BaseException):
    """The debugger closed its output."""


class _Output:
    """Everything a debugger prints."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._fd = process.stdout.fileno()
        os.set_blocking(self._fd, False)
        self.text = b""

    def fileno(self) -> int:
        return self._fd

    def service(self) -> None:
        try:
            piece = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        if not piece:
            raise _Ended
        self.text += piece


def listen(path: Path) -> TargetConnection:
    return open_target_com(parse_com_listener(f"unix:{path}"))


def debug(system: System, path: Path, *arguments: str) -> str:
    """What `kdsim kd` prints that attaches to `path`, where `system` listens.

    Without the lines that name the debugger's own time of day.
    """
    system.machine.poll = lambda _timeout: bool(system.poll())
    command = [sys.executable, "-m", "kdsim", "kd", "-k", f"com:pipe,port={path}", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        output = _Output(process)
        system.connection.watch(output)
        try:
            while True:
                system.run()
        except _Ended:
            lines = output.text.decode().splitlines(keepends=True)
            return "".join(line for line in lines if not TIME_OF_DAY.match(line))
        finally:
            process.kill()
