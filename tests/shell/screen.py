"""`kdsim` in a terminal of its own: keys go in, a screen comes out."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pexpect
import pyte

PATIENCE = 60.0
GLANCE = 0.05
PROMPTING = b"\x1b[?2004h"
"""Switches bracketed paste on: a prompt begins to read."""


class Screen:
    """One session. `rows` of history are kept above the screen."""

    def __init__(
        self,
        *arguments: str,
        environment: dict[str, str],
        columns: int = 100,
        rows: int = 40,
        shell: str = "",
    ) -> None:
        """`shell`: a command line for bash instead, in which `kdsim` stands for the program."""
        self._screen = pyte.HistoryScreen(columns, rows, history=2000)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        command = [sys.executable, "-m", "kdsim", *arguments]
        if shell:
            command = ["bash", "-c", shell.replace("kdsim", " ".join(command))]
        self._process = pexpect.spawn(
            command[0],
            command[1:],
            env=environment,
            dimensions=(rows, columns),
            timeout=PATIENCE,
        )

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    @property
    def bottom(self) -> list[str]:
        """The lines that stay at the bottom while a prompt reads: the hint, then the status."""
        buffer, height = self._screen.buffer, self._screen.lines
        if not buffer[height - 1][0].reverse:
            return []
        rows = 2 if buffer[height - 2][1].italics else 1
        return [row.rstrip() for row in self._screen.display[-rows:]]

    @property
    def lines(self) -> list[str]:
        """Everything that was shown, without the bottom lines and the empty rest of the screen."""
        above = (
            "".join(line[x].data for x in range(self._screen.columns))
            for line in self._screen.history.top
        )
        shown = self._screen.display[: self._screen.lines - len(self.bottom)]
        found = [line.rstrip() for line in (*above, *shown)]
        while found and not found[-1]:
            found.pop()
        return found

    @property
    def last(self) -> str:
        """The line the cursor stands in."""
        return str(self._screen.display[self._screen.cursor.y]).rstrip()

    def colours_of(self, text: str) -> set[str]:
        """Colours in which a piece of text stands on the screen."""
        for y, line in enumerate(self._screen.display):
            x = line.find(text)
            if x >= 0:
                return {self._screen.buffer[y][x + i].fg for i in range(len(text))}
        raise AssertionError(f"{text!r} is not on the screen")

    def press(self, keys: str) -> None:
        self._process.send(keys)

    def type(self, line: str) -> None:
        """Type a line, ENTER included, and wait for the next prompt."""
        before = self.raw.count(PROMPTING)
        self.press(line + "\r")
        self.wait_for(lambda: self.raw.count(PROMPTING) > before and self.at_prompt, line)

    @property
    def at_prompt(self) -> bool:
        return self.last.endswith("kd>")

    def until(self, text: str) -> None:
        self.wait_for(lambda: any(text in line for line in self.lines), text)

    def wait_for(self, condition, what: str = "") -> None:
        """Read what comes until the condition holds."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{what}\n" + "\n".join(self.lines)
            self._read()

    def _read(self) -> None:
        try:
            data = self._process.read_nonblocking(65536, timeout=GLANCE)
        except pexpect.TIMEOUT:
            return
        except pexpect.EOF:
            raise AssertionError("the program ended:\n" + "\n".join(self.lines)) from None
        self.raw += data
        self._stream.feed(data)
        if b"\x1b[6n" in data:
            cursor = self._screen.cursor
            self._process.send(f"\x1b[{cursor.y + 1};{cursor.x + 1}R")

    def end(self) -> int:
        """Wait for the end of the program; its exit status."""
        self._process.expect(pexpect.EOF)
        self._process.wait()
        return int(self._process.exitstatus or 0)

    def close(self) -> None:
        self._process.close(force=True)


def environment(folder: Path, **changes: str) -> dict[str, str]:
    import os

    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    places = {
        "TERM": "xterm-256color",
        "XDG_RUNTIME_DIR": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    return kept | places | changes
