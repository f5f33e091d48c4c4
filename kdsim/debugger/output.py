"""Where text goes: the screen, the log file, or a buffer that collects it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntFlag
from pathlib import Path
from typing import TextIO

from kdsim.debugger import text as texts
from kdsim.errors import UserError

Sink = Callable[[str], None]

QUIET = 0.3
"""Seconds without output after which a line about the work is welcome."""


class Kind(IntFlag):
    """What a piece of text is; the bits of `.outmask` (dbgeng.h, DEBUG_OUTPUT_*)."""

    NORMAL = 1
    ERROR = 2
    WARNING = 4
    VERBOSE = 8
    PROMPT = 0x10
    REGISTERS = 0x20
    EXTENSION_WARNING = 0x40
    TARGET = 0x80
    TARGET_PROMPT = 0x100
    SYMBOLS = 0x200


DEFAULT_MASK = 0x3F7
"""All kinds but VERBOSE."""


class Output:
    """Everything the debugger prints passes here, in order.

    Attributes:
        mask, log_mask: the kinds of text that reach the screen and the log file.
        control: writes what only a terminal understands; None where there is none.
        style: chooses the colours by a name and tells the name in use; None without a terminal.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._captures: list[list[str]] = []
        self._log: TextIO | None = None
        self.log_path: Path | None = None
        self.at_line_start = True
        self.mask = self.log_mask = DEFAULT_MASK
        self.control: Sink | None = None
        self.style: Callable[[str], str] | None = None
        self._status = False
        self._written = 0.0

    def write(self, text: str, kind: Kind = Kind.NORMAL) -> None:
        """Print text as it is; no line end is added."""
        if not text:
            return
        if self._captures:
            self._captures[-1].append(text)
            return
        self._end_status()
        if self.mask & kind:
            self.at_line_start = text.endswith("\n")
            self._sink(text)
        self._log_only(text, kind)

    def line(self, text: str = "", kind: Kind = Kind.NORMAL) -> None:
        self.write(text + "\n", kind)

    def fresh_line(self) -> None:
        """End the current line unless it is empty."""
        if self._captures:
            pieces = self._captures[-1]
            at_start = not pieces or pieces[-1].endswith("\n")
        else:
            at_start = self.at_line_start
        if not at_start:
            self.write("\n")

    def status(self, text: str) -> None:
        """Show a line on the terminal until something is printed, or until it is empty.

        It is for silent work: where there is no terminal, half a line, or a listing that goes on,
        nothing is shown.
        """
        if not text:
            self._end_status()
        elif self.control and self.at_line_start and time.monotonic() > self._written + QUIET:
            self._status = True
            columns = shutil.get_terminal_size().columns
            self.control(f"\r{texts.clip(text, columns - 1)}\x1b[K")

    def _end_status(self) -> None:
        if self.control:
            self._written = time.monotonic()
            if self._status:
                self._status = False
                self.control("\r\x1b[K")

    def echo(self, text: str) -> None:
        """Note what the user saw without our doing (prompt and typed line) in the log file."""
        if not self._captures:
            self._log_only(text, Kind.PROMPT)
        self.at_line_start = text.endswith("\n")

    @contextmanager
    def capture(self) -> Iterator[list[str]]:
        """Collect what is written inside the block instead of printing it."""
        pieces: list[str] = []
        self._captures.append(pieces)
        try:
            yield pieces
        finally:
            self._captures.pop()

    def open_log(self, path: Path, *, append: bool = False, encoding: str = "utf-8") -> None:
        """Start writing a log file; one that is open is closed first."""
        self.close_log()
        try:
            self._log = path.open("a" if append else "w", encoding=encoding)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"log file could not be opened: {reason} '{path}'") from error
        self.log_path = path

    def close_log(self) -> Path | None:
        """The path of the file that was closed, or None."""
        if self._log is None:
            return None
        self._log.close()
        self._log = None
        closed, self.log_path = self.log_path, None
        return closed

    def _log_only(self, text: str, kind: Kind) -> None:
        if self._log is not None and self.log_mask & kind:
            self._log.write(text)
            self._log.flush()
