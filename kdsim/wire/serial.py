"""KDCOM over a terminal device: a serial line, or a pseudo terminal that stands for one.

A line has no ends that come and go. Whoever opens it finds what the other side said to nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import termios
import tty
from collections.abc import Sequence
from pathlib import Path

from kdsim.errors import TargetError, TargetGone
from kdsim.wire.links import (
    Address,
    Arrival,
    Data,
    LinkUp,
    StreamConnector,
    milliseconds,
)

CHUNK = 4096
"""What a terminal holds of each direction."""


class Terminal:
    """A raw terminal, with the methods of a socket."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        tty.setraw(fd)

    def fileno(self) -> int:
        return self._fd

    def setblocking(self, flag: bool) -> None:
        os.set_blocking(self._fd, flag)

    def recv(self, size: int) -> bytes:
        return os.read(self._fd, size)

    def send(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)


def serial_connect(path: Path, reconnect: bool = False) -> StreamConnector:
    """A debugger's end of a line.

    Raises:
        TargetGone: there is no such line, or another debugger is at it, and `reconnect` is off.
    """
    return StreamConnector(lambda: _open(path), f"com:port={path}", reconnect)


def _open(path: Path) -> Terminal:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise TargetGone(f"{path} cannot be opened: {error.strerror}") from error
    try:
        # Without a lock two debuggers would each get some of the bytes.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        terminal = Terminal(fd)
        termios.tcflush(fd, termios.TCIFLUSH)
    except BlockingIOError as error:
        os.close(fd)
        raise TargetGone(f"{path} is in use by another debugger") from error
    except (OSError, termios.error) as error:
        os.close(fd)
        raise TargetGone(f"{path} is not a serial line") from error
    return terminal


class PseudoTerminal:
    """A target's end: a new pseudo terminal, whose other end `path` names."""

    reconnects = False

    def __init__(self) -> None:
        try:
            master, self._slave = os.openpty()
        except OSError as error:
            raise TargetError(f"no pseudo terminal: {error.strerror}") from error
        # While we hold the other end ourselves, a debugger that leaves does not hang up the line.
        self._terminal = Terminal(master)
        tty.setraw(self._slave)
        self._terminal.setblocking(False)
        self._poll = select.poll()
        self._poll.register(master, select.POLLIN)
        self._unsent = bytearray()
        self._up = False
        self.path = Path(os.ttyname(self._slave))
        self.description = f"com:port={self.path}"

    def wait(self, timeout: float | None) -> bool:
        return bool(self._poll.poll(milliseconds(timeout)))

    def watch(self, fd: int) -> None:
        self._poll.register(fd, select.POLLIN)

    def receive(self) -> list[Arrival]:
        self._flush()
        try:
            data = self._terminal.recv(CHUNK)
        except BlockingIOError:
            return []
        if self._up:
            return [Data(data)]
        # Until somebody says something nobody is there.
        self._up = True
        return [LinkUp(), Data(data)]

    def send(self, pieces: Sequence[bytes], to: Address | None = None) -> None:
        self._unsent += b"".join(pieces)
        self._flush()

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                del self._unsent[: self._terminal.send(bytes(self._unsent[:CHUNK]))]
        events = select.POLLIN | (select.POLLOUT if self._unsent else 0)
        self._poll.modify(self._terminal.fileno(), events)

    def close(self) -> None:
        self._terminal.close()
        os.close(self._slave)
